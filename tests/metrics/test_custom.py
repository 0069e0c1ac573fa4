"""Metrics of the user's own: scorers of scikit-learn, and objects that merge."""

from __future__ import annotations

import dask.dataframe as dd
import numpy as np
import pytest
from evaluated import INPUTS, SMALL, TABLE, TARGETS, fitted
from sklearn import metrics

from dask_dl import DeepLearningClassifier, load
from dask_dl.errors import ParameterError
from dask_dl.metrics import custom
from dask_dl.metrics.custom import CustomValue, custom_metric

RANDOM = np.random.default_rng(0)
LABELS = np.array(["no", "yes"])
TRUTH, WEIGHTS = LABELS[RANDOM.integers(2, size=200)], RANDOM.random(200)
PROBABILITIES = RANDOM.dirichlet(np.ones(2), 200)


@pytest.fixture(scope="module")
def models():
    return fitted()


def value_of(metric, weights=WEIGHTS):
    """Value of two parts of the rows together."""
    parts = [
        CustomValue(
            metric, metric.measure(TRUTH[rows], PROBABILITIES[rows], None if weights is None else weights[rows])
        )
        for rows in (slice(None, 70), slice(70, None))
    ]
    return parts[0].merge(parts[1]).value


def unweighted(estimator, X, y):
    return metrics.accuracy_score(y, estimator.predict(X))


def test_scorers_see_all_rows_and_their_weights():
    predicted = LABELS[PROBABILITIES.argmax(axis=1)]
    expected = metrics.accuracy_score(TRUTH, predicted, sample_weight=WEIGHTS)
    assert value_of(custom_metric("accuracy", LABELS)) == pytest.approx(expected)
    area = metrics.roc_auc_score(TRUTH, PROBABILITIES[:, 1], sample_weight=WEIGHTS)
    assert value_of(custom_metric("roc_auc", LABELS)) == pytest.approx(area)


def test_a_callable_that_knows_no_weights_is_told_none():
    expected = metrics.accuracy_score(TRUTH, LABELS[PROBABILITIES.argmax(axis=1)])
    assert value_of(custom_metric(unweighted, LABELS)) == expected == value_of(custom_metric(unweighted, LABELS), None)


def test_numbers_are_scored_as_they_are():
    truth, answers = RANDOM.normal(size=(2, 50))
    metric = custom_metric("r2")
    assert metric.value(metric.measure(truth, answers, None)) == pytest.approx(metrics.r2_score(truth, answers))


def test_what_is_no_metric_is_refused():
    assert custom_metric(None) is None
    with pytest.raises(ParameterError, match=r"no scorer 'acuracy'; the nearest are .*'accuracy'"):
        custom_metric("acuracy")
    with pytest.raises(ParameterError, match="get_scorer_names"):
        custom_metric("zzzzzz")
    with pytest.raises(ParameterError, match="custom_metric is 3: give a scorer"):
        custom_metric(3)


def test_a_scorer_refuses_more_rows_than_it_can_hold(monkeypatch):
    monkeypatch.setattr(custom, "MAX_KEPT_BYTES", 1000)
    with pytest.raises(ParameterError, match="their answers take 3,200 bytes, more than 1,000"):
        value_of(custom_metric("accuracy", LABELS))


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
