"""Samples of answers: each row is in one as often, however a table is divided, and the answers are those to its rows."""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pandas as pd
import pytest

from dask_dl.answer_sample import SampledAnswers

N, SIZE = 4_000, 1_000


def part_of(lo, hi, keys, column=None):
    rows = np.arange(lo, hi)
    return SampledAnswers(rows[:, None], None if column is None else column[lo:hi], keys[lo:hi], hi - lo)


@pytest.mark.parametrize("cuts", [[0, N], [0, 1, 3_000, N], [0, 500, 500, 900, N], [*range(0, N, 100), N]], ids=len)
def test_the_rows_with_the_least_keys_stay_however_a_table_is_divided(cuts):
    keys = np.random.default_rng(0).random(N)
    column = pd.Series(np.arange(N), name="row")
    parts = [part_of(lo, hi, keys, column) for lo, hi in itertools.pairwise(cuts)]
    found = functools.reduce(functools.partial(SampledAnswers.merge, n=SIZE), parts)
    if len(parts) == 1:
        assert found.title == ""
        return
    assert found.n_rows == N and found.title == "a sample of 1,000 of 4,000 rows"
    np.testing.assert_array_equal(found.answers[:, 0], np.flatnonzero(keys <= np.sort(keys)[SIZE - 1]))
    np.testing.assert_array_equal(found.column, found.answers[:, 0])  # still beside its row


def test_levels_stay_levels_beside_a_part_without_rows():
    column = pd.Series(["a", "b", "a"], dtype="category", name="kind")
    keys = np.array([0.1, 0.2, 0.3])
    for cut in (0, 3):
        found = part_of(0, cut, keys, column).merge(part_of(cut, 3, keys, column), n=2)
        assert found.column.tolist() == ["a", "b"] and found.column.dtype == column.dtype
