"""Samples of rows for pictures."""

from __future__ import annotations

import numpy as np

from dask_dl.metrics.sample import MAX_SAMPLE, RowSample


def test_any_division_of_the_rows_gives_the_same_sample():
    truth, predicted = np.random.default_rng(0).normal(size=(2, 3 * MAX_SAMPLE)).astype(np.float32)
    whole = RowSample.of(truth, predicted)
    assert len(whole.truth) == MAX_SAMPLE
    assert set(zip(*whole, strict=True)) <= set(zip(truth.astype(float), predicted.astype(float), strict=True))
    for cuts in ([1], [100, 5000], [MAX_SAMPLE, 2 * MAX_SAMPLE]):
        parts = [RowSample.of(*part) for part in zip(np.split(truth, cuts), np.split(predicted, cuts), strict=True)]
        for order in (parts, parts[::-1]):
            merged = order[0]
            for part in order[1:]:
                merged = merged.merge(part)
            np.testing.assert_array_equal(merged, whole)


def test_rows_that_are_alike_and_few_are_all_kept():
    found = RowSample.of(np.zeros(50), np.ones(50))
    assert found.truth.tolist() == [0.0] * 50 and found.predicted.tolist() == [1.0] * 50
