"""Multipliers of functions and outputs by sums: they make up for the difference, and are derivatives where there is none."""

from __future__ import annotations

import numpy as np
import pytest
from naive.contributions import quotient, shapley

from dask_dl.jit import entry
from dask_dl.kernels.layout import RECTIFIER, TANH
from dask_dl.kernels.multipliers import NEAR, gains_of_channels, gains_of_functions

FUNCTIONS = {RECTIFIER: lambda z: np.maximum(z, 0), TANH: np.tanh}
of_functions, of_channels = entry(gains_of_functions.py_func), entry(gains_of_channels.py_func)


def sums(seed, n=64):
    return (np.random.default_rng(seed).normal(size=n) * 2).astype(np.float32)


@pytest.mark.parametrize("kind", FUNCTIONS)
@pytest.mark.parametrize("factor", [1.0, 0.5])
def test_multipliers_are_quotients_of_differences(kind, factor):
    here, there, gains = sums(1), sums(2), np.empty(64, np.float32)
    here[:8] = there[:8]  # the derivative
    f = np.float32(factor)
    acts = [(f * FUNCTIONS[kind](z)).astype(np.float32) for z in (here, there)]
    of_functions(kind, f, here, there, *acts, gains)
    expected = [factor * quotient(FUNCTIONS[kind], float(x), float(b)) for x, b in zip(here, there, strict=True)]
    assert np.allclose(gains, expected, rtol=1e-4, atol=1e-6)
    assert (gains[:8] != 0).any()


def test_channels_of_maxout_share_the_difference_as_shapley_has_it():
    here, there, gains = sums(3), sums(4), np.empty(64, np.float32)
    of_channels(np.float32(0.5), here, there, gains)
    for j in range(32):
        x, b = (z[[j, 32 + j]].astype(float) for z in (here, there))
        assert np.allclose(gains[[j, 32 + j]] * (x - b), 0.5 * np.array(shapley(x, b)), atol=1e-6)


def test_channels_without_a_difference_have_their_derivative():
    """Half of it beside each of the two sums of the other channel."""
    one = np.array([1.0, -1.0, 0.5, 0.5, 0.0, 2.0], np.float32)  # three units: first channels, then second ones
    gains = np.empty(6, np.float32)
    of_channels(np.float32(1), one, one, gains)
    assert gains.tolist() == [1.0, 0.0, 0.0, 0.0, 1.0, 1.0]
    other = one + np.array([0, 0, 0, 1, 0, 0], np.float32) * (NEAR / 2)
    of_channels(np.float32(1), one, other, gains)
    assert gains.tolist() == [1.0, 0.0, 0.0, 0.0, 1.0, 1.0]
