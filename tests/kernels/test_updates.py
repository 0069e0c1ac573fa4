"""Updates of weights and biases: the limit on the squares of a unit's incoming weights (`max_w2`), and biases that follow mean
activations (algorithm.md#sparse-autoencoder).
"""

from __future__ import annotations

import numpy as np
import pytest
from kernels.problems import ACTIVATIONS, KINDS, aim, assert_equals_oracle, problem, settings, start_values, train

LIMIT = 0.5


def sums_of_squares(topology, flat):
    """(units, channels) a layer."""
    weights, _ = topology.unpack(flat)
    return [
        (w.astype(float).reshape(units, -1, channels) ** 2).sum(axis=1)
        for w, units, channels in zip(weights, topology.units, topology.channels, strict=True)
    ]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("fast_mode", [True, False])
@pytest.mark.parametrize("levels, n_dense, penalty", [((), 20, 0.0), ((4, 3), 5, 0.01), ((5, 7), 0, 0.0)])
def test_training_equals_the_oracle(kind, activation, fast_mode, levels, n_dense, penalty):
    optimizer, rules = settings(kind, fast_mode=fast_mode, max_w2=LIMIT, l1=penalty, l2=penalty)
    topology, rows, X = problem(n=20, levels=levels, n_dense=n_dense, hidden=(18, 4), activation=activation)
    assert_equals_oracle(topology, rows, X, optimizer, rules)
    without, _, _ = train(topology, rows, settings(kind, fast_mode=fast_mode)[0], *start_values(topology))
    assert max(s.max() for s in sums_of_squares(topology, without)) > 1.5 * LIMIT  # it had something to limit


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("objective", ["cross_entropy", "gaussian"])
@pytest.mark.parametrize("fast_mode", [True, False])
def test_no_unit_that_learned_is_above_the_limit(activation, objective, fast_mode):
    optimizer, _ = settings("momentum", rate=0.1, fast_mode=fast_mode, max_w2=LIMIT)
    topology, rows, _ = problem(levels=(4, 3), hidden=(20, 18), activation=activation, objective=objective)
    start = start_values(topology)
    flat, _, _ = train(topology, rows, optimizer, *start, objective=aim(objective)[0])
    sums, begun = sums_of_squares(topology, flat), sums_of_squares(topology, topology.pack(*start))
    for after, before in zip(sums, begun, strict=True):
        learned = after != before
        assert learned.any()
        assert after[learned].max() <= LIMIT * (1 + 1e-6)
        assert fast_mode or learned.all()
    assert max(s.max() for s in sums) > 0.9 * LIMIT  # and nothing is made smaller than it must be


def test_fast_mode_leaves_a_unit_without_an_error_above_the_limit():
    topology, rows, X = problem(hidden=(6,), n_outputs=1)
    weights, biases = start_values(topology)
    weights[0][2] = 3.0
    biases[0][2] = -1000.0  # never alive
    for fast_mode in (True, False):
        optimizer, rules = settings(fast_mode=fast_mode, max_w2=LIMIT)
        flat = assert_equals_oracle(topology, rows, X, optimizer, rules, start=(weights, biases))
        assert (sums_of_squares(topology, flat)[0][2, 0] > LIMIT) == fast_mode


def test_biases_are_neither_counted_nor_scaled():
    topology, rows, _ = problem(n=1, hidden=(), n_outputs=1)
    weights, biases = start_values(topology)
    biases[0][0] = 100.0
    weights[0][:] = 0.1
    rows = rows._replace(target=np.full(1, 100.0 + 0.1 * rows.dense.sum(), np.float32))
    flat, _, _ = train(topology, rows, settings("plain", max_w2=LIMIT)[0], weights, biases)
    np.testing.assert_allclose(topology.unpack(flat)[1][0], 100.0, rtol=1e-6)
    np.testing.assert_allclose(topology.unpack(flat)[0][0], 0.1, rtol=1e-4)


SPARSE = {"sparsity_beta": 5.0, "average_activation": 0.05}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("fast_mode", [True, False])
@pytest.mark.parametrize("levels", [(), (4, 3)])
@pytest.mark.parametrize("n_outputs", [1, 3])
def test_means_and_biases_equal_the_oracle(kind, activation, fast_mode, levels, n_outputs):
    optimizer, rules = settings(kind, fast_mode=fast_mode, **SPARSE)
    topology, rows, X = problem(
        n=30, levels=levels, hidden=(18, 4), n_outputs=n_outputs, activation=activation, has_means=True
    )
    flat = assert_equals_oracle(topology, rows, X, optimizer, rules)
    without, _, _ = train(topology, rows, settings(kind, fast_mode=fast_mode)[0], *start_values(topology))
    assert all(m.any() for m in topology.means(flat)) and not any(m.any() for m in topology.means(without))
    (*hidden, output), (*others, other) = topology.unpack(flat)[1], topology.unpack(without)[1]
    assert all(not np.allclose(b, c, rtol=1e-3) for b, c in zip(hidden, others, strict=True))
    assert output.shape == other.shape


def test_means_are_those_of_the_activations():
    """One unit that lets its input through: the mean of what it passed, by hand."""
    topology, rows, _ = problem(n=40, n_dense=1, hidden=(1,), n_outputs=1, has_means=True)
    rows.dense[:, 0] = np.abs(rows.dense[:, 0])
    one, zero = np.ones((1, 1), np.float32), np.zeros(1, np.float32)
    optimizer, _ = settings("plain", rate=0.0, **SPARSE)
    flat, _, _ = train(topology, rows, optimizer, [one, one], [zero, zero])
    mean = 0.0
    for x in rows.dense[:, 0].astype(float):
        mean = 0.999 * mean + 0.001 * x
    np.testing.assert_allclose(topology.means(flat)[0], mean, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_means_go_on_from_where_they_were(kind):
    optimizer, _ = settings(kind, **SPARSE)
    topology, rows, _ = problem(levels=(4,), has_means=True)
    whole, states, _ = train(topology, rows, optimizer, *start_values(topology))
    pieces, states_of_pieces, _ = train(topology, rows, optimizer, *start_values(topology), pieces=7)
    np.testing.assert_array_equal(whole, pieces)
    np.testing.assert_array_equal(states, states_of_pieces)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_without_sparsity_means_are_only_room(activation):
    optimizer, _ = settings()
    (plain, rows, _), (roomy, _, _) = (
        problem(levels=(4,), activation=activation, has_means=has_means) for has_means in (False, True)
    )
    flat, _, loss = train(plain, rows, optimizer, *start_values(plain))
    other, _, other_loss = train(roomy, rows, optimizer, *start_values(roomy))
    for part, same in zip(plain.unpack(flat), roomy.unpack(other), strict=True):
        for array, again in zip(part, same, strict=True):
            np.testing.assert_array_equal(array, again)
    assert loss == other_loss
