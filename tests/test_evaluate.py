"""`evaluate` gives the figures of scikit-learn on predictions, of every kind of table."""

from __future__ import annotations

import asyncio
import math
import multiprocessing

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import peaks
import pytest
import scipy.sparse
from distributed.utils_test import gen_cluster
from evaluated import INPUTS, SMALL, TABLE, TARGETS, fitted, same
from sklearn import metrics

from dask_dl import DeepLearningClassifier, DeepLearningRegressor
from dask_dl.errors import DaskDLWarning, ParameterError, SchemaError


@pytest.fixture(scope="module")
def models():
    return fitted()


def figures_of_classes(y, p, w, classes):
    """Figures by scikit-learn that problems of two classes and of more have in common."""
    codes = pd.Index(classes).get_indexer(y)
    right, predicted = p[np.arange(len(y)), codes], p.argmax(axis=1)
    mse = np.average((1 - right) ** 2, weights=w)
    variance = np.average((codes - np.average(codes, weights=w)) ** 2, weights=w)
    return codes, {
        "logloss": metrics.log_loss(y, p, sample_weight=w, labels=classes),
        "mse": mse,
        "rmse": math.sqrt(mse),
        "r2": 1 - mse / variance,
        "misclassification": metrics.zero_one_loss(codes, predicted, sample_weight=w),
        "mean_per_class_error": 1 - metrics.balanced_accuracy_score(codes, predicted, sample_weight=w),
    }


def by_hand(kind, model, table, w):
    target = table[TARGETS[kind]]
    if kind == "regression":
        y, p = target.to_numpy(), model.predict(table)
        mse = metrics.mean_squared_error(y, p, sample_weight=w)
        return {
            "mse": mse, "rmse": math.sqrt(mse), "deviance": mse, "rmsle": math.nan,
            "mae": metrics.mean_absolute_error(y, p, sample_weight=w),
            "r2": metrics.r2_score(y, p, sample_weight=w),
        }  # fmt: skip
    p = model.predict_proba(table).astype(np.float64)
    p /= p.sum(axis=1, keepdims=True)
    codes, found = figures_of_classes(target, p, w, model.classes_)
    if kind == "binomial":
        auc = metrics.roc_auc_score(codes, p[:, 1], sample_weight=w)
        fpr, tpr, _ = metrics.roc_curve(codes, p[:, 1], sample_weight=w, drop_intermediate=False)
        found |= {"auc": auc, "gini": 2 * auc - 1, "kolmogorov_smirnov": (tpr - fpr).max(),
                  "brier": metrics.brier_score_loss(codes, p[:, 1], sample_weight=w)}  # fmt: skip
        return found
    one_hot, counts = np.eye(3)[codes], np.bincount(codes, w)
    one = [metrics.roc_auc_score(one_hot[:, k], p[:, k], sample_weight=w) for k in range(3)]
    found |= {"auc": np.mean(one), "auc_macro_ovr": np.mean(one), "auc_weighted_ovr": np.average(one, weights=counts)}
    found["hit_ratio_2"] = metrics.top_k_accuracy_score(codes, p, k=2, sample_weight=w)
    found["hit_ratio_3"] = 1.0
    if w is None:  # scikit-learn takes no weights there
        found["auc_macro_ovo"] = metrics.roc_auc_score(codes, p, multi_class="ovo")
    return found


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", TARGETS)
def test_figures_are_those_of_scikit_learn(models, kind, weighted):
    table = TABLE[TABLE["w"] > 0]
    w = table["w"].to_numpy() if weighted else None
    found = models[kind].evaluate(table, sample_weight="w" if weighted else None)
    expected = by_hand(kind, models[kind], table, w)
    unknown = {name for name in found if name.startswith(("aucpr", "lift_top_group"))}  # tests/metrics has these
    ovo = {"auc_macro_ovo", "auc_weighted_ovo"} if kind == "multinomial" else set()
    assert {*found} - unknown - ovo == {*expected} - ovo
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=2e-6, nan_ok=True), name
    if kind != "regression":
        predicted = models[kind].predict(table)
        confusion = metrics.confusion_matrix(table[TARGETS[kind]], predicted, sample_weight=w)
        np.testing.assert_allclose(found.confusion_matrix(), confusion)


