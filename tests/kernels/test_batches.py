"""Mini-batches: the products of matrices against NumPy, the training against the oracle and against single rows."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from kernels.problems import (
    ACTIVATIONS,
    KINDS,
    OF_CLASSES,
    OF_NUMBERS,
    aim,
    assert_equals_oracle,
    consensus,
    predict,
    problem,
    settings,
    start_values,
    train,
    weighted,
)
from kernels.test_dropout import given

from dask_dl.jit import entry
from dask_dl.kernels import gemm
from dask_dl.kernels.gemm import Factors, Matrix
from dask_dl.state import LANE, aligned_zeros, padded

add_dots, combine = entry(gemm.add_dots.py_func), entry(gemm.combine.py_func)

LEVELS = (4, 3)
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


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("fast_mode", [True, False])
@pytest.mark.parametrize("batch", [2, 7, 32, 100])
def test_training_equals_the_oracle(kind, activation, fast_mode, batch):
    for penalty, hidden in ((0.0, (20, 33)), (0.01, (6, 4)), (0.0, ())):
        optimizer, rules = settings(kind, fast_mode=fast_mode, l1=penalty, l2=penalty / 2, batch=batch)
        topology, rows, X = problem(levels=LEVELS, activation=activation, hidden=hidden)
        assert_equals_oracle(topology, rows, X, optimizer, rules, n_seen=5)


@pytest.mark.parametrize("objective", [*OF_CLASSES, *OF_NUMBERS])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_objective_equals_the_oracle(objective, activation):
    optimizer, rules = settings("plain", batch=8)
    topology, rows, X = problem(levels=LEVELS, activation=activation, objective=objective)
    rows = weighted(rows, shifted=objective in OF_NUMBERS)
    X, rows = X[rows.weight > 0], rows.take(rows.weight > 0)
    assert_equals_oracle(topology, rows, X, optimizer, rules, objective=objective)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(("levels", "n_dense"), [(LEVELS, 5), ((), 17), ((5,), 0)])
@pytest.mark.parametrize("fast_mode", [True, False])
def test_all_together_equals_the_oracle(activation, levels, n_dense, fast_mode):
    more = {"max_w2": 0.7, "l2": 0.01, "pull": 0.02, "input_kept": 0.8}
    if activation != "maxout":
        more |= {"sparsity_beta": 0.1, "average_activation": 0.2}
    optimizer, rules = settings(batch=6, fast_mode=fast_mode, **more)
    topology, rows, X = problem(
        levels=levels, n_dense=n_dense, activation=activation, dropout=(0.5, 0.25), has_means=activation != "maxout"
    )
    rows = rows._replace(kept=given(rows.n, topology, 0.2))
    assert_equals_oracle(topology, rows, X, optimizer, rules, center=consensus(topology))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("dropout", [(), (0.5, 0.5)])
def test_batches_of_one_row_equal_single_rows(kind, activation, dropout):
    optimizer, _ = settings(kind, input_kept=0.8 if dropout else 1.0, max_w2=2.0)
    topology, rows, _ = problem(levels=LEVELS, activation=activation, dropout=dropout)
    rows = rows._replace(key=np.random.default_rng(0).integers(2**63, size=rows.n).astype(np.uint64))
    start = start_values(topology)
    alone, alone_states, alone_loss = train(topology, rows, optimizer, *start)
    batched, states, loss = train(topology, rows, optimizer, *start, batched=True)
    assert loss == pytest.approx(alone_loss, rel=1e-5)
    for mine, other in zip((batched, *states), (alone, *alone_states), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("objective", ["cross_entropy", "gaussian", "poisson"])
def test_a_step_of_a_batch_is_the_slope_of_its_mean_loss(objective):
    topology, rows, _ = problem(n=12, activation="tanh", objective=objective, levels=LEVELS)
    kernels, _ = aim(objective)
    rate = 1e-3
    optimizer, _ = settings("plain", rate=rate, rate_annealing=0.0, rate_decay=1.0, batch=12)
    frozen = optimizer._replace(rate=0.0)
    weights, biases = start_values(topology)
    flat, _, _ = train(topology, rows, optimizer, weights, biases, objective=kernels)
    gradients = [(a - b) / rate for a, b in zip(weights, topology.unpack(flat)[0], strict=True)]
    for k, gradient in enumerate(gradients):
        place = np.unravel_index(np.abs(gradient).argmax(), gradient.shape)
        losses = []
        for sign in (1, -1):
            moved = [w.copy() for w in weights]
            moved[k][place] += sign * 1e-2
            losses.append(train(topology, rows, frozen, moved, biases, objective=kernels)[2] / rows.n)
        assert gradient[place] == pytest.approx((losses[0] - losses[1]) / 2e-2, rel=0.02)


def test_slopes_of_a_bias_that_cancel_are_a_step():
    # Two rows that pull an output's bias up and down: nothing moves, but its velocity and its penalty do what they always do.
    topology, rows, X = problem(n=2, n_dense=3, hidden=(), objective="laplace")
    rows = rows._replace(dense=np.zeros_like(rows.dense), target=np.array([10, -10], np.float32))
    optimizer, rules = settings("momentum", batch=2, l2=0.5)
    assert_equals_oracle(topology, rows, X * 0, optimizer, rules, objective="laplace")


def test_padding_stays_zero():
    topology, rows, _ = problem(levels=LEVELS, n_dense=5, hidden=(6, 18), activation="maxout")
    flat, states, _ = train(topology, rows, settings(batch=7, l1=0.1, max_w2=1.0)[0], *start_values(topology))
    for vector in (flat, *states):
        again = topology.pack(*topology.unpack(vector))
        np.testing.assert_array_equal(again, vector)
    assert padded(6) == 16


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("objective", ["cross_entropy", "gaussian"])
def test_an_answer_does_not_depend_on_what_is_predicted_beside_it(activation, objective):
    topology, rows, _ = problem(n=40, levels=LEVELS, activation=activation, objective=objective, hidden=(20, 33))
    rows = rows._replace(offset=np.linspace(-1, 1, 40, dtype=np.float32) if objective == "gaussian" else rows.offset)
    flat = topology.pack(*start_values(topology))
    whole = predict(topology, rows, flat, size=32)
    for size in (1, 7, 64):
        np.testing.assert_array_equal(predict(topology, rows, flat, size=size), whole)
    one_by_one = [predict(topology, rows.cut(i, i + 1), flat, size=32) for i in range(40)]
    np.testing.assert_array_equal(np.concatenate(one_by_one), whole)
