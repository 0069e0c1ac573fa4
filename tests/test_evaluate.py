"""`evaluate` gives the figures of scikit-learn on predictions, of every kind of table, and so does the last scoring."""

from __future__ import annotations

import asyncio
import math
import multiprocessing
from pathlib import Path

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import peaks
import pytest
import scipy.sparse
from distributed.utils_test import gen_cluster
from sklearn import metrics
from tables import UNSCORED, make_table

from dask_dl import DeepLearningClassifier, DeepLearningRegressor, load
from dask_dl.errors import DaskDLWarning, ParameterError, SchemaError
from dask_dl.show.evaluation import Evaluation

SMALL = UNSCORED | {"hidden": (5,), "epochs": 3, "random_state": 1}
TABLE = make_table(600, gaps=0.1)
TABLE["species"] = make_table(600, labels=("low", "mid", "top"))["label"]
TABLE["row"] = np.arange(600)
TARGETS = {"binomial": "label", "multinomial": "species", "regression": "y"}
INPUTS = ["a", "b", "c", "level"]
DATA = Path(__file__).parent / "data"
EARLY = "the file of this model is of an early version, which kept figures only: use `evaluate`"


@pytest.fixture(scope="module")
def models():
    def fitted(kind, target):
        estimator = DeepLearningRegressor if kind == "regression" else DeepLearningClassifier
        return estimator(**SMALL).fit(TABLE[[*INPUTS, target]], target)

    return {kind: fitted(kind, target) for kind, target in TARGETS.items()}


def same(found, expected, rel=1e-9):
    assert [*found] == [*expected] and found.n_rows == expected.n_rows
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=rel, abs=1e-12, nan_ok=True), name


# ---- by hand ------------------------------------------------------------------------------------------------------------


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


# ---- every kind of table ------------------------------------------------------------------------------------------------


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


# ---- the last scoring ---------------------------------------------------------------------------------------------------


def tables_of(evaluation):
    """Everything that an evaluation has beside its figures, by name."""
    found = evaluation.tables()
    if evaluation.has("confusion"):
        found |= {"confusion": evaluation.confusion_matrix(), "errors": evaluation.class_errors()}
    if evaluation.has("curve"):
        found |= {"thresholds": evaluation.thresholds(), "calibration": evaluation.calibration()}
    if evaluation.has("sample"):
        found["residuals"] = evaluation.residuals()
    return found


@pytest.mark.parametrize("kind", TARGETS)
def test_the_last_scoring_is_an_evaluation_and_is_saved(kind, tmp_path):
    target = TARGETS[kind]
    estimator = DeepLearningRegressor if kind == "regression" else DeepLearningClassifier
    more = {"auc_type": "weighted_ovo"} if kind == "multinomial" else {}
    held = TABLE[300:][[*INPUTS, target, "w"]]
    model = estimator(**SMALL, **more, score_validation_samples=0)
    model.fit(TABLE[:300][[*INPUTS, target, "w"]], target, sample_weight="w", eval_set=held)
    model.save(tmp_path / "m.zip")
    loaded = load(tmp_path / "m.zip")
    scored, found = model.metrics_["validation"], model.evaluate(held, sample_weight="w")
    assert [*scored] == [*found]
    for name, value in found.items():
        assert scored[name] == pytest.approx(value, rel=1e-5, nan_ok=True), name
    assert [*model.metrics_] == [*loaded.metrics_] == ["training", "validation"]
    for table, evaluation in model.metrics_.items():
        of_file = loaded.metrics_[table]
        assert dict(of_file) == pytest.approx(dict(evaluation), rel=1e-12, nan_ok=True)
        expected = tables_of(evaluation)
        assert [*tables_of(of_file)] == [*expected] and len(expected) >= 1
        for name, frame in tables_of(of_file).items():
            pd.testing.assert_frame_equal(frame, expected[name], obj=name)
    same(loaded.evaluate(held, sample_weight="w"), found)


