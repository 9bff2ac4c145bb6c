"""Slots and rows of an epoch."""

import numpy as np

from indexer.disk.slots import SlotMap


def test_slots_and_rows_are_each_others_inverse() -> None:
    slot_map = SlotMap(np.array([2, 3, 7], np.int64), next_slot=10)
    rows_N = np.arange(6)
    np.testing.assert_array_equal(slot_map.slots_of(rows_N), [2, 3, 7, 10, 11, 12])
    np.testing.assert_array_equal(slot_map.rows_of(slot_map.slots_of(rows_N)), rows_N)
    np.testing.assert_array_equal(slot_map.rows_of([0, 5, 8, 9]), [-1, -1, -1, -1])
    assert [slot_map.row_count(slots) for slots in (0, 3, 8, 10, 13)] == [0, 1, 3, 3, 6]