FAMILIES = {
    "laplace": lambda y, p, w: metrics.mean_absolute_error(y, p, sample_weight=w),
    "poisson": lambda y, p, w: metrics.mean_poisson_deviance(y, p, sample_weight=w),
    "gamma": lambda y, p, w: metrics.mean_gamma_deviance(y, p, sample_weight=w),
    "tweedie": lambda y, p, w: metrics.mean_tweedie_deviance(y, p, sample_weight=w, power=1.5),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_deviances_are_those_of_scikit_learn(family):
    table = TABLE[TABLE["w"] > 0][["a", "b", "w", "y"]].assign(y=lambda t: np.exp(t["y"] / 4))
    model = DeepLearningRegressor(**SMALL, distribution=family).fit(table.drop(columns="w"), "y")
    found = model.evaluate(table, sample_weight="w")
    y, p, w = table["y"], model.predict(table), table["w"]
    assert found["deviance"] == pytest.approx(FAMILIES[family](y, p, w), rel=1e-6)
    assert found["rmsle"] == pytest.approx(metrics.root_mean_squared_log_error(y, p, sample_weight=w), rel=1e-6)


@pytest.mark.parametrize("kind", TARGETS)
def test_partitions_change_nothing(models, kind):
    model, target = models[kind], TARGETS[kind]
    expected = model.evaluate(TABLE, sample_weight="w")
    lazy = dd.from_pandas(TABLE, npartitions=3)
    same(model.evaluate(lazy, sample_weight="w"), expected)
    same(model.evaluate(lazy[INPUTS], lazy[target], sample_weight=lazy["w"]), expected)
    same(model.evaluate(TABLE[INPUTS], TABLE[target].to_numpy(), sample_weight=TABLE["w"]), expected)
    same(model.evaluate(TABLE.sample(frac=1, random_state=1), sample_weight="w"), expected)


async def evaluated_by(client, models):
    def work():
        with client.as_current():
            return [
                model.evaluate(dd.from_pandas(TABLE, npartitions=3), sample_weight="w") for model in models.values()
            ]

    for model, found in zip(models.values(), await asyncio.to_thread(work), strict=True):
        same(found, model.evaluate(TABLE, sample_weight="w"))


@gen_cluster(client=True, nthreads=[("127.0.0.1", 1)], timeout=120)
async def test_one_worker_changes_nothing(c, s, a, models):
    await evaluated_by(c, models)


@gen_cluster(client=True, nthreads=[("127.0.0.1", 1)] * 2, timeout=120)
async def test_two_workers_change_nothing(c, s, a, b, models):
    await evaluated_by(c, models)


@pytest.mark.parametrize("kind", TARGETS)
def test_arrays_and_matrices(kind):
    numbers = TABLE[["a", "c", "d"]].to_numpy()
    y = TABLE[TARGETS[kind]]
    estimator = DeepLearningRegressor if kind == "regression" else DeepLearningClassifier
    model = estimator(**SMALL).fit(numbers, y)
    expected = model.evaluate(numbers, y, sample_weight=TABLE["w"])
    lazy = da.from_array(numbers, chunks=(200, 2))
    same(model.evaluate(lazy, da.from_array(y.to_numpy(object), chunks=200), sample_weight=TABLE["w"]), expected)
    same(model.evaluate(pd.DataFrame(numbers), y, sample_weight=TABLE["w"]), expected)
    sparse = estimator(**SMALL, sparse=True).fit(scipy.sparse.csr_array(numbers), y)
    same(sparse.evaluate(scipy.sparse.csr_array(numbers), y), sparse.evaluate(numbers, y), rel=1e-6)


def test_offsets():
    table = TABLE[["a", "b", "y"]].assign(o=TABLE["c"])
    model = DeepLearningRegressor(**SMALL).fit(table, "y", offset="o")
    expected = metrics.mean_absolute_error(table["y"], model.predict(table))
    for given, offset in ((table, None), (dd.from_pandas(table, npartitions=3), None), (table, table["o"])):
        assert model.evaluate(given, "y", offset=offset)["mae"] == pytest.approx(expected, rel=1e-9)
    doubled = model.evaluate(table.assign(o=2 * table["o"]))["mae"]
    assert doubled != pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("lazy", [False, True])
def test_rows_that_do_not_count(models, lazy):
    table = TABLE.copy()
    table.loc[:99, "label"] = None
    table.loc[100:149, "label"] = "new"
    table["w"] = np.where(table["row"] < 200, 0.0, 1.0)
    given = dd.from_pandas(table, npartitions=4) if lazy else table
    with pytest.warns(DaskDLWarning, match="50 of 500 rows have labels .* never seen, 'new'; they are not scored"):
        found = models["binomial"].evaluate(given)
    same(found, models["binomial"].evaluate(table[150:]))
    same(models["binomial"].evaluate(given, sample_weight="w"), models["binomial"].evaluate(table[200:]))


FAULTS = {
    "no such column": ({"y": "z"}, SchemaError, "no column 'z' for the target"),
    "fewer": ({"y": TABLE["label"][:7]}, SchemaError, "600 rows and its target 7"),
    "numbers": ({"y": "row"}, SchemaError, "labels of type"),
    "nothing known": ({"y": [None] * 600}, SchemaError, "no row has a known value, so there is nothing to score"),
    "no weight": ({"sample_weight": np.zeros(600)}, SchemaError, "a known value and a weight above zero"),
    "negative weights": ({"sample_weight": -TABLE["w"]}, SchemaError, "negative"),
    "offsets": ({"offset": "a"}, ParameterError, "trained without offsets"),
    "no metric": ({"custom_metric": "roc_auk"}, ParameterError, "no scorer 'roc_auk'; the nearest"),
    "a metric that is none": ({"custom_metric": 3}, ParameterError, "custom_metric is 3.* greater_is_better"),
}


@pytest.mark.parametrize(("given", "kind", "text"), FAULTS.values(), ids=FAULTS)
def test_what_cannot_be_measured(models, given, kind, text):
    with pytest.raises(kind, match=text):
        models["binomial"].evaluate(TABLE, **given)


def test_a_model_that_knows_no_target_asks_for_it():
    model = DeepLearningRegressor(**SMALL).fit(TABLE[["a"]], TABLE["y"].to_numpy())
    with pytest.raises(ParameterError, match=r"DeepLearningRegressor.evaluate requires y"):
        model.evaluate(TABLE)
    assert model.evaluate(TABLE, "y")["mae"] > 0


@pytest.mark.slow
def test_memory_does_not_grow_with_the_partitions():
    context = multiprocessing.get_context("forkserver")
    few, many = (peaks.peak_of(context, peaks.evaluation, n) for n in (4, 40))
    assert few > 0 and many < few + 60e6  # the partitions more are 36 x 8.4 MB
