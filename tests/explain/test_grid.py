"""Points of columns: scikit-learn's for numbers, the most frequent levels; the same however a table is divided."""

from __future__ import annotations

import functools
import itertools

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats.mstats import mquantiles
from tables import UNSCORED, make_table

import dask_dl
from dask_dl import DeepLearningRegressor
from dask_dl.explain.grid import (
    MAX_ROWS,
    Axis,
    Figures,
    Levels,
    axis_of,
    figures_of_table,
    given_axis,
    levels_of,
    quantiles,
)

SMALL = UNSCORED | {"hidden": (3,), "epochs": 1, "random_state": 1, "n_jobs": 1}


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=40), st.lists(st.floats(0, 1), min_size=1, max_size=5))
def test_quantiles_are_those_of_scikit_learn(values, shares):
    expected = mquantiles(values, prob=shares)
    np.testing.assert_allclose(quantiles(np.sort(values), shares), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("cuts", [[0, 900], [0, 1, 500, 900], [0, 300, 300, 900]], ids=len)
def test_figures_of_parts_are_those_of_the_table(cuts):
    random = np.random.default_rng(0)
    numbers, keys, levels = random.normal(size=900), random.random(900), random.choice(["u", "v"], 900)

    def part(lo, hi):
        counts = pd.Series(levels[lo:hi]).value_counts().to_dict()
        return Figures({"level": counts}, {"a": numbers[lo:hi]}, keys[lo:hi])

    found = functools.reduce(functools.partial(Figures.merge, n=200), [part(*cut) for cut in itertools.pairwise(cuts)])
    assert found.levels["level"] == {level: int((levels == level).sum()) for level in ("u", "v")}
    if len(cuts) > 2:
        np.testing.assert_array_equal(found.numbers["a"], numbers[keys <= np.sort(keys)[199]])


def axis(levels, n=20, known=None):
    known = Levels(frozenset(levels) - {None}, None) if known is None else known
    return axis_of("level", Figures({"level": levels}, {}, np.zeros(0)), known, n, (0.05, 0.95), "a table")


def test_levels_come_by_their_frequency_and_a_missing_one_last():
    assert axis({"u": 3, None: 90, "v": 5, "t": 3}).values.tolist() == ["v", "t", "u", None]
    assert axis({"u": 3, None: 1, "v": 5, "t": 3}, n=2).values.tolist() == ["v", "t", None]


def test_few_numbers_are_points_themselves_and_missing_ones_none():
    figures = Figures({}, {"a": np.array([2.0, np.nan, 1.0, 2.0, 7.0])}, np.zeros(5))
    assert axis_of("a", figures, None, 4, (0.05, 0.95), "a table").values.tolist() == [1, 2, 7]
    assert len(axis_of("a", figures, None, 3, (0.05, 0.95), "a table").values) == 3
    assert axis_of("a", figures, None, 3, (0, 1), "a table").values.tolist() == [1, 4, 7]


def test_figures_of_a_lazy_table_are_of_random_rows_and_of_all_levels():
    table = make_table(3 * MAX_ROWS)[["a", "level", "y"]]
    table.loc[::7, "level"] = None
    model = DeepLearningRegressor(**SMALL).fit(table[:500], "y").model_
    lazy = figures_of_table(model, dd.from_pandas(table, npartitions=4), ["a", "level"])
    local = figures_of_table(model, table, ["a", "level"])
    assert len(lazy.numbers["a"]) == MAX_ROWS and len(local.numbers["a"]) == len(table)
    assert lazy.levels == local.levels
    assert local.levels["level"] == table["level"].value_counts().to_dict() | {None: int(table["level"].isna().sum())}
    assert (
        np.abs(quantiles(np.sort(lazy.numbers["a"]), [0.1, 0.5, 0.9]) - np.quantile(table["a"], [0.1, 0.5, 0.9])).max()
        < 0.06
    )


def test_levels_that_training_has_not_seen_are_others_or_none():
    table = make_table(300)[["a", "y"]].assign(level=np.arange(300) % 13)
    table["level"] = table["level"].astype(str)
    strange = pd.concat([table, table[:5].assign(level="never")])
    for given_, expected in (({}, None), ({"categorical_encoding": "enum_limited"}, "other")):
        model = DeepLearningRegressor(**SMALL, **given_).fit(table, "y").model_
        known = levels_of(model.encoder)["level"]
        counts = figures_of_table(model, strange, ["level"]).levels["level"]
        assert known.other == expected and "never" not in counts
        others = sum(table["level"].isin(set(table["level"]) - known.levels)) + 5
        assert counts.get("other", 0) == (others if expected else 0)


@pytest.mark.parametrize("sparse", [False, True])
def test_numbers_of_encoded_rows_are_those_of_the_table(sparse):
    table = pd.DataFrame(
        {"whole": np.arange(40) % 7, "tenth": np.round((np.arange(40) % 9) / 10 - 0.4, 1), "y": np.arange(40.0)}
    )
    given_ = SMALL | {"sparse": sparse}
    with dask_dl.prepare(table, "y", sample_weight=(np.arange(40) % 4 > 0).astype(float), **given_) as data:
        model = DeepLearningRegressor(**given_).fit(data)
        found = model.partial_dependence(data, ["whole", "tenth"])
    for result in found:
        np.testing.assert_array_equal(result.grid_values[0], np.unique(table[result.columns[0]]))


def test_points_that_are_given_are_numbers_dates_or_levels():
    known = Levels(frozenset("uv"), None)
    assert given_axis("level", ["v", None, "u", np.nan], known).values.tolist() == ["v", None, "u", None]
    assert given_axis("flag", [True], Levels(frozenset(["True"]), None)).values.tolist() == ["True"]
    assert given_axis("a", [1, 2], None).values.dtype == np.float64
    assert given_axis("day", pd.to_datetime(["2024-02-03"]), None).values.dtype.kind == "M"
    assert given_axis("level", ["x"], known._replace(other="other")).values.tolist() == ["x"]
    assert not Axis("a", np.zeros(2), np.zeros(0)).is_category and given_axis("level", ["u"], known).is_category


def test_rows_that_do_not_count_give_no_points():
    table = pd.DataFrame({"a": np.arange(60.0), "y": np.arange(60.0)})
    table.loc[30:, "y"] = None
    with dask_dl.prepare(table, "y", **SMALL) as data:
        model = DeepLearningRegressor(**SMALL).fit(data)
        assert model.partial_dependence(data, "a", percentiles=(0, 1)).grid_values[0].max() == 29
