"""Distributions of scores: exact while they are few, within a bound beyond, and the same however rows are divided."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from dask_dl.metrics.scores import ScoreDistribution, keys_of, scores_of
from dask_dl.metrics.thresholds import Curve


def test_keys_are_in_the_order_of_scores_and_tell_all_of_them_apart():
    tiny = np.nextafter(np.float32(0), np.float32(1))
    below_one = np.nextafter(np.float32(1), np.float32(0))
    scores = np.array(
        [0, tiny, 1e-30, 1e-7, 0.25, 0.5, np.nextafter(np.float32(0.5), np.float32(1)), 0.75, below_one, 1]
    )
    scores = scores.astype(np.float32)
    assert (np.diff(keys_of(scores)) > 0).all()
    np.testing.assert_array_equal(scores_of(keys_of(scores)).astype(np.float32), scores)
    np.testing.assert_array_equal(keys_of(np.array([-0.0, -1.0, 2.0])), keys_of(np.array([0.0, 0.0, 1.0])))


rows = st.lists(st.tuples(st.floats(0, 1, width=32), st.integers(0, 3), st.integers(1, 4)), min_size=1, max_size=60)


@given(rows, st.lists(st.integers(0, 60), max_size=4), st.integers(8, 40))
@settings(max_examples=200, deadline=None)
def test_any_division_of_the_rows_gives_the_same_distribution(rows, cuts, limit):
    scores, classes, weights = (np.array(column) for column in zip(*rows, strict=True))
    whole = ScoreDistribution.of(scores, classes, weights, limit)
    edges = [0, *sorted(min(cut, len(rows)) for cut in cuts), len(rows)]
    parts = [
        ScoreDistribution.of(scores[lo:hi], classes[lo:hi], weights[lo:hi], limit)
        for lo, hi in itertools.pairwise(edges)
    ]
    for order in (parts, parts[::-1]):
        merged = order[0]
        for part in order[1:]:
            merged = merged.merge(part)
        assert merged.level == whole.level and len(merged.codes) <= limit
        np.testing.assert_array_equal(merged.codes, whole.codes)
        np.testing.assert_array_equal(merged.weights, whole.weights)
    assert whole.weights.sum() == weights.sum()


def test_weights_of_1_are_no_weights():
    random = np.random.default_rng(0)
    scores, classes = random.random(500).round(2), random.integers(0, 2, 500)
    plain, weighted = (ScoreDistribution.of(scores, classes, w) for w in (None, np.ones(500)))
    np.testing.assert_array_equal(plain.codes, weighted.codes)
    np.testing.assert_array_equal(plain.weights, weighted.weights)


@pytest.mark.parametrize("where", ["spread", "near 0", "near 1", "close together"])
def test_the_area_of_many_scores_is_within_its_bound(where):
    """A million scores do not fit: their area is off by no more than it says, and by far less than 1e-4."""
    random = np.random.default_rng(1)
    p = random.random(300_000)
    labels = (random.random(len(p)) < p).astype(int)
    scores = {"spread": p, "near 0": p**4 * 1e-3, "near 1": 1 - p[::-1] * 1e-2, "close together": 0.3 + p * 1e-2}[where]
    scores = scores.astype(np.float32)
    curve = Curve.of(ScoreDistribution.of(scores, labels, None, 2**14))
    error = abs(curve.auc - roc_auc_score(labels, scores))
    assert error <= curve.auc_error < 2e-4
    assert error < 1e-5
    exact = Curve.of(ScoreDistribution.of(scores[:5000], labels[:5000], None))
    assert exact.auc == pytest.approx(roc_auc_score(labels[:5000], scores[:5000]), rel=1e-12)
