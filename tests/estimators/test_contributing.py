"""Contributions by the estimators: tables of every kind, lazily, by threads; pictures, and what shap draws."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import dask
import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from distributed import Client, LocalCluster
from predicted import SMALL, fail
from sklearn.exceptions import NotFittedError
from tables import make_table

from dask_dl import DeepLearningAutoEncoder, DeepLearningClassifier, DeepLearningRegressor, prepare
from dask_dl.errors import ParameterError
from dask_dl.estimators.contributing import MAX_ROWS
from dask_dl.explain.contributions import Contributions
from dask_dl.node.threads import map_threads

TABLE = make_table(300, labels=("a", "b", "c"))
X, NUMBERS = TABLE[[*"abc", "level"]], TABLE[list("abc")].to_numpy()


@pytest.fixture(scope="module")
def model():
    return DeepLearningClassifier(**SMALL).fit(X, TABLE["label"])


@pytest.fixture(scope="module")
def regressor():
    return DeepLearningRegressor(**SMALL).fit(X, TABLE["y"])


@pytest.mark.parametrize("label", [None, "b"])
def test_a_lazy_frame_stays_lazy(model, label):
    frame = X.set_axis(np.arange(300) * 2 + 5)
    lazy = dd.from_pandas(frame, npartitions=4)
    found = model.contributions(lazy, X, label=label)
    assert found.divisions == lazy.divisions
    expected = model.contributions(frame, X, label=label)
    computed = found.compute(scheduler="sync")
    pd.testing.assert_frame_equal(found._meta, computed[:0])
    pd.testing.assert_frame_equal(computed, expected)  # to the bits
    assert (computed.index == frame.index).all()


def test_rows_are_read_when_contributions_are_computed(model):
    lazy = dd.from_map(fail, range(3), meta=X[:0])
    with pytest.raises(AssertionError, match="later"):
        model.contributions(lazy, X).compute(scheduler="sync")


def test_a_lazy_array_stays_lazy():
    model = DeepLearningClassifier(**SMALL).fit(NUMBERS, TABLE["label"])
    lazy = da.from_array(NUMBERS, chunks=(110, 2))
    for label, shape in ((None, (300, 4, 3)), ("b", (300, 4))):
        found = model.contributions(lazy, NUMBERS, label=label)
        assert found.shape == shape and found.chunks[0] == (110, 110, 80) and found.dtype == np.float64
        assert (found.compute(scheduler="sync") == model.contributions(NUMBERS, NUMBERS, label=label)).all()


def test_background_rows_and_weights_travel_once():
    wide = DeepLearningRegressor(**SMALL | {"hidden": (300, 30)}).fit(X, TABLE["y"])
    found = wide.contributions(dd.from_pandas(X, npartitions=20), X, n_background=5)
    (graph,) = dask.optimize(found)
    tasks = dict(graph.__dask_graph__()).values()
    assert len([task for task in tasks if isinstance(getattr(task, "value", None), Contributions)]) == 1


def test_workers_of_a_cluster_explain(model):
    lazy, expected = dd.from_pandas(X, npartitions=4), model.contributions(X, X, n_background=None)
    given = {"n_workers": 2, "threads_per_worker": 1, "processes": False, "protocol": "tcp", "dashboard_address": ":0"}
    with LocalCluster(**given) as cluster, Client(cluster):
        pd.testing.assert_frame_equal(model.contributions(lazy, lazy, n_background=None).compute(), expected)


def test_threads_change_no_bit(regressor, monkeypatch):
    alone = regressor.contributions(X, X)
    seen = []
    monkeypatch.setattr("dask_dl.explain.contributions.WORK_PER_SLICE", 10**5)
    monkeypatch.setattr("dask_dl.node.parallelism.cores", lambda _: (3, 3))
    monkeypatch.setattr("dask_dl.predict.map_threads", lambda n, *more: seen.append(n) or map_threads(n, *more))
    pd.testing.assert_frame_equal(regressor.contributions(X, X), alone)
    assert seen == [3]


def test_no_rows_have_no_contributions(model):
    assert model.contributions(X[:0], X).shape == (0, 15)
    assert model.contributions(X[:0], X).columns[-1] == "c.BiasTerm"


def test_what_cannot_be_explained_is_refused(model):
    for given, says in (({"output": "raw"}, "give 'margin' or 'response'"), ({"label": "d"}, "no class of the model")):
        with pytest.raises(ParameterError, match=says):
            model.contributions(X, X, **given)
    with prepare(X.assign(y=TABLE["label"]), "y", task="classification") as data:
        for tables in ((data, X), (X, data)):
            with pytest.raises(ParameterError, match="X is a Dataset"):
                model.contributions(*tables)
    with pytest.raises(NotFittedError):
        DeepLearningClassifier().contributions(X, X)
    assert not hasattr(DeepLearningAutoEncoder(), "contributions")


def test_pictures_are_of_a_row_or_of_many(model, regressor):
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    row = X.iloc[[7]]
    ax = Figure().subplots()
    assert model.plot_contributions(row, X, ax=ax) is ax
    best = model.contributions(row, X).T.groupby(lambda name: name[0]).sum().iloc[:, 0].idxmax()
    assert ax.get_xlabel() == f"the margin of {best}"
    assert f"level = {row['level'].iloc[0]}" in [tick.get_text() for tick in ax.get_yticklabels()]
    means = np.abs(regressor.contributions(X, X)).mean().drop("BiasTerm").sort_values(ascending=False)
    for table in (X, dd.from_pandas(X, npartitions=3)):
        ax = regressor.plot_contributions(table, X, ax=Figure().subplots())
        assert [tick.get_text() for tick in ax.get_yticklabels()] == list(means.index)
        assert np.allclose([bar.get_width() for bar in ax.patches], means)
    ax = regressor.plot_contributions(pd.concat([X] * 4), X, ax=Figure().subplots())
    assert ax.get_title() == f"a sample of {MAX_ROWS:,} of 1,200 rows"
    ax = model.plot_contributions(X, X, output="response", ax=Figure().subplots())
    assert ax.get_xlabel() == "mean absolute contribution to the probability of 3 classes"


def test_pictures_of_a_model_with_offsets():
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    table = X.assign(w=TABLE["w"])
    model = DeepLearningRegressor(**SMALL).fit(table, TABLE["y"], offset="w")
    for rows in (table, table.iloc[[1]]):
        ax = model.plot_contributions(rows, table, ax=Figure().subplots())
        place = [tick.get_text()[0] for tick in ax.get_yticklabels()].index("w")
        found = model.contributions(rows, table)["w"]
        assert np.isclose(abs(ax.patches[place].get_width()), found.abs().mean())


def test_shap_gets_figures_values_and_names(model, monkeypatch):
    """The package itself: tests/show/test_shap_explanation.py."""
    fake = SimpleNamespace(Explanation=lambda values, **more: SimpleNamespace(values=values, **more))
    monkeypatch.setitem(sys.modules, "shap", fake)
    found = model.shap_explanation(dd.from_pandas(X, npartitions=2), X, label="b", output="response")
    expected = model.contributions(X, X, label="b", output="response").to_numpy()
    assert (found.values == expected[:, :-1]).all() and (found.base_values == expected[:, -1]).all()
    assert (found.data == X.to_numpy()).all() and found.feature_names == list(X.columns)
    assert found.output_names is None
    assert model.shap_explanation(X, X).output_names == ["a", "b", "c"]


def test_shap_is_asked_for_where_it_is_missing(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "shap", None)
    with pytest.raises(ParameterError, match="pip install shap"):
        model.shap_explanation(X, X)
