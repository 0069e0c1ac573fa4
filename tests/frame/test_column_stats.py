"""Statistics of columns: moments and counts that merge, whatever the cut."""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd
import pytest
from frame.sources import cut, exact, source_of
from frame.test_inputs import tables_with_gaps
from hypothesis import given
from hypothesis import strategies as st

from dask_dl.errors import SchemaError
from dask_dl.frame.column_stats import EmptyStats, Moments
from dask_dl.frame.row_stats import ScanRequest
from dask_dl.frame.scan import scan


def test_deviation_has_n_minus_1_below_and_weights_keep_it():
    plain, weighted = (Moments.of(np.array([[1.0, 2.0, 6.0]]), w).column(0) for w in (None, np.array([1.0, 2.0, 1.0])))
    assert (plain.mean, plain.deviation) == (3.0, pytest.approx(np.sqrt(7)))
    # sum w (x - 2.75)^2 / sum w = 14.75 / 4, times n / (n - 1) = 3 / 2
    assert (weighted.mean, weighted.deviation) == (2.75, pytest.approx(np.sqrt(14.75 / 4 * 1.5)))


def test_weights_of_any_unit_give_the_same_deviation():
    values = np.random.default_rng(0).normal(size=(1, 50))
    weights = np.random.default_rng(1).uniform(size=50)
    one, thousand = (Moments.of(values, k * weights).column(0) for k in (1, 1000))
    assert thousand.deviation == pytest.approx(one.deviation, rel=1e-14)


@pytest.mark.parametrize("value", [0.1, -1 / 3, 1e9 + 0.1, 1.7e12])
def test_a_constant_has_exactly_its_value_as_mean_and_no_deviation(value):
    # A rounded mean would leave a deviation of 1e-17, which standardisation would blow up to 1.
    values, weights = np.full((1, 1000), value), np.random.default_rng(0).uniform(size=1000)
    values[0, :3] = np.nan, value, np.nan
    for w in (None, weights):
        whole = Moments.of(values, w)
        left, right = (Moments.of(v, w if w is None else w[s]) for v, s in _halves(values))
        for moments in (whole.column(0), left.merge(right).column(0), left.column(0).merge(right.column(0))):
            assert (moments.mean, moments.deviation) == (value, 0.0)


def _halves(values):
    return [(values[:, s], s) for s in (slice(0, 337), slice(337, None))]


def test_nothing_merges_to_the_other():
    both = Moments.of(np.array([[1.0, 4.0], [np.nan, np.nan]]), None)
    some, none = both.column(0), both.column(1)
    assert none == Moments()
    assert none.merge(some) == some.merge(none) == some
    assert Moments().merge(Moments()) == Moments()
    assert [Moments.of(np.zeros((2, 0)), None).column(k) for k in range(2)] == [Moments(), Moments()]
    assert Moments.of(np.ones((1, 3)), np.zeros(3)).column(0) == Moments()


def test_one_number_has_no_deviation():
    assert Moments.of(np.array([[7.0]]), None).deviation.tolist() == [0]
    assert Moments(1, 2.0, 7.0).deviation == 0


# ---- partitions ---------------------------------------------------------------------------------------------------------


def chan(left, right):
    """Moments of two sets of numbers by Chan's formula, number by number."""
    if not left.n or not right.n:
        return left if left.n else right
    weight, shift = left.weight + right.weight, right.mean - left.mean
    mean = left.mean + shift * right.weight / weight
    m2 = left.m2 + right.m2 + shift * shift * left.weight * right.weight / weight
    return Moments(left.n + right.n, weight, mean, m2)


@exact
@given(tables_with_gaps(), st.booleans())
def test_any_cut_gives_the_figures_of_each_column(case, weighted):
    table, edges = case
    parts = cut(table if weighted else table.drop(columns="w"), edges)
    found = scan(source_of(*parts, target="y", **({"weight": "w"} if weighted else {})), ScanRequest("numbers")).columns
    counting = [part[part["y"].notna() & (part["w"] > 0 if weighted else True)] for part in parts]
    rows = pd.concat(counting)
    for k, name in enumerate(found):
        values = rows[name].dropna()
        assert found[name].n_missing == len(rows) - len(values)
        assert found.has_values[k] == (len(values) > 0)
        assert found.is_constant[k] == (values.nunique() < 2)
        if not len(values):
            assert found[name] == EmptyStats(len(rows))
        elif name == "word":
            assert dict(found[name].counts) == values.value_counts().to_dict()
        else:
            assert (found[name].minimum, found[name].maximum) == (values.min(), values.max())
            weights = [part["w"].to_numpy() if weighted else None for part in counting]
            tree = [Moments.of(p[[name]].to_numpy().T, w).column(0) for p, w in zip(counting, weights, strict=True)]
            while len(tree) > 1:
                tree = [functools.reduce(chan, tree[i : i + 2]) for i in range(0, len(tree), 2)]
            assert found[name].moments == tree[0]  # to the last bit


def test_levels_are_limited(monkeypatch):
    monkeypatch.setattr("dask_dl.frame.column_stats.MAX_LEVELS", 5)
    parts = [pd.DataFrame({"id": [f"{k}{n}" for n in range(3)], "y": [0.0, 1, 2]}) for k in range(2)]
    with pytest.raises(SchemaError, match=r"column 'id' of the table has more than 5 levels"):
        scan(source_of(*parts, target="y"), ScanRequest("numbers"))
