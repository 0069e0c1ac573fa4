"""The compiled kernels against the naive float64 oracle and against finite differences."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from naive import mlp

from dask_dl.kernels.atomics import LINE
from dask_dl.kernels.crew import NEXT, crew_of
from dask_dl.kernels.initial import initial_biases, initial_weights
from dask_dl.kernels.layers import Part
from dask_dl.kernels.layout import Topology
from dask_dl.kernels.losses import CROSS_ENTROPY, GAUSSIAN, Objective
from dask_dl.kernels.network import predict_rows, train_rows
from dask_dl.kernels.steps import ADADELTA, MOMENTUM, N_STATES, PLAIN, Optimizer
from dask_dl.state import LANE, Rows, aligned_zeros, padded

NOTHING = np.zeros(0, np.float32)
KINDS = {"adadelta": ADADELTA, "plain": PLAIN, "momentum": MOMENTUM}


def settings(kind="adadelta", **changes):
    """Optimizer for the kernel, and the same rules in the oracle's words."""
    values = {
        "rho": 0.95, "epsilon": 1e-6, "rate": 0.02, "rate_annealing": 1e-3, "rate_decay": 0.7, "momentum_start": 0.0,
        "momentum_ramp": 40.0, "momentum_stable": 0.0, "nesterov": True, "l1": 0.0, "l2": 0.0, "pull": 0.0,
        "fast_mode": True,
    }  # fmt: skip
    if kind == "momentum":
        values |= {"momentum_start": 0.2, "momentum_stable": 0.8}
    values |= changes
    return Optimizer(KINDS[kind], **values), {"optimizer": "adadelta" if kind == "adadelta" else "sgd", **values}


def problem(n=60, levels=(), n_dense=5, hidden=(6, 4), n_outputs=3, activation="rectifier", seed=0):
    """Topology, encoded rows, and the same rows expanded for the oracle."""
    random = np.random.default_rng(seed)
    n_onehot = sum(levels)
    output = "softmax" if n_outputs > 1 else "linear"
    topology = Topology(n_onehot, n_dense, hidden, n_outputs, activation, output)
    dense = np.zeros((n, padded(n_dense)), np.float32)
    dense[:, :n_dense] = random.normal(size=(n, n_dense))
    dense[random.random(dense.shape) < 0.2] = 0  # fast_mode cares
    starts = np.cumsum([0, *levels])
    active = np.array(
        [[s + random.integers(k) for s, k in zip(starts, levels, strict=False)] for _ in range(n)], np.int32
    )
    active = active.reshape(n, len(levels))
    if levels:
        active[random.random(active.shape) < 0.1] = -1  # the first level, when it has no input
    target = random.integers(n_outputs, size=n) if n_outputs > 1 else random.normal(size=n)
    rows = Rows(dense, active, target.astype(np.float32), NOTHING, NOTHING)
    return topology, rows, expanded(topology, rows)


def expanded(topology, rows):
    X = np.zeros((rows.n, topology.n_inputs))
    for i, slot in itertools.product(range(rows.n), range(rows.active.shape[1])):
        if rows.active[i, slot] >= 0:
            X[i, rows.active[i, slot]] = 1
    X[:, topology.n_onehot :] = rows.dense[:, : topology.n_dense]
    return X


def start_values(topology, seed=3):
    weights = initial_weights(topology, "uniform_adaptive", 1.0, seed)
    biases = [b + np.float32(0.1) for b in initial_biases(topology)]
    return weights, biases


def consensus(topology):
    """Weights and biases to be pulled to."""
    weights, biases = start_values(topology, seed=8)
    return weights, [b - np.float32(0.3) for b in biases]


def default_objective(topology):
    return Objective(CROSS_ENTROPY if topology.output == "softmax" else GAUSSIAN)


