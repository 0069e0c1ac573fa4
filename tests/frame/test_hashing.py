"""Levels that share inputs by their hash."""

from __future__ import annotations

import numpy as np

from dask_dl.frame.hashing import Hashing, murmur2


def test_hashing_is_murmur2():
    # The example of algorithm.md#hashing, from H2O's formula.
    numbers = np.array([0, 1, 2, 10, 100])
    assert murmur2(numbers, 1234).tolist() == [1913970290, 1548199058, -1997391540, -1155972316, 250536428]
    assert Hashing(16, 1234).inputs(numbers).tolist() == [2, 2, 4, 12, 12]
    assert murmur2(numbers, 1234 + 2**32).tolist() == murmur2(numbers, 1234).tolist()


def test_levels_that_collide_in_a_row_count_twice():
    active = np.array([[0, 1, 10], [-1, -1, -1], [2, 100, 10]], np.int32)
    row, slot, value = Hashing(16, 1234).entries(active, 101)
    assert (row.tolist(), slot.tolist(), value.tolist()) == ([0, 0, 2, 2], [2, 12, 4, 12], [2, 1, 1, 2])
