"""Measurements: every metric is what scikit-learn says, and histories have the columns of the table."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from dask_dl.metrics.custom import custom_metric
from dask_dl.metrics.history import History, ScoringEvent
from dask_dl.metrics.measurement import MetricSettings, measure_classes, measure_inputs, measure_numbers
from dask_dl.metrics.table import AVERAGES, METRICS, TABLE, columns_of, loss_of

RANDOM = np.random.default_rng(0)
LABELS, WEIGHTS = RANDOM.integers(3, size=300), RANDOM.random(300)
PROBABILITIES = RANDOM.dirichlet(np.ones(3), 300)
TRUTH = RANDOM.gamma(5, 2, 300)
PREDICTED = np.abs(TRUTH + RANDOM.normal(0, 1, 300))
INPUTS = RANDOM.normal(0, 1, (300, 4))
TWO = (LABELS > 0).astype(int), np.stack([PROBABILITIES[:, 0], 1 - PROBABILITIES[:, 0]], axis=1).astype(np.float32)
FOUR = RANDOM.integers(4, size=300), RANDOM.dirichlet(np.ones(4), 300).astype(np.float32)
GIVEN = {
    "binomial": TWO,
    "multinomial": FOUR,
    "regression": (TRUTH, PREDICTED),
    "autoencoder": (INPUTS, INPUTS + RANDOM.normal(0, 0.3, INPUTS.shape)),
}
MEASURED = {
    "binomial": measure_classes(*TWO, WEIGHTS),
    "multinomial": measure_classes(*FOUR, WEIGHTS, MetricSettings(average="weighted_ovo")),
    "regression": measure_numbers(*GIVEN["regression"], WEIGHTS),
    "autoencoder": measure_inputs(*GIVEN["autoencoder"], WEIGHTS),
}
OWN = custom_metric("neg_brier_score", np.arange(2)), custom_metric("neg_log_loss", np.arange(4)), custom_metric("r2")
for kind, metric in zip(("binomial", "multinomial", "regression"), OWN, strict=True):
    MEASURED[kind] = MEASURED[kind].with_custom(metric, *GIVEN[kind], WEIGHTS)


def event_of(k, training):
    return ScoringEvent(
        duration=k, training_speed=1, epochs=k, iterations=k, samples=k, samples_per_iteration=1,
        metrics={"training": training},
    )  # fmt: skip


def error_of_the_right_class(truth, p, sample_weight):
    return np.average((1 - p[np.arange(len(truth)), truth].astype(float)) ** 2, weights=sample_weight)


def misclassified(truth, p, sample_weight):
    return sklearn_metrics.zero_one_loss(truth, p.argmax(axis=1), sample_weight=sample_weight)


def error_of_classes(truth, p, sample_weight):
    return 1 - sklearn_metrics.balanced_accuracy_score(truth, p.argmax(axis=1), sample_weight=sample_weight)


def lift_of_one_percent(truth, p, sample_weight):
    """Share of the positive ones among the top rows, which weigh one in a hundred; weights count as numbers of rows."""
    order = np.argsort(-p[:, 1])
    ends = np.cumsum(sample_weight[order][::-1])
    place = 0.99 * (ends[-1] - 1)
    edge = np.interp(
        place,
        [np.floor(place), np.floor(place) + 1],
        [p[order, 1][::-1][np.searchsorted(ends, q, side="right")] for q in (np.floor(place), np.ceil(place))],
    )
    top = p[:, 1] >= edge
    return np.average(truth[top], weights=sample_weight[top]) / np.average(truth, weights=sample_weight)  # fmt: skip


def kolmogorov_smirnov(truth, p, sample_weight):
    fpr, tpr, _ = sklearn_metrics.roc_curve(truth, p[:, 1], sample_weight=sample_weight, drop_intermediate=False)
    return (tpr - fpr).max()


def interpolated_area(truth, score, sample_weight, n=20_000):
    """Area under precision over recall, where false positives grow in proportion to true ones between two thresholds."""
    fpr, tpr, _ = sklearn_metrics.roc_curve(truth, score, sample_weight=sample_weight, drop_intermediate=False)
    positive, negative = sample_weight[truth == 1].sum(), sample_weight[truth == 0].sum()
    recall = (np.arange(n) + 0.5) / n
    fps = np.interp(recall, tpr, fpr) * negative
    return np.mean(recall * positive / (recall * positive + fps))


def area_of(multi_class, average):
    def area(truth, p, sample_weight):
        if multi_class == "ovr":
            return sklearn_metrics.roc_auc_score(np.eye(4)[truth], p, average=average, sample_weight=sample_weight)
        pairs = [(i, j) for i in range(4) for j in range(i)]
        areas = []
        for i, j in pairs:
            rows = (truth == i) | (truth == j)
            both = [
                sklearn_metrics.roc_auc_score(truth[rows] == a, p[rows, a], sample_weight=sample_weight[rows])
                for a in (i, j)
            ]
            areas.append(np.mean(both))
        weights = [sample_weight[(truth == i) | (truth == j)].sum() for i, j in pairs]
        return np.average(areas, weights=weights if average == "weighted" else None)

    return area


def precision_area_of(multi_class, average):
    def area(truth, p, sample_weight):
        sums = np.bincount(truth, sample_weight)
        if multi_class == "ovr":
            areas = [interpolated_area((truth == i).astype(int), p[:, i], sample_weight) for i in range(4)]
            return np.average(areas, weights=sums if average == "weighted" else None)
        pairs, areas = [(i, j) for i in range(4) for j in range(i)], []
        for i, j in pairs:
            rows = (truth == i) | (truth == j)
            both = [interpolated_area((truth[rows] == a).astype(int), p[rows, a], sample_weight[rows]) for a in (i, j)]
            areas.append(np.mean(both))
        return np.average(areas, weights=[sums[i] + sums[j] for i, j in pairs] if average == "weighted" else None)

    return area


def hits(k):
    return lambda truth, p, sample_weight: sklearn_metrics.top_k_accuracy_score(
        truth, p, k=k, sample_weight=sample_weight, labels=np.arange(4)
    )


def root(function):
    return lambda *a, **k: math.sqrt(function(*a, **k))


def of_second(function):
    return lambda truth, p, sample_weight: function(truth, p[:, 1], sample_weight=sample_weight)


EXPECTED = {
    **{(kind, name): function for kind in ("binomial", "multinomial") for name, function in (
        ("mse", error_of_the_right_class), ("rmse", root(error_of_the_right_class)),
        ("logloss", lambda t, p, sample_weight: sklearn_metrics.log_loss(
            t, p / p.sum(axis=1, keepdims=True, dtype=float), sample_weight=sample_weight)),
        ("misclassification", misclassified), ("mean_per_class_error", error_of_classes),
    )},
    ("binomial", "auc"): of_second(sklearn_metrics.roc_auc_score),
    ("binomial", "gini"): of_second(lambda *a, **k: 2 * sklearn_metrics.roc_auc_score(*a, **k) - 1),
    ("binomial", "aucpr"): of_second(interpolated_area),
    ("binomial", "brier"): of_second(sklearn_metrics.brier_score_loss),
    ("binomial", "lift_top_group"): lift_of_one_percent,
    ("binomial", "kolmogorov_smirnov"): kolmogorov_smirnov,
    ("binomial", "custom"): of_second(lambda *a, **k: -sklearn_metrics.brier_score_loss(*a, **k)),
    ("multinomial", "auc"): area_of("ovo", "weighted"),
    ("multinomial", "aucpr"): precision_area_of("ovo", "weighted"),
    ("multinomial", "custom"): lambda *a, **k: -sklearn_metrics.log_loss(*a, **k),
    **{("multinomial", f"auc_{name}"): area_of(*reversed(name.split("_"))) for name in AVERAGES},
    **{("multinomial", f"aucpr_{name}"): precision_area_of(*reversed(name.split("_"))) for name in AVERAGES},
    **{("multinomial", f"hit_ratio_{k}"): hits(k) for k in (2, 3)},
    ("multinomial", "hit_ratio_4"): lambda *_, **__: 1.0,
    ("regression", "mse"): sklearn_metrics.mean_squared_error,
    ("regression", "rmse"): sklearn_metrics.root_mean_squared_error,
    ("regression", "deviance"): sklearn_metrics.mean_squared_error,
    ("regression", "mae"): sklearn_metrics.mean_absolute_error,
    ("regression", "rmsle"): sklearn_metrics.root_mean_squared_log_error,
    ("regression", "r2"): sklearn_metrics.r2_score,
    ("regression", "custom"): sklearn_metrics.r2_score,
    ("autoencoder", "mse"): sklearn_metrics.mean_squared_error,
    ("autoencoder", "rmse"): root(sklearn_metrics.mean_squared_error),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "name"), EXPECTED)
def test_values_are_those_of_scikit_learn(kind, name):
    expected = EXPECTED[kind, name](*GIVEN[kind], sample_weight=WEIGHTS)
    assert MEASURED[kind].metric(name) == pytest.approx(expected, rel=1e-4 if "aucpr" in name else 1e-6)


@pytest.mark.parametrize("kind", ["binomial", "multinomial"])
def test_r2_of_classes_is_of_the_class_index(kind):
    labels = GIVEN[kind][0]
    variance = np.average((labels - np.average(labels, weights=WEIGHTS)) ** 2, weights=WEIGHTS)
    measured = MEASURED[kind]
    assert measured.metric("r2") == pytest.approx(1 - measured.metric("mse") / variance)
    assert math.isnan(measure_numbers(np.ones(3), np.ones(3), None).metric("r2"))  # no variance


def test_every_metric_is_compared_with_another_implementation():
    compared = {*EXPECTED, ("binomial", "r2"), ("multinomial", "r2")}
    known = {(kind, metric.name) for metric in TABLE for kind in metric.kinds if metric.name != "custom_increasing"}
    assert known - {("multinomial", f"hit_ratio_{k}") for k in range(5, 11)} == compared


@pytest.mark.parametrize("kind", MEASURED)
def test_histories_have_the_columns_of_the_table(kind):
    history = History(kind, has_validation=True)
    history.start()
    found = MEASURED[kind].metrics(kind)
    assert [*found] == [*columns_of(kind)]
    event = event_of(1, found)
    history.add(event)
    record = history.records[-1]
    always = [name for name, metric in columns_of(kind).items() if not metric.is_optional]
    columns = [f"training_{name}" for name in found] + [f"validation_{name}" for name in always]
    assert [*record][-len(columns) :] == columns
    for metric in TABLE:
        if kind in metric.kinds and metric.in_history:  # those without a column follow from one
            assert event.value(metric.name, "training") == pytest.approx(MEASURED[kind].metric(metric.name))
            assert math.isnan(event.value(metric.name, "validation"))
    assert history.metric == loss_of(history.task) and history.task in METRICS[loss_of(history.task)].loss_of