@pytest.mark.parametrize(
    ("name", "figure"),
    [("format-1-classifier", "logloss"), ("format-1-regressor", "mae"), ("format-2-balanced", "brier"),
     ("format-2-hashed", "deviance")],
)  # fmt: skip
def test_early_files_have_figures_and_say_what_they_lack(name, figure):
    model = load(DATA / f"{name}.zip")
    evaluation = model.metrics_["training"]
    assert evaluation[figure] > 0 and figure in repr(evaluation)
    assert "auc" not in evaluation and evaluation.tables() == {}
    asked = evaluation.residuals if "regressor" in name or "hashed" in name else evaluation.thresholds
    with pytest.raises(ParameterError, match=EARLY):
        asked()
    assert model._repr_mimebundle_()["text/html"]


@pytest.mark.parametrize(
    ("kind", "method", "text"),
    [("multinomial", "thresholds", "thresholds are of two classes"), ("regression", "plot_roc", "curves are of two classes"),
     ("binomial", "residuals", "residuals are of regressions"), ("binomial", "hit_ratios", "three classes or more"),
     ("binomial", "areas", "3 to 50 classes"), ("regression", "class_errors", "errors by class are of classifications")],
)  # fmt: skip
def test_what_a_problem_has_not_is_said(models, kind, method, text):
    with pytest.raises(ParameterError, match=text):
        getattr(models[kind].evaluate(TABLE), method)()


# ---- memory -------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_memory_does_not_grow_with_the_partitions():
    context = multiprocessing.get_context("forkserver")
    few, many = (peaks.peak_of(context, peaks.evaluation, n) for n in (4, 40))
    assert few > 0 and many < few + 60e6  # the partitions more are 36 x 8.4 MB


# ---- metrics of the user's own ------------------------------------------------------------------------------------------


class Hits:
    """Share of the predicted classes that are right, by sums."""

    greater_is_better = True
    classes = np.array(["no", "yes"])

    def measure(self, y_true, y_pred, sample_weight):
        w = np.ones(len(y_true)) if sample_weight is None else sample_weight
        return np.array([w[self.classes[y_pred.argmax(axis=1)] == y_true].sum(), w.sum()])

    def merge(self, state, other):
        return state + other

    def value(self, state):
        return state[0] / state[1]


def accuracy(estimator, X, y, sample_weight=None):
    return metrics.accuracy_score(y, estimator.predict(X), sample_weight=sample_weight)


OWN = {"scorer": accuracy, "name": "accuracy", "mergeable": Hits()}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("metric", OWN.values(), ids=OWN)
def test_a_metric_of_ones_own_on_a_table(models, metric, weighted):
    model, weight = models["binomial"], "w" if weighted else None
    w = TABLE["w"] if weighted else None
    expected = metrics.accuracy_score(TABLE["label"], model.predict(TABLE), sample_weight=w)
    for table in (TABLE, dd.from_pandas(TABLE, npartitions=3)):
        found = model.evaluate(table, sample_weight=weight, custom_metric=metric)
        assert found["custom"] == pytest.approx(expected, rel=1e-12)
        assert found["custom"] == pytest.approx(1 - found["misclassification"], rel=1e-12)
    assert "custom" not in model.evaluate(TABLE)


@pytest.mark.parametrize("metric", OWN.values(), ids=OWN)
def test_a_metric_of_ones_own_in_training(metric, tmp_path):
    # A scorer grows with what it says, which `custom_increasing` tells.
    given = SMALL | {"custom_metric": metric, "stopping_metric": "custom_increasing", "stopping_rounds": 1}
    columns = [*INPUTS, "label", "w"]
    model = DeepLearningClassifier(**given | {"score_duty_cycle": 0.2})
    model.fit(TABLE[:300][columns], "label", sample_weight="w", eval_set=TABLE[300:][columns])
    errors = model.history_["validation_classification_error"].dropna()
    np.testing.assert_allclose(model.history_["validation_custom"].dropna(), 1 - errors, rtol=1e-6)
    best = model.history_["validation_custom"].max()
    assert model.best_score_ == pytest.approx(best) and model.metrics_["validation"]["custom"] == pytest.approx(best)
    model.report(tmp_path / "r.html")
    assert "custom" in (tmp_path / "r.html").read_text()
    held = model.evaluate(TABLE[300:], sample_weight="w")
    assert held["custom"] == pytest.approx(1 - held["misclassification"], rel=1e-12)


def fails(*_):
    raise KeyError("lost")


def of_two_arrays(y_true, y_pred):
    return metrics.roc_auc_score(y_true, y_pred)


