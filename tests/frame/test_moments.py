"""Moments of stored rows by fold: those of NumPy, of the rows of all other folds."""

from __future__ import annotations

import numpy as np
import pytest
from frame.test_subset import stored, table

from dask_dl.errors import ParameterError
from dask_dl.frame.blocks import BlockOptions, Blocks
from dask_dl.frame.moments import fold_keys, fold_of, moments
from dask_dl.frame.row_selection import Fold

N, P = 60, 16
FOLDS = [Fold(k, 3, "modulo") for k in range(3)]
OF = np.arange(N) % 3


@pytest.mark.parametrize("weighted", [False, True])
def test_figures_without_a_fold_are_those_of_the_other_rows(weighted):
    rows = table(N, weighted=weighted)
    found = moments(stored(rows, [13, 0, 47]), FOLDS, 0, np.zeros(P, bool), 0)
    weight = rows.weight.astype(float) if weighted else np.ones(N)
    for k in range(3):
        rest = (k != OF) & (weight > 0)
        one = found.without(k)
        w, n = weight[rest], rest.sum()
        assert one.n.tolist() == [n] and one.weight[0] == pytest.approx(w.sum())

        def by_the_book(values, w=w, n=n):
            mean = np.average(values, weights=w, axis=0)
            return mean, np.sqrt(np.average((values - mean) ** 2, weights=w, axis=0) * n / (n - 1))

        for figures, values in ((one.figures(), rows.dense[rest, :P]), (one.target_figures(), rows.target[rest])):
            for figure, expected in zip(figures, by_the_book(values.astype(float)), strict=True):
                np.testing.assert_allclose(figure, expected, rtol=1e-6, atol=1e-6)


def test_rows_of_each_class_are_counted_and_parts_add_up():
    rows = table(N)
    whole = moments(stored(rows, [N]), FOLDS, 3, np.zeros(P, bool), 0)
    classes = rows.target.astype(int)
    np.testing.assert_array_equal(whole.classes, [np.bincount(classes[k == OF], minlength=3) for k in range(3)])
    cut = stored(rows, [20, 40])
    one, other = (moments(cut.only([k]), FOLDS, 3, np.zeros(P, bool), 0) for k in (0, 1))
    merged = one.merge(other)
    for name, values in vars(whole).items():
        np.testing.assert_allclose(getattr(merged, name), values, rtol=1e-12, err_msg=name)


def test_a_stored_zero_of_a_column_with_gaps_is_no_number():
    rows = table(N)
    rows.dense[::4, 1] = 0
    has_missing = np.arange(P) == 1
    found = moments(stored(rows, [N]), [Fold(0, 1, "modulo")], 0, has_missing, 0)
    assert found.dense[0, 0, 1] == np.count_nonzero(rows.dense[:, 1]) < N
    assert found.dense[0, 0, 0] == N


def test_a_row_is_of_the_fold_that_selects_it():
    assert fold_of(FOLDS[:2], np.arange(6), {}).tolist() == [0, 1, -1, 0, 1, -1]


def test_keys_are_those_of_each_class_and_need_the_classes():
    store = stored(table(N), [20, 40])
    by_class = fold_keys(store, 3, seed=1)
    assert [len(keys) for keys in by_class] == np.bincount(table(N).target.astype(int)).tolist()
    (together,) = fold_keys(store, 0, seed=1)
    np.testing.assert_array_equal(np.sort(np.concatenate(by_class)), np.sort(together))
    assert (fold_keys(store, 0, seed=2)[0] != together).any()
    without = Blocks(store.starts, BlockOptions())
    with pytest.raises(ParameterError, match="fold_assignment='stratified': the Dataset was prepared without it"):
        fold_keys(without, 3, seed=1)
