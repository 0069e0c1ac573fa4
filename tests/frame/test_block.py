"""Blocks: which of their rows count, and the groups of some of them."""

from __future__ import annotations

import numpy as np
import pytest

from dask_dl.frame.block import Block

N = 21
COUNTS = np.arange(N) % 3 > 0


def block_of(used):
    groups = {"class": np.arange(N) % 5, "fold": np.arange(N) % 2}
    return Block(None, N, int(COUNTS.sum()), groups, used, 0, None, None)


@pytest.mark.parametrize(("lo", "hi"), [(0, N), (0, 0), (3, 4), (7, 9), (8, 16), (5, N)])
def test_bits_say_which_rows_count(lo, hi):
    np.testing.assert_array_equal(block_of(np.packbits(COUNTS)).counting(lo, hi), COUNTS[lo:hi])
    assert block_of(None).counting(lo, hi).tolist() == [True] * (hi - lo)


def test_groups_are_those_of_the_rows_that_are_asked_for():
    found = block_of(None).groups_of(("fold",), 4, 7)
    assert list(found) == ["fold"] and found["fold"].tolist() == [0, 1, 0]