FAILING = {
    name: (
        type("Broken", (Hits,), {name: fails})(),
        rf"custom_metric: Broken\.{name} failed with KeyError: 'lost'\. See",
    )
    for name in ("measure", "merge", "value")
}
FAILING |= {
    "scorer": (
        of_two_arrays,
        r"custom_metric: the scorer of_two_arrays failed with TypeError: .*scorer\(estimator, X, y\)",
    ),
    "made": (metrics.make_scorer(max), r"custom_metric: the scorer make_scorer\(max.* failed with ValueError"),
}


@pytest.mark.parametrize(("metric", "text"), FAILING.values(), ids=FAILING)
def test_a_metric_of_ones_own_that_fails_is_named(models, metric, text):
    lazy = dd.from_pandas(TABLE[[*INPUTS, "label"]], npartitions=2)
    with pytest.raises(ParameterError, match=text) as caught:
        models["binomial"].evaluate(lazy, custom_metric=metric)
    assert isinstance(caught.value.__cause__, (KeyError, TypeError, ValueError))
    if metric != FAILING["merge"][0]:
        with pytest.raises(ParameterError, match=text) as caught:
            DeepLearningClassifier(**SMALL, custom_metric=metric).fit(TABLE[[*INPUTS, "label"]], "label")
        assert isinstance(caught.value.__cause__, (KeyError, TypeError, ValueError))


@pytest.mark.parametrize(
    ("kind", "name"),
    [("binomial", "roc_auc"), ("binomial", "neg_log_loss"), ("binomial", "accuracy"), ("multinomial", "roc_auc_ovo"),
     ("multinomial", "neg_log_loss"), ("multinomial", "f1_macro"), ("regression", "r2")],
)  # fmt: skip
def test_scorers_of_scikit_learn_take_dask_frames(models, kind, name):
    lazy, target = dd.from_pandas(TABLE, npartitions=3), TARGETS[kind]
    score = metrics.get_scorer(name)
    expected = score(models[kind], TABLE, TABLE[target])
    assert score(models[kind], lazy, lazy[target]) == pytest.approx(expected, rel=1e-9)
    assert models[kind].evaluate(lazy, custom_metric=name)["custom"] == pytest.approx(expected, rel=1e-6)
    if kind != "regression":  # others are given what they can go on with
        assert isinstance(models[kind].predict_proba(lazy), dd.DataFrame)


def test_an_evaluation_is_a_mapping():
    found = Evaluation("regression", None, {"rmse": 2.0, "mae": 1.5}, label="a table", n_rows=7)
    assert [*found] == ["rmse", "mae"] and found["mae"] == 1.5 and found.get("auc") is None and len(found) == 2
    assert repr(found).splitlines()[0] == "regression metrics of 7 rows of a table"
    pd.testing.assert_series_equal(
        found.to_pandas(), pd.Series({"rmse": 2.0, "mae": 1.5}, name="a table").rename_axis("metric")
    )


class _Accuracy:
    """A metric that merges, which no file can hold."""

    greater_is_better = True

    def measure(self, y_true, y_pred, sample_weight):
        return float((y_true == np.array(["no", "yes"])[y_pred.argmax(axis=1)]).sum()), len(y_true)

    def merge(self, state, other):
        return state[0] + other[0], state[1] + other[1]

    def value(self, state):
        return state[0] / state[1]


@pytest.mark.parametrize("own", [lambda estimator, X, y: 0.5, _Accuracy(), "accuracy"])
def test_a_model_with_a_metric_of_ones_own_is_saved(own, tmp_path):
    random = np.random.default_rng(0)
    X = random.normal(size=(200, 2))
    y = np.where(X[:, 0] > 0, "yes", "no")
    given = {"hidden": (4,), "epochs": 2, "random_state": 1, "stopping_metric": "custom"}
    model = DeepLearningClassifier(**given, custom_metric=own).fit(X, y)
    model.save(tmp_path / "m.zip")
    found = load(tmp_path / "m.zip")
    assert found.get_params()["custom_metric"] == (own if isinstance(own, str) else None)
    assert found.best_score_ == model.best_score_ and found.best_iteration_ == model.best_iteration_
    np.testing.assert_array_equal(found.predict(X), model.predict(X))
