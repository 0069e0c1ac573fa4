"""Permutation importance: against scikit-learn's, over tables of every kind, and what is refused."""

from __future__ import annotations

from copy import copy

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from sklearn.inspection import permutation_importance
from sklearn.metrics import log_loss

from dask_dl import DeepLearningAutoEncoder, DeepLearningClassifier, DeepLearningRegressor, prepare
from dask_dl.errors import ParameterError, SchemaError
from dask_dl.explain import donors, permutation

SMALL = {"hidden": [12], "epochs": 20, "random_state": 1, "reproducible": True, "score_duty_cycle": 0.0}


def made(n=900):
    random = np.random.default_rng(5)
    a, b, c = random.normal(size=(3, n))
    color = random.choice(["blue", "green", "red"], n)
    size = pd.Series(random.choice(["l", "m", "s"], n)).where(random.random(n) > 0.1)
    y = 2 * a + b + 2.0 * (color == "red") + (size == "l") + random.normal(0, 0.1, n)
    return pd.DataFrame({"a": a, "color": color, "b": b, "size": size, "c": c, "y": y})


@pytest.fixture(scope="module")
def frame():
    return made()


@pytest.fixture(scope="module")
def model(frame):
    return DeepLearningRegressor(**SMALL).fit(frame, "y")


@pytest.fixture(scope="module")
def classes(frame):
    return frame.assign(y=np.where(frame["y"] > 1, "high", "low"))


@pytest.fixture(scope="module")
def classifier(classes):
    return DeepLearningClassifier(**SMALL).fit(classes, "y")


def test_it_is_scikit_learns_within_the_deviations(frame, model):
    own = model.permutation_importance(frame, metric="mse", n_repeats=30)
    X, y = frame.drop(columns="y"), frame["y"]
    theirs = permutation_importance(model, X, y, scoring="neg_mean_squared_error", n_repeats=30, random_state=0)
    for name, mean, deviation in zip(X, theirs.importances_mean, theirs.importances_std, strict=True):
        row = own.loc[name]
        assert row["importance"] == pytest.approx(mean, abs=4 * deviation / 30**0.5 + 4 * row["deviation"] / 30**0.5)
        assert row["deviation"] == pytest.approx(deviation, rel=0.7)
    assert own.index[0] == X.columns[theirs.importances_mean.argmax()]
    assert own.attrs == {"metric": "mse", "value": pytest.approx(((model.predict(X) - y) ** 2).mean(), rel=1e-5)}


def test_a_repetition_is_what_a_permuted_frame_gives(frame, model):
    found = model.permutation_importance(frame, metric="mse", columns=["color", "a"], n_repeats=2, random_state=7)
    base = ((model.predict(frame) - frame["y"]) ** 2).mean()
    for g, name in enumerate(["color", "a"]):
        for r in range(2):
            order = np.random.default_rng((7, g, r)).permutation(len(frame))
            permuted = frame.assign(**{name: frame[name].to_numpy()[order]})
            wanted = ((model.predict(permuted) - frame["y"]) ** 2).mean() - base
            assert found.loc[name, f"repeat {r + 1}"] == pytest.approx(wanted, rel=1e-4)


def test_columns_without_weight_are_worth_nothing(frame):
    weights = [np.zeros((2, 3)), np.ones((3, 1))]
    weights[0][0] = 1
    model = DeepLearningRegressor(hidden=[3], epochs=0, initial_weights=weights).fit(frame[["a", "b", "y"]], "y")
    found = model.permutation_importance(frame)
    assert found.loc["b", ["importance", "deviation"]].tolist() == [0, 0]
    assert found.loc["a", "importance"] != 0


def test_groups_are_permuted_together(frame, model):
    found = model.permutation_importance(frame, metric="mse", columns={"both": ["a", "b"], "one": "c"}, n_repeats=1)
    assert set(found.index) == {"both", "one"}
    order = np.random.default_rng((0, 0, 0)).permutation(len(frame))
    permuted = frame.assign(a=frame["a"].to_numpy()[order], b=frame["b"].to_numpy()[order])
    wanted = ((model.predict(permuted) - frame["y"]) ** 2).mean() - found.attrs["value"]
    assert found.loc["both", "importance"] == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize("metric", ["auc", "logloss", "misclassification", "mean_per_class_error", "accuracy"])
