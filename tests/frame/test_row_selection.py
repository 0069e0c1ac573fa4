"""Selections of rows: every row is in one fold, wherever it is looked at, and folds are as large as they say."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dask_dl.frame.order import keys_of
from dask_dl.frame.row_selection import AllBut, AllRows, Fold, Sample, StratifiedFold, fold_cuts

N = 5000
NUMBERS = np.arange(N)
GROUPS = {
    "class": (keys_of(NUMBERS, 9, "classes") % np.uint64(10) == 0).astype(np.uint16),
    "fold": (NUMBERS // 7 % 3).astype(np.uint16),
}


def stratified(n, seed=0, classes=GROUPS["class"]):
    keys = keys_of(np.arange(len(classes)), seed, "folds")
    cuts = tuple(fold_cuts(keys[classes == c], n) for c in range(int(classes.max()) + 1))
    return [StratifiedFold(k, cuts, seed) for k in range(n)]


def folds(how, n, seed=0):
    return stratified(n, seed) if how == "stratified" else [Fold(k, n, how, seed) for k in range(n)]


HOWS = ["modulo", "random", "column", "stratified"]


@pytest.mark.parametrize("how", HOWS)
def test_every_row_is_in_one_fold_and_in_all_but_the_others(how):
    parts = np.array([fold.selects(NUMBERS, GROUPS) for fold in folds(how, 3)])
    assert (parts.sum(axis=0) == 1).all()
    assert (np.abs(parts.sum(axis=1) - N / 3) < 6 * (N * 2 / 9) ** 0.5).all()
    for fold, part in zip(folds(how, 3), parts, strict=True):
        np.testing.assert_array_equal(AllBut(fold).selects(NUMBERS, GROUPS), ~part)


def test_folds_follow_number_and_column():
    np.testing.assert_array_equal(np.flatnonzero(Fold(2, 7, "modulo").selects(NUMBERS, {})), np.arange(2, N, 7))
    np.testing.assert_array_equal(Fold(1, 3, "column").selects(NUMBERS, GROUPS), GROUPS["fold"] == 1)


@pytest.mark.parametrize("how", ["random", "stratified"])
def test_random_folds_depend_on_the_seed_and_not_on_the_number(how):
    one, other = (folds(how, 4, seed)[1].selects(NUMBERS, GROUPS) for seed in (1, 2))
    assert 0.1 < np.mean(one & other) / one.mean() < 0.4  # a quarter, if they know nothing of each other
    assert abs(np.corrcoef(one[1:], one[:-1])[0, 1]) < 6 / N**0.5


@settings(derandomize=True, database=None, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=80), st.integers(2, 7), st.integers(0, 9))
def test_stratified_folds_differ_by_a_row_of_each_class(labels, n, seed):
    classes = np.array(labels, np.uint16)
    parts = [fold.selects(np.arange(len(classes)), {"class": classes}) for fold in stratified(n, seed, classes)]
    assert (np.sum(parts, axis=0) == 1).all()
    for c in range(int(classes.max()) + 1):
        sizes = [int((part & (classes == c)).sum()) for part in parts]
        assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("share", [0.0, 0.1, 0.8, 1.0])
def test_a_sample_is_a_share(share):
    drawn = Sample(share, 3).selects(NUMBERS, {})
    assert abs(drawn.sum() - share * N) <= 6 * (share * (1 - share) * N) ** 0.5
    assert share in {0, 1} or (drawn != Sample(share, 4).selects(NUMBERS, {})).any()


SELECTIONS = [AllRows(), Sample(0.3), *(f for how in HOWS for f in (folds(how, 3)[0], AllBut(folds(how, 3)[2])))]


@pytest.mark.parametrize("rows", SELECTIONS, ids=repr)
def test_a_process_finds_the_rows_of_its_blocks(rows):
    whole = rows.selects(NUMBERS, GROUPS)
    lo, hi = 1234, 2345
    needed = {name: GROUPS[name][lo:hi] for name in rows.groups}
    np.testing.assert_array_equal(rows.selects(NUMBERS[lo:hi], needed), whole[lo:hi])


def test_selections_are_small_values():
    assert len(set(SELECTIONS)) == len(SELECTIONS)
    for rows in SELECTIONS:
        assert pickle.loads(pickle.dumps(rows)) == rows
        assert len(pickle.dumps(rows)) < 300
