"""Products of matrices of mini-batches, against NumPy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from dask_dl.jit import entry
from dask_dl.kernels import gemm
from dask_dl.kernels.gemm import Factors, Matrix
from dask_dl.state import LANE, aligned_zeros

add_dots, combine = entry(gemm.add_dots.py_func), entry(gemm.combine.py_func)

SIZES = [1, 3, 4, 6, 7, 13]


def matrix(n, m, ld, seed):
    flat = aligned_zeros(n * ld)
    flat.reshape(n, ld)[:, :m] = np.random.default_rng(seed).normal(size=(n, m))
    return flat, flat.reshape(n, ld)[:, :m].astype(float)


@pytest.mark.parametrize("n_rows", SIZES)
@pytest.mark.parametrize("n_units", [1, 2, 4, 5, 9])
@pytest.mark.parametrize("n", [0, 16, 48])
def test_dots_are_those_of_numpy(n_rows, n_units, n):
    rows, a = matrix(n_rows, n, 64, 1)
    weights, w = matrix(n_units, n, 48, 2)
    out, before = matrix(n_rows, n_units, 16, 3)
    expected = before + a @ w.T
    add_dots(Matrix(out, 0, 16, n_rows), Matrix(rows, 0, 64, n_rows), Matrix(weights, 0, 48, n_units), n)
    np.testing.assert_allclose(out.reshape(n_rows, 16)[:, :n_units], expected, rtol=1e-5, atol=1e-5)
    assert not out.reshape(n_rows, 16)[:, n_units:].any()


@pytest.mark.parametrize("n_rows", SIZES)
@pytest.mark.parametrize("n_terms", [0, 1, 5])
@pytest.mark.parametrize("n", [16, 48, 64, 144])
@pytest.mark.parametrize("turned", [False, True])
def test_combinations_are_those_of_numpy(n_rows, n_terms, n, turned):
    rows, m = matrix(max(n_terms, 1), n, 160, 1)
    factors, f = matrix(16, 16, 16, 2)
    f = (f.T if turned else f)[:n_rows, :n_terms]
    out, _ = matrix(n_rows, 160, 160, 3)
    beyond = out.reshape(n_rows, 160)[:, n:].copy()
    left = Factors(factors, 0, *((1, 16) if turned else (16, 1)))
    combine(Matrix(out, 0, 160, n_rows), left, Matrix(rows, 0, 160, n_terms), n)
    np.testing.assert_allclose(out.reshape(n_rows, 160)[:, :n], f @ m[:n_terms], rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(out.reshape(n_rows, 160)[:, n:], beyond)


def test_a_product_does_not_depend_on_what_is_computed_beside_it():
    rows, _ = matrix(13, 48, 48, 1)
    weights, _ = matrix(9, 48, 48, 2)
    (whole, _), (parts, _) = matrix(13, 9, LANE, 3), matrix(13, 9, LANE, 3)  # not zeros, to which sums add in any order
    add_dots(Matrix(whole, 0, LANE, 13), Matrix(rows, 0, 48, 13), Matrix(weights, 0, 48, 9), 48)
    for i, j in itertools.product(range(13), range(9)):
        part = Matrix(parts, i * LANE + j, LANE, 1)
        add_dots(part, Matrix(rows, i * 48, 48, 1), Matrix(weights, j * 48, 48, 1), 48)
    np.testing.assert_array_equal(whole, parts)
    whole, parts = aligned_zeros(13 * 160), aligned_zeros(13 * 160)
    terms, _ = matrix(9, 144, 160, 4)
    combine(Matrix(whole, 0, 160, 13), Factors(rows, 0, 48, 1), Matrix(terms, 0, 160, 9), 144)
    for i, j in itertools.product(range(13), range(0, 144, LANE)):
        part = Matrix(parts, i * 160 + j, 160, 1)
        combine(part, Factors(rows, i * 48, 48, 1), Matrix(terms, j, 160, 9), LANE)
    np.testing.assert_array_equal(whole, parts)
