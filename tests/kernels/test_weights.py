"""Exchange of a thread's working copy with the published weights."""

from __future__ import annotations

import numpy as np
import pytest

from dask_dl.jit import entry
from dask_dl.kernels import weights
from dask_dl.kernels.weights import WorkingCopy

exchange = entry(weights.exchange.py_func)


@pytest.mark.parametrize("first", [0, 3, 7])
def test_an_exchange_publishes_what_was_learned_and_takes_what_others_did(first):
    """Wherever it begins."""
    random = np.random.default_rng(0)
    base, mine, others = random.normal(size=(3, 8)).astype(np.float32)
    shared, own = base + others, base + mine
    copy = WorkingCopy(shared, base.copy(), first)
    exchange(copy, own)
    np.testing.assert_allclose(shared, base + others + mine, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(own, shared)
    np.testing.assert_array_equal(copy.base, shared)
    again = shared.copy()
    exchange(copy, own)  # nothing new on either side
    np.testing.assert_array_equal(shared, again)
