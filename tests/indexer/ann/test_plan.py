"""Which family of index is chosen for how many pictures."""

import pytest

from indexer.ann.plan import plan


@pytest.mark.parametrize(
    ("count", "memory", "latency", "family"),
    [
        (20_000, 1e9, 10, None),
        (1_000_000, 1e9, 10, "ivf_rabitq"),
        (1_000_000, 1e9, 1000, None),
        (10_000_000, 2e9, 10, "ivf_rabitq"),
        (10_000_000, 1e6, 10, "ivf_rabitq"),
    ],
)
def test_the_plan_takes_the_smallest_index_that_is_fast_enough(
    count: int, memory: float, latency: float, family: str | None
) -> None:
    made = plan(count, 512, memory_bytes=int(memory), latency_ms=latency)
    assert made.family == family
    assert made.chosen in made.options
    assert all(option.verdict for option in made.options)
