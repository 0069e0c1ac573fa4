"""Steps of a layer by all rows of a mini-batch: finite differences, biases whose gradients cancel, padding."""

from __future__ import annotations

import numpy as np
import pytest
from kernels.problems import aim, assert_equals_oracle, problem, settings, start_values, train

from dask_dl.state import padded

LEVELS = (4, 3)


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
