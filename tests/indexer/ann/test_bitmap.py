"""Bitmaps are sets of rows."""

import numpy as np
import pytest

from indexer.ann.bitmap import Bitmap


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 31])
def test_bitmaps_agree_with_sets(size: int) -> None:
    rng = np.random.default_rng(size)
    members = set(np.flatnonzero(rng.random(size) < 0.5).tolist())
    bitmap = Bitmap.of(sorted(members), size)
    assert set(bitmap.rows().tolist()) == members
    assert bitmap.count == len(members)
    assert set(bitmap.without([0, 5, 99]).rows().tolist()) == members - {0, 5}
    assert set(bitmap.below(6).rows().tolist()) == {row for row in members if row < 6}
    assert set(bitmap.grown(size + 11).rows().tolist()) == members | set(range(size, size + 11))
    assert (Bitmap.full(size).count, Bitmap.full(size).is_full) == (size, True)
    assert set((bitmap & Bitmap.of([1, 2, 3], size)).rows().tolist()) == members & {1, 2, 3}