def train(topology, rows, optimizer, weights, biases, n_seen=0, pieces=1, center=None, objective=None):
    if len(rows.weight):  # rows of weight 0 never reach a kernel
        used = rows.weight > 0
        rows = Rows(*(part[used] if len(part) else part for part in rows))
    flat = topology.pack(weights, biases)
    states = [aligned_zeros(topology.size) for _ in range(N_STATES[optimizer.kind])]
    halves = slice(topology.onehot_size), slice(topology.onehot_size, None)
    centers = [NOTHING if center is None else topology.pack(*center)[half] for half in halves]
    parts = [
        Part(*[*(vector[half] for vector in (flat, *states)), NOTHING, NOTHING][:3], c)
        for half, c in zip(halves, centers, strict=True)
    ]
    control = np.zeros(4 * LINE, np.int64)
    crew = crew_of(topology, 1, control)[0]
    loss = 0.0
    for hi in np.linspace(0, rows.n, pieces + 1).astype(int)[1:]:
        scratch = np.full(topology.scratch_size, np.nan, np.float32)  # what an earlier call left there must not matter
        slots = np.zeros(rows.active.shape[1], np.int32)
        loss += train_rows(
            rows, hi, topology.network, objective or default_objective(topology), optimizer, n_seen, *parts, crew, 7,
            NOTHING, NOTHING, 0, slots, scratch,
        )  # fmt: skip
        control[NEXT] = hi
    return flat, states, loss


def assert_equals_oracle(topology, rows, X, optimizer, rules, *, n_seen=0, rtol=2e-5, center=None):
    weights, biases = start_values(topology)
    flat, _, _ = train(topology, rows, optimizer, weights, biases, n_seen, center=center)
    expected_weights, expected_biases, _ = mlp.train(
        X, target_of(topology, rows), np.arange(rows.n), [w.astype(float) for w in weights], [b.astype(float) for b in biases],
        activation=topology.activation, output=topology.output, n_seen=n_seen,
        n_columns=topology.n_dense + rows.active.shape[1], center=center,
        sample_weight=rows.weight.astype(float) if len(rows.weight) else None,
        offset=rows.offset.astype(float) if len(rows.offset) else None, **rules,
    )  # fmt: skip
    actual_weights, actual_biases = topology.unpack(flat)
    for actual, expected in zip(actual_weights + actual_biases, expected_weights + expected_biases, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=rtol, atol=rtol)


def target_of(topology, rows):
    return rows.target.astype(int) if topology.output == "softmax" else rows.target.astype(float)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("activation", ["rectifier", "tanh"])
@pytest.mark.parametrize("n_outputs", [1, 3])
@pytest.mark.parametrize("fast_mode", [True, False])
@pytest.mark.parametrize("penalty", [0.0, 0.01])
def test_training_equals_the_oracle(kind, activation, n_outputs, fast_mode, penalty):
    optimizer, rules = settings(kind, fast_mode=fast_mode, l1=penalty, l2=penalty / 2)
    topology, rows, X = problem(levels=(4, 3), n_outputs=n_outputs, activation=activation)
    assert_equals_oracle(topology, rows, X, optimizer, rules)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("activation", ["rectifier", "tanh"])
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


@pytest.mark.parametrize("hidden", [(), (1,), (17,), (16, 16), (5, 4, 3), (7, 6, 5, 4, 3, 2)])
@pytest.mark.parametrize("kind", KINDS)
def test_any_depth_equals_the_oracle(hidden, kind):
    optimizer, rules = settings(kind)
    topology, rows, X = problem(hidden=hidden, levels=(3,), activation="tanh")
    assert_equals_oracle(topology, rows, X, optimizer, rules)


@pytest.mark.parametrize("levels, n_dense", [((5, 2), 0), ((), 1), ((), 33), ((20,), 2), ((40,), 0)])
@pytest.mark.parametrize("kind", KINDS)
def test_any_inputs_equal_the_oracle(levels, n_dense, kind):
    optimizer, rules = settings(kind)
    topology, rows, X = problem(levels=levels, n_dense=n_dense)
    assert_equals_oracle(topology, rows, X, optimizer, rules)


@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("ramp", [0.0, 10.0, 1e6])
def test_momentum_ramp_goes_on_from_the_rows_seen(nesterov, ramp):
    optimizer, rules = settings("momentum", nesterov=nesterov, momentum_ramp=ramp)
    topology, rows, X = problem()
    assert_equals_oracle(topology, rows, X, optimizer, rules, n_seen=25)


