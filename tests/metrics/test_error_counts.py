"""Quantiles of errors, in one pass."""

from __future__ import annotations

import numpy as np
import pytest

from dask_dl.metrics.error_counts import ErrorCounts


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
@pytest.mark.parametrize("q", [0.0, 0.5, 0.9, 0.999])
def test_a_quantile_is_right_to_a_two_thousandth(scale, q):
    random, counts = np.random.default_rng(0), ErrorCounts()
    errors = scale * random.lognormal(0, 2, 20_000)
    for part in np.array_split(errors, 7):
        counts.add(part)
    found, exact = counts.quantile(q), np.quantile(errors, q, method="inverted_cdf")
    assert counts.n == 20_000
    assert exact * (1 - 1e-7) <= found <= exact * (1 + 1 / 2000)
    assert np.mean(errors <= found) >= q


def test_errors_of_every_size():
    counts = ErrorCounts()
    counts.add(np.array([0.0, 1e-50, 1.0, 1e300, np.inf]))  # what float32 does not hold is 0 or infinite
    assert counts.quantile(0.2) < 1e-30 and 1 <= counts.quantile(0.6) < 1.001
    assert counts.quantile(0.99) > 1e38


def test_no_errors():
    counts = ErrorCounts()
    counts.add(np.zeros(0))
    assert counts.n == 0 and counts.quantile(0.5) >= 0