def test_any_metric_gets_worse(classes, classifier, metric):
    found = classifier.permutation_importance(classes, metric=metric, n_repeats=3)
    assert found["importance"].iloc[0] > 0.01
    assert found.index[0] == "a"
    assert found.attrs["metric"] == ("custom" if metric == "accuracy" else metric)
    evaluation = classifier.evaluate(classes, custom_metric="accuracy" if metric == "accuracy" else None)
    assert found.attrs["value"] == pytest.approx(evaluation["custom" if metric == "accuracy" else metric], rel=1e-6)


def test_several_classes_and_areas_under_their_curves():
    frame = made()
    frame["y"] = pd.cut(frame["y"], 3, labels=["low", "mid", "high"]).astype(str)
    model = DeepLearningClassifier(**SMALL).fit(frame, "y")
    assert model.permutation_importance(frame, n_repeats=2).index[0] == "a"
    assert model.permutation_importance(frame, metric="auc_weighted_ovo", n_repeats=2).index[0] == "a"


def test_what_training_minimises_is_the_default(frame, model, classes, classifier):
    assert model.permutation_importance(frame, n_repeats=1).attrs["metric"] == "deviance"
    found = classifier.permutation_importance(classes, n_repeats=1)
    assert found.attrs["metric"] == "logloss"
    assert found.attrs["value"] == pytest.approx(log_loss(classes["y"], classifier.predict_proba(classes)), rel=1e-4)


def test_weights_count_and_rows_without_weight_neither_give_nor_take(frame, model):
    heavy = frame.assign(w=np.where(np.arange(len(frame)) < 300, 1.0, 0.0))
    heavy.loc[heavy["w"] == 0, "a"] = 1e6
    found = model.permutation_importance(heavy, sample_weight="w", n_repeats=3)
    pd.testing.assert_frame_equal(found, model.permutation_importance(heavy[:300], n_repeats=3), rtol=1e-5)


def test_unknown_targets_are_left_out(frame, model):
    holed = frame.assign(y=frame["y"].where(np.arange(len(frame)) % 3 > 0))
    found = model.permutation_importance(holed, n_repeats=2)
    pd.testing.assert_frame_equal(found, model.permutation_importance(holed.dropna(subset="y"), n_repeats=2), rtol=1e-5)


@pytest.mark.parametrize("n", [2, 5])
def test_dask_gives_what_pandas_gives(frame, model, n):
    wanted = model.permutation_importance(frame, n_repeats=2)
    found = model.permutation_importance(dd.from_pandas(frame, npartitions=n), n_repeats=2)
    pd.testing.assert_frame_equal(found, wanted, rtol=1e-5)
    assert found.attrs["value"] == pytest.approx(wanted.attrs["value"], rel=1e-6)


def test_arrays_and_sparse_matrices():
    from scipy.sparse import random_array

    X = random_array((400, 8), density=0.4, rng=np.random.default_rng(0), format="csr", dtype=np.float64)
    y = 5 * X[:, [2]].toarray().ravel() + X[:, [5]].toarray().ravel()
    model = DeepLearningRegressor(**SMALL, sparse=True).fit(X, y)
    wanted = model.permutation_importance(X, y, n_repeats=3)
    assert wanted.index[0] == "x2"
    dense = X.toarray()
    for given, target in ((dense, y), (da.from_array(dense, chunks=(100, 8)), da.from_array(y, chunks=100))):
        pd.testing.assert_frame_equal(model.permutation_importance(given, target, n_repeats=3), wanted, rtol=1e-4)


def test_hashed_levels_are_permuted_too(frame):
    model = DeepLearningRegressor(**SMALL, max_categorical_features=4).fit(frame, "y")
    found = model.permutation_importance(frame, metric="mse", n_repeats=1)
    g = list(model.feature_names_in_).index("color")
    order = np.random.default_rng((0, g, 0)).permutation(len(frame))
    permuted = frame.assign(color=frame["color"].to_numpy()[order])
    wanted = ((model.predict(permuted) - frame["y"]) ** 2).mean() - found.attrs["value"]
    assert found.loc["color", "importance"] == pytest.approx(wanted, rel=1e-4)
    data = prepare(frame, y="y", max_categorical_features=4, random_state=1)
    with data, pytest.raises(ParameterError, match="levels of 'color', 'size' are hashed"):
        model.permutation_importance(data)


