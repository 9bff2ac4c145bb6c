"""Filters by place, against spherical geometry that is computed another way."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jaxtyping import Float64
from numpy import ndarray

from indexer.collection.collection import Collection
from indexer.filters.geo import EARTH_M, are_inside, are_near, distance_m
from indexer.filters.language import parse_filter
from indexer.where import Matching
from tests.support.pictures import new_image, unit_vectors

HALF_WAY_M = np.pi * EARTH_M
LATITUDES = st.one_of(st.sampled_from([-90.0, -89.9999, 0.0, 89.9999, 90.0]), st.floats(-90, 90))
LONGITUDES = st.one_of(st.sampled_from([-180.0, -179.9999, 0.0, 179.9999, 180.0]), st.floats(-180, 180))
PLACES = st.lists(st.tuples(LATITUDES, LONGITUDES), min_size=1, max_size=20)
RADII = st.one_of(st.sampled_from([0.0, 1.0, HALF_WAY_M / 2, HALF_WAY_M, 1e9]), st.floats(0, HALF_WAY_M))
DEGREES = st.integers(-360, 360).map(lambda half: half / 2)  # so that what the oracle adds up is exact


def on_sphere(lat_N: Float64[ndarray, " n"], lon_N: Float64[ndarray, " n"]) -> Float64[ndarray, "n 3"]:
    phi_N, lambda_N = np.radians(lat_N), np.radians(lon_N)
    return np.stack([np.cos(phi_N) * np.cos(lambda_N), np.cos(phi_N) * np.sin(lambda_N), np.sin(phi_N)], 1)


def arc_m(places: list[tuple[float, float]], latitude: float, longitude: float) -> Float64[ndarray, " n"]:
    """The angle between two vectors, from their cross and inner product: good for near and far ones."""
    lat_N, lon_N = np.array(places).T
    here_3 = on_sphere(np.array([latitude]), np.array([longitude]))[0]
    there_N3 = on_sphere(lat_N, lon_N)
    return EARTH_M * np.arctan2(np.linalg.norm(np.cross(there_N3, here_3), axis=1), there_N3 @ here_3)


@settings(deadline=None)
@given(PLACES, LATITUDES, LONGITUDES, RADII)
@example([(0.0, -179.9)], 0.0, 179.9, 23_000.0)  # over the antimeridian
@example([(89.9, 0.0), (89.9, 180.0)], 89.9, 90.0, 16_000.0)  # around a pole
@example([(-45.0, 100.0)], 45.0, -80.0, HALF_WAY_M)  # antipodes
def test_a_circle_holds_what_lies_within_its_radius(
    places: list[tuple[float, float]], latitude: float, longitude: float, radius_m: float
) -> None:
    lat_N, lon_N = np.array(places).T
    expected_N = arc_m(places, latitude, longitude)
    # Near antipodes the arc sine is steep: there, half of the digits of a float64 remain, some centimetres.
    np.testing.assert_allclose(distance_m(lat_N, lon_N, latitude, longitude), expected_N, atol=0.5)
    near_N = are_near(lat_N, lon_N, latitude, longitude, radius_m)
    assert near_N[expected_N <= radius_m - 0.5].all()
    assert not near_N[expected_N > radius_m + 0.5].any()


def test_a_known_distance() -> None:
    """A degree of a great circle is R π / 180, along the equator as along a meridian."""
    lat_N, lon_N = np.array([0.0, 1.0, 90.0]), np.array([1.0, 0.0, 77.0])
    degree_m = EARTH_M * np.pi / 180
    np.testing.assert_allclose(distance_m(lat_N, lon_N, 0.0, 0.0), degree_m * np.array([1, 1, 90]))


@settings(deadline=None)
@given(
    st.lists(st.tuples(DEGREES.filter(lambda d: abs(d) <= 90), DEGREES), min_size=1, max_size=20),
    *[DEGREES.filter(lambda d: abs(d) <= 90)] * 2,
    *[DEGREES] * 2,
)
def test_a_box_holds_what_a_walk_to_the_east_meets(
    places: list[tuple[float, float]], one: float, other: float, west: float, east: float
) -> None:
    south, north = min(one, other), max(one, other)
    lat_N, lon_N = np.array(places).T
    width = 360.0 if (west, east) == (-180.0, 180.0) else (east - west) % 360
    is_met_N = ((lon_N - west) % 360 <= width) | (np.abs(lat_N) == 90)
    expected_N = is_met_N & (lat_N >= south) & (lat_N <= north)
    np.testing.assert_array_equal(are_inside(lat_N, lon_N, south, west, north, east), expected_N)


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    collection = Collection.open(tmp_path_factory.mktemp("places"), model_id="m", dim=4)
    metadata: dict[str, dict[str, Any]] = {
        "oslo": {"latitude": 59.91, "longitude": 10.75},
        "fiji": {"latitude": -16.8, "longitude": 179.98},
        "taveuni": {"latitude": -16.8, "longitude": -179.98},
        "north pole": {"latitude": 90, "longitude": 0},
        "svalbard": {"latitude": 78.22, "longitude": 15.65},
        "nowhere": {},
        "half": {"latitude": 59.91},
        "words": {"latitude": "59.91", "longitude": "10.75"},
        "null": {"latitude": None, "longitude": 10.75},
        "beyond": {"latitude": 95, "longitude": 10.75},
        "around": {"latitude": 59.91, "longitude": 370.75},
        "truth": {"latitude": True, "longitude": True},
    }
    images = [new_image(name, **place) for name, place in metadata.items()]
    collection.add(images, unit_vectors(len(images), 4))
    return collection


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"geo_radius": {"latitude": 59.9, "longitude": 10.7, "radius_m": 4000}}, {"oslo"}),
        ({"geo_radius": {"latitude": -16.8, "longitude": 180, "radius_m": 3000}}, {"fiji", "taveuni"}),
        ({"geo_radius": {"latitude": 90, "longitude": -77, "radius_m": 0}}, {"north pole"}),
        (
            {"geo_radius": {"latitude": 0, "longitude": 0, "radius_m": 2.1e7}},
            {"oslo", "fiji", "taveuni", "north pole", "svalbard"},
        ),
        ({"geo_box": {"south": 57, "west": 4, "north": 72, "east": 32}}, {"oslo"}),
        ({"geo_box": {"south": -17, "west": 179.9, "north": -16, "east": -179.9}}, {"fiji", "taveuni"}),
        ({"geo_box": {"south": 70, "west": 15, "north": 90, "east": 16}}, {"north pole", "svalbard"}),
        (
            {
                "must": [{"geo_box": {"south": -90, "west": -180, "north": 90, "east": 180}}],
                "must_not": [{"geo_radius": {"latitude": 78, "longitude": 15, "radius_m": 1e6}}],
            },
            {"oslo", "fiji", "taveuni", "north pole"},
        ),
    ],
)
def test_places_are_found_over_the_antimeridian_and_at_a_pole_and_missing_ones_never(
    collection: Collection, document: dict[str, Any], expected: set[str]
) -> None:
    snapshot = collection.snapshot()
    found = snapshot.scroll(where=Matching(parse_filter(document)), limit=100_000)
    assert {row.uri for row in found} == {f"/pictures/{name}.png" for name in expected}


def test_a_place_that_is_edited_is_found_where_it_is_now(tmp_path: Path) -> None:
    collection = Collection.open(tmp_path, model_id="m", dim=4)
    (image_id,) = collection.add([new_image("a", latitude=1.0, longitude=1.0)], unit_vectors(1, 4))
    here = parse_filter({"geo_radius": {"latitude": 1, "longitude": 1, "radius_m": 10}})
    assert collection.snapshot().ids(Matching(here)) == [image_id]
    collection.patch(image_id, {"latitude": 1.001})  # 111 m to the north
    assert collection.snapshot().ids(Matching(here)) == []
