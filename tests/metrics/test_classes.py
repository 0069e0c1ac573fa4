"""Figures of several classes: those of scikit-learn, however the rows are divided."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from dask_dl.metrics.classes import ClassErrors, ClassScores, Ranks

K, N = 4, 600
RANDOM = np.random.default_rng(0)
CLASSES, WEIGHTS = RANDOM.integers(K, size=N), RANDOM.random(N)
PROBABILITIES = RANDOM.dirichlet(np.ones(K), N).astype(np.float32)


def merged(make):
    """What two parts of the rows give together."""
    first, second = make(slice(None, 100)), make(slice(100, None))
    return first.merge(second)


def test_errors_of_classes_are_their_recalls():
    predicted = PROBABILITIES.argmax(axis=1)
    found = merged(lambda rows: ClassErrors.of(CLASSES[rows], predicted[rows], WEIGHTS[rows], K))
    recalls = metrics.recall_score(CLASSES, predicted, average=None, sample_weight=WEIGHTS)
    np.testing.assert_allclose(1 - found.wrong / found.weight, recalls)
    assert found.mean == pytest.approx(1 - recalls.mean())


def test_a_class_without_rows_has_no_error():
    found = ClassErrors.of(np.array([0, 0, 2]), np.array([0, 1, 2]), None, 3)
    assert found.mean == 0.25 and np.isnan(ClassErrors.of(np.array([], int), np.array([], int), None, 3).mean)


def test_hit_ratios_are_top_k_accuracies():
    found = merged(lambda rows: Ranks.of(CLASSES[rows], PROBABILITIES[rows], WEIGHTS[rows]))
    expected = [metrics.top_k_accuracy_score(CLASSES, PROBABILITIES, k=k, sample_weight=WEIGHTS) for k in range(1, K)]
    np.testing.assert_allclose(found.ratios, [*expected, 1.0])


def test_of_equal_probabilities_the_first_class_has_the_better_rank():
    ranks = Ranks.of(np.arange(3), np.full((3, 3), 1 / 3), None)
    assert ranks.weights.tolist() == [1, 1, 1]


def test_areas_are_those_of_scikit_learn():
    p = PROBABILITIES / PROBABILITIES.sum(axis=1, keepdims=True)
    found = merged(lambda rows: ClassScores.of(CLASSES[rows], PROBABILITIES[rows], None, "macro_ovr")).averages()["auc"]
    for way in ("ovr", "ovo"):
        for how in ("macro", "weighted"):
            expected = metrics.roc_auc_score(CLASSES, p, multi_class=way, average=how)
            assert found[f"{how}_{way}"] == pytest.approx(expected, abs=1e-4), (how, way)


def test_areas_of_pairs_without_a_class_are_left_out_of_averages():
    classes = CLASSES[CLASSES < K - 1]
    scores = ClassScores.of(classes, PROBABILITIES[CLASSES < K - 1], None, "macro_ovo")
    areas = scores.areas()
    assert areas["auc"].isna().tolist() == [K - 1 in pair for pair in zip(areas["first"], areas["second"], strict=True)]
    assert scores.value("auc") == pytest.approx(areas["auc"][areas["second"] >= 0].mean())
