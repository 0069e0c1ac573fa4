"""The compiled kernels against the naive float64 oracle and against finite differences."""

from __future__ import annotations

import numpy as np
import pytest
from kernels.problems import (
    ACTIVATIONS,
    KINDS,
    NOTHING,
    assert_equals_oracle,
    consensus,
    predict,
    problem,
    settings,
    start_values,
    target_of,
    train,
)
from naive import mlp

from dask_dl.frame.order import keys_of


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("n_outputs", [1, 3])
@pytest.mark.parametrize("fast_mode", [True, False])
@pytest.mark.parametrize("penalty", [0.0, 0.01])
def test_training_equals_the_oracle(kind, activation, n_outputs, fast_mode, penalty):
    optimizer, rules = settings(kind, fast_mode=fast_mode, l1=penalty, l2=penalty / 2)
    topology, rows, X = problem(levels=(4, 3), n_outputs=n_outputs, activation=activation)
    assert_equals_oracle(topology, rows, X, optimizer, rules)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("levels, n_dense", [((4, 3), 5), ((), 20), ((5, 2), 0)])
@pytest.mark.parametrize("fast_mode", [True, False])
@pytest.mark.parametrize("penalty", [0.0, 0.01])
def test_a_pull_equals_the_oracle(kind, activation, levels, n_dense, fast_mode, penalty):
    optimizer, rules = settings(kind, fast_mode=fast_mode, l1=penalty, l2=penalty / 2, pull=0.05)
    topology, rows, X = problem(levels=levels, n_dense=n_dense, activation=activation)
    assert_equals_oracle(topology, rows, X, optimizer, rules, center=consensus(topology))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fast_mode", [True, False])
@pytest.mark.parametrize("penalty", [0.0, 0.01])
def test_no_pull_and_no_consensus_are_the_same_bits(kind, fast_mode, penalty):
    topology, rows, _ = problem(levels=(4, 3), hidden=(20, 18))
    found = []
    for pull, center in [(0.0, None), (0.0, consensus(topology)), (0.1, None), (0.1, consensus(topology))]:
        optimizer, _ = settings(kind, fast_mode=fast_mode, l1=penalty, l2=penalty, pull=pull)
        flat, states, loss = train(topology, rows, optimizer, *start_values(topology), center=center)
        found.append((flat.tobytes(), [state.tobytes() for state in states], loss))
    without, *same, pulled = found
    assert same == [without, without]
    assert pulled != without


@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("ramp", [0.0, 10.0, 1e6])
def test_momentum_ramp_goes_on_from_the_rows_seen(nesterov, ramp):
    optimizer, rules = settings("momentum", nesterov=nesterov, momentum_ramp=ramp)
    topology, rows, X = problem()
    assert_equals_oracle(topology, rows, X, optimizer, rules, n_seen=25)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("n_outputs", [1, 3])
@pytest.mark.parametrize("pull", [0.0, 0.2])
def test_one_plain_step_follows_the_finite_differences_of_the_loss(activation, n_outputs, pull):
    """Of the loss and of pull / 2 times the squared distance from the consensus."""
    topology, rows, X = problem(n=1, levels=(3,), activation=activation, n_outputs=n_outputs)
    weights, biases = start_values(topology)
    # Fast mode leaves weights without an input alone, penalties included.
    optimizer, _ = settings("plain", rate=1.0, rate_annealing=0.0, rate_decay=1.0, pull=pull, fast_mode=False)
    center = consensus(topology)
    flat, _, _ = train(topology, rows, optimizer, weights, biases, center=center)
    parameters = [a.astype(float) for a in (*weights, *biases)]
    centers = [a.astype(float) for part in center for a in part]
    moved = [a for part in topology.unpack(flat) for a in part]

    def loss():
        half = len(parameters) // 2
        activations = mlp.forward(
            X[0], parameters[:half], parameters[half:], activation=activation, output=topology.output
        )
        distance = sum(((p - c) ** 2).sum() for p, c in zip(parameters, centers, strict=True))
        return mlp.loss(activations[-1], target_of(topology, rows)[0], output=topology.output) + pull / 2 * distance

    h = 1e-6
    for array, after in zip(parameters, moved, strict=True):
        for place in np.ndindex(array.shape):
            kept = array[place]
            array[place] = kept + h
            up = loss()
            array[place] = kept - h
            down = loss()
            array[place] = kept
            np.testing.assert_allclose(kept - after[place], (up - down) / (2 * h), rtol=1e-3, atol=2e-6)


@pytest.mark.parametrize("n_outputs", [1, 3])
def test_loss_and_prediction_equal_the_oracle(n_outputs):
    topology, rows, X = problem(levels=(4,), n_outputs=n_outputs)
    rows = rows._replace(offset=np.linspace(-1, 1, rows.n, dtype=np.float32) if n_outputs == 1 else NOTHING)
    weights, biases = start_values(topology)
    out = predict(topology, rows, topology.pack(weights, biases))
    rules = {"activation": topology.activation, "output": topology.output}
    expected, losses = [], []
    for i in range(rows.n):
        offset = float(rows.offset[i]) if n_outputs == 1 else 0.0
        last = mlp.forward(X[i], weights, biases, offset=offset, **rules)[-1]
        expected.append(last)
        losses.append(mlp.loss(last, target_of(topology, rows)[i], output=topology.output))
    np.testing.assert_allclose(out, np.reshape(expected, out.shape), rtol=2e-5, atol=2e-6)
    frozen, _ = settings("plain", rate=0.0)
    _, _, loss = train(topology, rows, frozen, weights, biases)
    np.testing.assert_allclose(loss, np.sum(losses), rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_calls_may_be_cut_anywhere(kind):
    topology, rows, _ = problem(levels=(3,))
    optimizer, _ = settings(kind)
    start = start_values(topology)
    whole, states, loss = train(topology, rows, optimizer, *start)
    pieces, states_of_pieces, loss_of_pieces = train(topology, rows, optimizer, *start, pieces=7)
    np.testing.assert_array_equal(whole, pieces)
    np.testing.assert_array_equal(states, states_of_pieces)
    assert loss == pytest.approx(loss_of_pieces)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("fast_mode", [True, False])
@pytest.mark.parametrize("dropout", [(), (0.5, 0.2)])
def test_padding_stays_zero(kind, activation, fast_mode, dropout):
    topology, rows, _ = problem(levels=(3,), hidden=(5, 3), activation=activation, dropout=dropout, has_means=True)
    rows = rows._replace(key=keys_of(np.arange(rows.n), 1, "epoch 0"))
    optimizer, _ = settings(
        kind, fast_mode=fast_mode, l1=0.01, l2=0.01, pull=0.01, max_w2=0.5, sparsity_beta=0.1,
        input_kept=0.8 if dropout else 1.0,
    )  # fmt: skip
    flat, states, _ = train(topology, rows, optimizer, *start_values(topology), center=consensus(topology))
    for vector in (flat, *states):
        again = topology.pack(*topology.unpack(vector))
        for mean, found in zip(topology.means(again), topology.means(vector), strict=True):
            mean[:] = found
        np.testing.assert_array_equal(vector, again)


def test_a_nan_reaches_the_weights_and_is_not_lost():
    topology, rows, _ = problem()
    rows.dense[7, 2] = np.nan
    optimizer, _ = settings()
    flat, _, _ = train(topology, rows, optimizer, *start_values(topology))
    assert np.isnan(flat).any()
