"""The sparse autoencoder: running mean activations, and the biases that follow them (algorithm.md#sparse-autoencoder)."""

from __future__ import annotations

import numpy as np
import pytest
from kernels.problems import (
    ACTIVATIONS,
    KINDS,
    assert_equals_oracle,
    problem,
    settings,
    start_values,
    train,
)

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
