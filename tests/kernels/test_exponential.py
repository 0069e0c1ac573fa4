"""The hyperbolic tangent and its gradient, over all float32 numbers, against float64."""

from __future__ import annotations

import numpy as np
import pytest

from dask_dl.jit import entry
from dask_dl.kernels import layers
from dask_dl.kernels.layout import TANH

activate = entry(layers.activate.py_func)

NOTHING = np.zeros(0, np.float32)
ULP = 2.0**-23
MIN = 40.0  #: beyond it gradients are below 1e-34, and stay where they are


def tanh_and_gradient(z):
    """As the kernel computes them, in its loop over units."""
    n = -(-len(z) // 16) * 16
    acts, gradients = np.zeros(n, np.float32), np.empty(n, np.float32)
    acts[: len(z)] = z
    activate(TANH, acts, gradients, NOTHING, np.float32(1), n, 0, n)
    return acts[: len(z)], gradients[: len(z)]


def numbers():
    """Of both signs, from every binade of float32, and many of those that matter."""
    random = np.random.default_rng(0)
    binades = np.ldexp(random.uniform(1, 2, (276, 200)), np.arange(-149, 127)[:, np.newaxis]).ravel()
    edges = np.arange(1, 400)[:, np.newaxis] * np.log(2) / 4 * (1 + np.arange(-20, 21) * ULP)  # where steps may lie
    z = np.concatenate([binades, edges.ravel(), random.uniform(0, 50, 100_000), [0.0]]).astype(np.float32)
    return np.concatenate([z, -z])


def exact_gradient(z):
    e = np.exp(-2 * np.abs(z.astype(float)))
    return 4 * e / (1 + e) ** 2


def test_tanh_has_its_own_last_digits():
    z = numbers()
    found, exact = tanh_and_gradient(z)[0].astype(float), np.tanh(z.astype(float))
    normal = np.abs(z) >= np.finfo(np.float32).tiny
    assert np.abs(found / np.where(exact == 0, 1, exact) - 1)[normal].max() < 4 * ULP
    assert np.abs(found - exact)[~normal].max() <= 2e-45  # of denormals the last bit
    assert np.abs(found).max() == 1


def test_slopes_keep_their_digits_where_tanh_has_lost_them():
    z = numbers()
    found, exact = tanh_and_gradient(z)[1].astype(float), exact_gradient(z)
    alive = np.abs(z) <= MIN
    assert np.abs(found[alive] / exact[alive] - 1).max() < 6 * ULP
    assert exact[alive].min() < 1e-34  # 1 - tanh(z)**2 is 0 from 9.1 on
    assert (found[~alive] > 0).all() and found[~alive].max() < 1e-34


def test_both_are_odd_and_even():
    z = numbers()
    (a, s), (b, t) = tanh_and_gradient(z), tanh_and_gradient(-z)
    np.testing.assert_array_equal(a, -b)
    np.testing.assert_array_equal(s, t)


@pytest.mark.parametrize("sign", [-1, 1])
def test_infinity_is_saturated(sign):
    (a,), (s,) = tanh_and_gradient(np.array([sign * np.inf], np.float32))
    assert a == sign
    assert 0 <= s < 1e-34


def test_zero():
    (a,), (s,) = tanh_and_gradient(np.zeros(1, np.float32))
    assert a == 0 and s == 1


def test_nan_stays_nan_and_with_its_unit():
    z = np.linspace(-3, 3, 32, dtype=np.float32)
    expected = tanh_and_gradient(z)
    z[7] = np.nan
    for found, wanted in zip(tanh_and_gradient(z), expected, strict=True):
        assert np.isnan(found[7])
        np.testing.assert_array_equal(np.delete(found, 7), np.delete(wanted, 7))


@pytest.mark.parametrize("n", [1, 15, 16, 17, 100])
def test_a_number_has_the_same_answer_wherever_it_stands(n):
    z = numbers()[-n:]
    alone = [tanh_and_gradient(z[i : i + 1]) for i in range(n)]
    for found, each in zip(tanh_and_gradient(z), zip(*alone, strict=True), strict=True):
        np.testing.assert_array_equal(found, np.concatenate(each))