def test_offsets_stay_with_their_rows(frame):
    table = frame.assign(o=np.random.default_rng(0).normal(0, 3, len(frame)))
    table["y"] += table["o"]
    model = DeepLearningRegressor(**SMALL).fit(table, "y", offset="o")
    found = model.permutation_importance(table, metric="mse", n_repeats=1)
    assert set(found.index) == {"a", "color", "b", "size", "c"}
    assert found.attrs["value"] == pytest.approx(((model.predict(table) - table["y"]) ** 2).mean(), rel=1e-4)


def test_a_dataset_gives_the_same_within_the_deviations(frame, model):
    wanted = model.permutation_importance(frame, n_repeats=20)
    with prepare(frame, y="y", random_state=1) as data:
        found = model.permutation_importance(data, n_repeats=20)
    assert found.attrs["value"] == pytest.approx(wanted.attrs["value"], rel=1e-4)
    for name, row in found.iterrows():
        close = 4 * (row["deviation"] + wanted.loc[name, "deviation"]) / 20**0.5
        assert row["importance"] == pytest.approx(wanted.loc[name, "importance"], abs=close + 1e-6)


def test_of_large_tables_random_rows_stand_in(frame, model, monkeypatch):
    wanted = model.permutation_importance(frame, n_repeats=20)
    monkeypatch.setattr(donors, "MAX_DONORS", 300)
    ordered = frame.sort_values("a")  # within a partition all values are alike
    found = model.permutation_importance(dd.from_pandas(ordered, npartitions=6, sort=False), n_repeats=20)
    for name, row in found.iterrows():
        close = 5 * (row["deviation"] + wanted.loc[name, "deviation"]) / 20**0.5
        assert row["importance"] == pytest.approx(
            wanted.loc[name, "importance"], abs=close + 0.1 * abs(row["importance"])
        )


def test_a_table_is_read_once_for_donors_and_once_for_each_block(frame, model, monkeypatch):
    read = []

    def counted(part):
        read.append(len(part))
        return part

    table = dd.from_pandas(frame, npartitions=3).map_partitions(counted, meta=frame.iloc[:0])
    model.permutation_importance(table, n_repeats=2)
    assert sum(read) == 2 * len(frame)
    read.clear()
    monkeypatch.setattr(permutation, "MAX_BYTES", 4 * permutation.MEAN_BYTES)
    model.permutation_importance(table, n_repeats=2)  # 10 variants, 4 at a time
    assert sum(read) == 4 * len(frame)


def test_blocks_and_threads_change_nothing(frame, model, monkeypatch):
    wanted = model.permutation_importance(frame, metric="mae", n_repeats=2)
    monkeypatch.setattr(permutation, "MAX_BYTES", 1)
    monkeypatch.setattr("dask_dl.frame.prediction.ROWS_PER_SLICE", 128)
    found = copy(model).set_params(n_jobs=2).permutation_importance(frame, metric="mae", n_repeats=2)
    pd.testing.assert_frame_equal(found, wanted, rtol=1e-5)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"columns": ["nothing"]}, "the model has no column 'nothing'"),
        ({"columns": ["a", "a"]}, "'a' is there twice"),
        ({"columns": {"x": []}}, "the group 'x' is empty"),
        ({"columns": {"x": ["a", "a"]}}, "the group 'x' has a column twice"),
        ({"columns": []}, "none are given"),
        ({"columns": ["y"]}, "'y' is the target"),
        ({"n_repeats": 0}, "n_repeats=0"),
        ({"n_repeats": 1.5}, "n_repeats=1.5"),
        ({"metric": "auc"}, "metric='auc': give a metric of regression problems"),
        ({"metric": "rsme"}, "Did you mean 'rmse'?"),
        ({"metric": "custom"}, "without a metric of its own"),
    ],
)
def test_what_asks_for_nothing_is_refused(frame, model, given, message):
    with pytest.raises(ParameterError, match=message.replace("?", r"\?")):
        model.permutation_importance(frame, **given)


def test_tables_without_a_target_are_refused(frame, model):
    with pytest.raises(SchemaError, match="y"):
        model.permutation_importance(frame.drop(columns="y"))
    with pytest.raises(SchemaError, match="no row has a known value"):
        model.permutation_importance(frame.assign(y=np.nan))
    unnamed = DeepLearningRegressor(**SMALL).fit(frame[["a", "b"]], frame["y"])
    with pytest.raises(ParameterError, match="requires y"):
        unnamed.permutation_importance(frame[["a", "b"]])


def test_autoencoders_have_none():
    assert not hasattr(DeepLearningAutoEncoder, "permutation_importance")
