"""All reasons in one go: what `explain` puts together."""

from __future__ import annotations

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest

from dask_dl import DeepLearningAutoEncoder, DeepLearningClassifier, DeepLearningRegressor
from dask_dl.errors import ParameterError
from dask_dl.estimators import explaining

SMALL = {"hidden": [8], "epochs": 8, "reproducible": True, "random_state": 1, "score_duty_cycle": 0.0}


@pytest.fixture(scope="module")
def model(table):
    return DeepLearningRegressor(**SMALL).fit(table.drop(columns="label"), "number")


def test_it_holds_what_the_methods_return(table, model):
    found = model.explain(table, n_columns=2)
    pd.testing.assert_frame_equal(
        found.permutation, model.permutation_importance(table, n_repeats=3, columns=list(model.importances().index))
    )
    pd.testing.assert_frame_equal(found.importances, model.importances())
    pd.testing.assert_frame_equal(found.residuals, model.residuals(table))
    pd.testing.assert_frame_equal(found.layers, model.layer_summary_)
    assert [result.columns[0] for result in found.dependence] == list(found.permutation.index[:2])
    values = model.contributions(table, background=table).drop(columns="BiasTerm")
    np.testing.assert_allclose(found.contributions[values.columns], values.abs().mean(), rtol=1e-6)
    assert found.contributions.is_monotonic_decreasing
    assert found.sample == ""


def test_dask_gives_what_pandas_gives(table, model):
    one, other = model.explain(table), model.explain(dd.from_pandas(table, npartitions=3))
    pd.testing.assert_frame_equal(one.permutation, other.permutation, rtol=1e-5)
    for mine, theirs in zip(one.dependence, other.dependence, strict=True):
        assert mine.columns == theirs.columns


def test_columns_metric_and_repeats_are_chosen(table, model):
    found = model.explain(table, columns=["c"], metric="mae", n_repeats=2)
    assert [result.columns for result in found.dependence] == [("c",)]
    assert found.permutation.attrs["metric"] == "mae"
    assert "repeat 2" in found.permutation and "repeat 3" not in found.permutation
    with pytest.raises(ParameterError, match="no column 'd'"):
        model.explain(table, columns=["d"])


def test_of_many_columns_the_most_important_ones_are_permuted(table, model, monkeypatch):
    monkeypatch.setattr(explaining, "MAX_PERMUTED", 2)
    assert set(model.explain(table).permutation.index) == set(model.importances().index[:2])


def test_a_target_beside_the_table_and_none_at_all(table):
    X, y = table.drop(columns=["label", "number"]), table["label"]
    model = DeepLearningClassifier(**SMALL).fit(X, y)
    assert model.explain(X).permutation is None
    found = model.explain(X, y)
    assert found.permutation.attrs["metric"] == "logloss"
    assert found.residuals is None
    assert len(found.dependence) == 3


def test_offsets_and_weights_reach_every_part(table):
    given = table.drop(columns="label").assign(o=np.linspace(0, 9, len(table)), w=np.arange(len(table)) % 2)
    model = DeepLearningRegressor(**SMALL).fit(given, "number", offset="o", sample_weight="w")
    found = model.explain(given, sample_weight="w")
    wanted = model.evaluate(given, sample_weight="w")["deviance"]
    assert found.permutation.attrs["value"] == pytest.approx(wanted, rel=1e-5)
    assert found.dependence[0].n_rows == len(table) // 2
    assert "o" in found.contributions.index


def test_autoencoders_are_explained_otherwise():
    assert not hasattr(DeepLearningAutoEncoder, "explain")
