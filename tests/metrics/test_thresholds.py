"""Curves, criteria and gains: against the tables that H2O made, and against scikit-learn."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics
from sklearn.calibration import calibration_curve

from dask_dl.errors import ParameterError
from dask_dl.metrics.scores import ScoreDistribution
from dask_dl.metrics.thresholds import CRITERIA, Curve

GOLDEN = Path(__file__).parents[1] / "golden"


def cases():
    for path in sorted(GOLDEN.glob("*.json")):
        case = json.loads(path.read_text(encoding="utf-8"))
        if (
            isinstance(case, dict)
            and case.get("kind") == "metrics"
            and "thresholds_and_metric_scores" in case["metrics"]
        ):
            p = np.array(case["columns"]["p1"])
            actual, weights = case["columns"]["actual"], case["columns"].get("weights")
            yield pytest.param(case["metrics"], p, np.array(actual) == case["domain"][1], weights, id=path.stem)
        elif isinstance(case, dict) and "thresholds_and_metric_scores" in (case.get("train_metrics") or {}):
            columns = {column["name"]: column["values"] for column in case["train"]["columns"]}
            label, p = [key for key in case["train_predictions"] if key != "predict"][1], None
            weights = columns.get(case.get("params", {}).get("weights_column"))
            p, actual = np.array(case["train_predictions"][label]), columns[case["y"]]
            known = np.array([value is not None for value in actual])
            if weights is None and not case["params"].get("balance_classes"):
                yield pytest.param(
                    case["train_metrics"], p[known], np.array(actual)[known] == label, None, id=path.stem
                )


CASES = list(cases())


def curve_of(p, actual, weights=None):
    return Curve.of(ScoreDistribution.of(p, np.asarray(actual).astype(int), weights))


@pytest.mark.parametrize(("expected", "p", "actual", "weights"), CASES)
def test_tables_are_those_of_h2o(expected, p, actual, weights):
    """Where scores are a few hundred H2O has them all, and its tables are exact."""
    assert weights is None
    curve = curve_of(p, actual)
    assert curve.auc == pytest.approx(expected["AUC"], rel=1e-6)
    assert curve.aucpr == pytest.approx(expected["pr_auc"], rel=1e-6)
    for theirs, ours in (("thresholds_and_metric_scores", curve.table()), ("gains_lift_table", curve.gains_lift())):
        table = pd.DataFrame(expected[theirs]["rows"], columns=expected[theirs]["columns"])
        assert len(table) == len(ours)
        for name in ours:
            np.testing.assert_allclose(
                ours[name], table[name].astype(float).fillna(0), rtol=1e-4, atol=1e-5, err_msg=name
            )
    largest = curve.largest()
    for name, threshold, value, place in expected["max_criteria_and_metric_scores"]["rows"]:
        row = largest.loc[name]
        assert row["value"] == pytest.approx(value, rel=1e-6), name
        assert (row["threshold"], row["idx"]) == (pytest.approx(threshold, rel=1e-6), place), name


def test_there_are_golden_tables():
    assert len(CASES) >= 5


@pytest.fixture
def scored():
    random = np.random.default_rng(3)
    p = random.random(400).astype(np.float32).round(2)
    return p, random.random(400) < p, random.random(400) + 0.1


def test_curves_are_those_of_scikit_learn(scored):
    p, actual, weights = scored
    curve = curve_of(p, actual, weights)
    fpr, tpr, thresholds = metrics.roc_curve(actual, p, sample_weight=weights, drop_intermediate=False)
    np.testing.assert_allclose(curve.threshold, thresholds[1:], rtol=1e-6)
    np.testing.assert_allclose(curve.fps / curve.n_negative, fpr[1:], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(curve.tps / curve.n_positive, tpr[1:], rtol=1e-9)
    precision, recall, _ = metrics.precision_recall_curve(actual, p, sample_weight=weights)
    found = curve.criteria()
    np.testing.assert_allclose(found["precision"][::-1], precision[:-1], rtol=1e-9)
    np.testing.assert_allclose(found["recall"][::-1], recall[:-1], rtol=1e-9)


def test_criteria_are_those_of_scikit_learn(scored):
    p, actual, weights = scored
    table = curve_of(p, actual, weights).table().set_index("threshold")
    for threshold in table.index[[5, 40, 90]]:
        predicted = p >= np.float32(threshold)
        given = {"y_true": actual, "y_pred": predicted, "sample_weight": weights}
        row = table.loc[threshold]
        assert row["f1"] == pytest.approx(metrics.f1_score(**given))
        assert row["f2"] == pytest.approx(metrics.fbeta_score(**given, beta=2))
        assert row["f0point5"] == pytest.approx(metrics.fbeta_score(**given, beta=0.5))
        assert row["accuracy"] == pytest.approx(metrics.accuracy_score(**given))
        assert row["specificity"] == pytest.approx(metrics.recall_score(**given, pos_label=False))
        assert row["absolute_mcc"] == pytest.approx(abs(metrics.matthews_corrcoef(**given)))
        assert row["mean_per_class_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(**given))
        np.testing.assert_allclose(
            curve_of(p, actual, weights).confusion(threshold), metrics.confusion_matrix(**given), rtol=1e-9
        )


def test_the_first_of_equal_maxima_is_the_highest_threshold():
    curve = curve_of(np.array([0.9, 0.8, 0.3, 0.2]), [1, 0, 1, 0])
    recall = curve.largest().loc["max recall"]
    assert recall["threshold"] == pytest.approx(0.3) and recall["value"] == 1
    assert curve.best_threshold("recall") == pytest.approx(0.3)
    assert list(curve.largest().index) == [f"max {name}" for name in CRITERIA]


@pytest.mark.parametrize("actual", [[0, 0, 0], [1, 1, 1]])
def test_one_class_has_no_area_and_fails_nowhere(actual):
    curve = curve_of(np.array([0.1, 0.5, 0.9]), actual)
    assert math.isnan(curve.auc) and math.isnan(curve.aucpr) and math.isnan(curve.auc_error)
    assert np.isfinite(curve.table().to_numpy()).all() and np.isfinite(curve.gains_lift().to_numpy()).all()
    assert 0 <= curve.best_threshold() <= 1
    empty = curve_of(np.zeros(0), np.zeros(0))
    assert empty.gains_lift().empty and empty.table().empty and empty.largest()["value"].isna().all()


def test_groups_are_of_equal_size_and_equal_scores_stay_together():
    random = np.random.default_rng(0)
    table = curve_of(random.permutation(1000) / 1000, random.integers(0, 2, 1000)).gains_lift(10)
    np.testing.assert_allclose(np.diff(table["cumulative_data_fraction"], prepend=0), 0.1)
    assert table["cumulative_capture_rate"].iloc[-1] == 1 and table["kolmogorov_smirnov"].iloc[-1] == pytest.approx(0)
    tied = curve_of(np.repeat([0.2, 0.6], 50), np.arange(100) % 2).gains_lift(10)
    # An edge between two scores makes a group without rows, as in H2O.
    assert tied["lower_threshold"].tolist() == pytest.approx([0.6, 0.4, 0.2])
    assert np.diff(tied["cumulative_data_fraction"], prepend=0).tolist() == [0.5, 0.0, 0.5]


def test_whole_weights_count_as_so_many_rows(scored):
    p, actual, _ = scored
    times = np.arange(400) % 3 + 1
    weighted = curve_of(p, actual, times.astype(float))
    repeated = curve_of(np.repeat(p, times), np.repeat(actual, times))
    pd.testing.assert_frame_equal(weighted.table(), repeated.table())
    pd.testing.assert_frame_equal(weighted.gains_lift(), repeated.gains_lift())


def test_thresholds_by_name():
    curve = curve_of(np.array([0.9, 0.8, 0.3, 0.2]), [1, 0, 1, 0])
    assert curve.resolve("max_f1") == curve.best_threshold("f1") and curve.resolve(0.25) == 0.25
    for wrong, text in (
        ("f1", "one of"),
        ("max_f9", "one of"),
        (1.5, "from 0 to 1"),
        (True, "from 0 to 1"),
        (None, "0 to 1"),
    ):
        with pytest.raises(ParameterError, match=text):
            curve.resolve(wrong)


def test_bins_of_calibration_are_those_of_scikit_learn():
    random = np.random.default_rng(0)
    p = random.random(1000)
    actual = random.random(1000) < p**2
    table = curve_of(p, actual).gains_lift(5)
    observed, predicted = calibration_curve(actual, p, n_bins=5, strategy="quantile")
    np.testing.assert_allclose(table["response_rate"][::-1], observed, atol=0.006)  # a row may lie on an edge
    np.testing.assert_allclose(table["score"][::-1], predicted, atol=0.003)
