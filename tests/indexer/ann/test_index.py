"""What a calibration measured, and what a search takes from it."""

from indexer.ann.index import Calibration, Point


def test_a_calibration_gives_the_fastest_point_that_reaches_the_recall() -> None:
    points = [
        Point(10, 1, 20, 0.5, 10),
        Point(10, 4, 20, 0.9, 20),
        Point(10, 8, 20, 0.97, 50),
        Point(10, 8, 40, 0.96, 60),
        Point(10, 16, 40, 0.99, 90),  # reaches 0.95 too, and takes longer
        Point(100, 8, 400, 0.96, 300),
    ]
    known = Calibration.of(points)
    assert points[3] not in known.points
    assert known.cheapest(0.95, 10) == points[2]
    assert known.cheapest(0.98, 10) == points[4]
    assert known.cheapest(0.995, 10) is None
    assert known.cheapest(0.95, 11) == Point(11, 8, 22, 0.97, 50 * 1.1)
    assert known.cheapest(0.95, 21) == points[5]
    far = known.cheapest(0.95, 250)
    assert far is not None
    assert (far.effort, far.want) == (20, 1000)