@pytest.mark.parametrize("n_outputs", [1, 3])
def test_weights_and_offsets_equal_the_oracle(n_outputs):
    random = np.random.default_rng(5)
    optimizer, rules = settings()
    topology, rows, X = problem(n_outputs=n_outputs)
    offset = random.normal(size=rows.n).astype(np.float32) if n_outputs == 1 else NOTHING
    weight = random.uniform(0, 2, rows.n).astype(np.float32)
    weight[::7] = 0
    assert_equals_oracle(topology, rows._replace(weight=weight, offset=offset), X, optimizer, rules)


@pytest.mark.parametrize("activation", ["rectifier", "tanh"])
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
    out = np.empty((rows.n, n_outputs), np.float32)
    flat = topology.pack(weights, biases)
    crew = crew_of(topology, 1, np.zeros(4 * LINE, np.int64))[0]
    halves = flat[: topology.onehot_size], flat[topology.onehot_size :]
    predict_rows(rows, 0, rows.n, topology.network, *halves, crew, out, aligned_zeros(padded(n_outputs)))
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
@pytest.mark.parametrize("fast_mode", [True, False])
def test_padding_stays_zero(kind, fast_mode):
    topology, rows, _ = problem(levels=(3,), hidden=(5, 3))
    optimizer, _ = settings(kind, fast_mode=fast_mode, l1=0.01, l2=0.01, pull=0.01)
    flat, states, _ = train(topology, rows, optimizer, *start_values(topology), center=consensus(topology))
    for vector in (flat, *states):
        again = topology.pack(*topology.unpack(vector))
        np.testing.assert_array_equal(vector, again)


def test_a_nan_reaches_the_weights_and_is_not_lost():
    topology, rows, _ = problem()
    rows.dense[7, 2] = np.nan
    optimizer, _ = settings()
    flat, _, _ = train(topology, rows, optimizer, *start_values(topology))
    assert np.isnan(flat).any()


def test_layout_is_aligned_and_reversible():
    topology = Topology(7, 3, (5, 18), 2, "tanh", "softmax")
    weights = [np.random.default_rng(k).normal(size=s).astype(np.float32) for k, s in enumerate(topology.shapes)]
    biases = [np.random.default_rng(k).normal(size=s[0]).astype(np.float32) for k, s in enumerate(topology.shapes)]
    flat = topology.pack(weights, biases)
    assert flat.ctypes.data % 64 == 0
    assert topology.size % LANE == 0 and flat.shape == (topology.size,)
    for array, again in zip(weights + biases, [a for part in topology.unpack(flat) for a in part], strict=True):
        np.testing.assert_array_equal(array, again)
    assert topology.n_parameters == sum(a.size for a in weights + biases)


@pytest.mark.parametrize(
    "distribution, scale, deviations",
    [
        ("uniform_adaptive", 9.0, [np.sqrt(2 / 500), 4 * np.sqrt(2 / 110)]),
        ("uniform", 0.3, [np.sqrt(0.03)] * 2),
        ("normal", 0.3, [0.3] * 2),
    ],
)
def test_initial_weights_have_the_spread_of_the_specification(distribution, scale, deviations):
    topology = Topology(0, 400, (100,), 10, "rectifier", "softmax")
    weights = initial_weights(topology, distribution, scale, seed=1)
    for weight, deviation in zip(weights, deviations, strict=True):
        assert weight.std() == pytest.approx(deviation, rel=0.05)
        assert abs(weight.mean()) < 5 * deviation / np.sqrt(weight.size)
    again = initial_weights(topology, distribution, scale, seed=1)
    other = initial_weights(topology, distribution, scale, seed=2)
    np.testing.assert_array_equal(weights[0], again[0])
    assert (weights[0] != other[0]).any()


def test_uniform_adaptive_limits_are_those_of_appendix_a():
    hidden = initial_weights(Topology(0, 4, (20,), 3, "tanh", "softmax"), "uniform_adaptive", 1.0, 0)
    assert 0.45 < np.abs(hidden[0]).max() <= 0.5
    assert 1.7 < np.abs(hidden[1]).max() <= 2.043015674


def test_initial_biases_keep_rectifiers_alive():
    rectifier = initial_biases(Topology(0, 4, (3, 2, 2), 1, "rectifier", "linear"))
    assert [float(b[0]) for b in rectifier] == [0.5, 1.0, 1.0, 0.0]
    assert not np.concatenate(initial_biases(Topology(0, 4, (3, 2), 1, "tanh", "linear"))).any()
