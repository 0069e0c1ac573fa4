"""Small networks and tables for the kernels, and how they are held to the naive oracle."""

from __future__ import annotations

import itertools

import numpy as np
from naive import mlp

from dask_dl.kernels import losses
from dask_dl.kernels.atomics import LINE
from dask_dl.kernels.batches import indices_size, max_active, predict_batches, scratch_size, train_batches
from dask_dl.kernels.initial import initial_biases, initial_weights
from dask_dl.kernels.layout import Topology
from dask_dl.kernels.losses import Objective
from dask_dl.kernels.network import Buffers, Queue, train_rows
from dask_dl.kernels.optimizers import ADADELTA, MOMENTUM, N_STATES, PLAIN, Optimizer
from dask_dl.kernels.team import NEXT, team_of
from dask_dl.kernels.weights import WeightBlock, Weights, WorkingCopy
from dask_dl.state import Entries, Rows, aligned_zeros, padded

NOTHING = np.zeros(0, np.float32)
KINDS = {"adadelta": ADADELTA, "plain": PLAIN, "momentum": MOMENTUM}
ACTIVATIONS = ["rectifier", "tanh", "maxout"]
OF_CLASSES = ["cross_entropy", "quadratic"]
OF_NUMBERS = ["gaussian", "laplace", "quantile", "huber", "poisson", "gamma", "tweedie"]
#: Of a row's own inputs: their losses, and with the derivative of activated outputs.
OF_INPUTS = ["inputs", "inputs by laplace", "inputs by quantile", "inputs by huber"]
EXACT = [f"exact {name}" for name in OF_INPUTS]
OF_ORACLE = {"activated": "activation"}  #: the oracle's names of outputs, where they differ
SHAPES = {"quantile": 0.3, "huber": 0.7, "tweedie": 1.4}


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
    rules = {"optimizer": "adadelta" if kind == "adadelta" else "sgd", **values}
    if "input_kept" in rules:
        rules["input_ratio"] = 1.0 - rules.pop("input_kept")
    return Optimizer.of(kind=KINDS[kind], **values), rules


def aim(objective):
    """Objective for the kernel, and the same in the oracle's words."""
    of_inputs, derives = objective in OF_INPUTS + EXACT, objective in EXACT
    if of_inputs:
        objective = objective.partition(" by ")[2] or "gaussian"
    shape = SHAPES.get(objective)
    name = "quadratic_classes" if objective == "quadratic" else objective
    return Objective(losses.KINDS[objective], shape or 0.0, of_inputs, derives), {"objective": name, "shape": shape}


def oracle_output(topology, objective=None):
    """The oracle's name of the function of outputs."""
    exactly = "exact " if objective in EXACT and topology.output == "activated" else ""
    return exactly + OF_ORACLE.get(topology.output, topology.output)


def problem(
    n=40, levels=(), n_dense=5, hidden=(6, 4), n_outputs=3, activation="rectifier", seed=0, objective=None, n_sparse=0,
    output=None, **more,
):  # fmt: skip
    """Topology, encoded rows, and the same rows expanded for the oracle."""
    random = np.random.default_rng(seed)
    n_onehot = sum(levels) + n_sparse
    if objective is not None:
        n_outputs = n_onehot + n_dense if "inputs" in objective else 3 if objective in OF_CLASSES else 1
    output = output or ("softmax" if n_outputs > 1 else "linear")
    topology = Topology(n_onehot, n_dense, hidden, n_outputs, activation, output, n_sparse=n_sparse, **more)
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
    if objective == "poisson":
        target = random.poisson(1.5, size=n)
    elif "inputs" in (objective or ""):
        target = NOTHING
    elif objective in {"gamma", "tweedie"}:
        target = np.where(random.random(n) < 0.2, 0.0, random.gamma(2.0, size=n))
    else:
        target = random.integers(n_outputs, size=n) if n_outputs > 1 else random.normal(size=n)
    rows = Rows(dense, active, target.astype(np.float32), NOTHING, NOTHING)
    if n_sparse:
        rows = rows._replace(entries=entries_of(n, sum(levels), n_sparse, seed))
    return topology, rows, expanded(topology, rows)


def entries_of(n, first, n_slots, seed=0):
    """Entries of n rows in slots from `first` on: some rows have none, some values are 0 or 1, and pools are in disorder."""
    random = np.random.default_rng([seed, 7])
    of_row = [first + np.flatnonzero(random.random(n_slots) < random.choice([0.0, 0.2, 0.7])) for _ in range(n)]
    slots, values, begin, end = [], [], np.zeros(n, np.int64), 0
    for i in random.permutation(n):
        gap = random.integers(3)
        begin[i], end = end + gap, end + gap + len(of_row[i])
        slots += [np.full(gap, -99), of_row[i]]
        values += [np.full(gap, np.nan), random.normal(size=len(of_row[i])), random.normal(size=0)]
    value = np.concatenate(values).astype(np.float32)
    value[random.random(len(value)) < 0.1] = 0
    value[random.random(len(value)) < 0.1] = 1
    length = np.array([len(slots) for slots in of_row], np.int32)
    return Entries(begin, length, np.concatenate(slots).astype(np.int32), value)


def weighted(rows, *, shifted):
    """The same rows with weights, some of them 0, and offsets of both signs, if the output takes one."""
    random = np.random.default_rng(5)
    offset = random.normal(size=rows.n).astype(np.float32)
    weight = random.uniform(0, 2, rows.n).astype(np.float32)
    weight[::7] = 0
    return rows._replace(weight=weight, offset=offset if shifted else NOTHING)


def expanded(topology, rows):
    X = np.zeros((rows.n, topology.n_inputs))
    for i, slot in itertools.product(range(rows.n), range(rows.active.shape[1])):
        if rows.active[i, slot] >= 0:
            X[i, rows.active[i, slot]] = 1
    for i, (begin, length) in enumerate(zip(rows.entries.begin, rows.entries.length, strict=True)):
        place = slice(begin, begin + length)
        X[i, rows.entries.slot[place]] = rows.entries.value[place]
    X[:, topology.n_onehot :] = rows.dense[:, : topology.n_dense]
    return X


def start_values(topology, seed=3):
    weights = initial_weights(topology, "uniform_adaptive", 1.0, seed)
    # With an output layer at 0 no hidden layer would have a gradient.
    weights[-1] = initial_weights(topology, "normal", 0.3, seed)[-1]
    biases = [b + np.float32(0.1) for b in initial_biases(topology)]
    return weights, biases


def consensus(topology):
    """Weights and biases to be pulled to."""
    weights, biases = start_values(topology, seed=8)
    return weights, [b - np.float32(0.3) for b in biases]


def default_objective(topology):
    return aim("cross_entropy" if topology.output == "softmax" else "gaussian")[0]


def train(
    topology, rows, optimizer, weights, biases, n_seen=0, pieces=1, center=None, objective=None, chunk=7, batched=False
):
    """(flat vector, optimizer state, sum of losses) after one visit of the rows, in `pieces` calls.

    batched: by the kernel of mini-batches even if they are of one row.
    """
    if len(rows.weight):  # rows of weight 0 never reach a kernel
        rows = rows.take(rows.weight > 0)
    flat = topology.pack(weights, biases)
    states = [aligned_zeros(topology.size) for _ in range(N_STATES[optimizer.kind])]
    halves = slice(topology.onehot_size), slice(topology.onehot_size, None)
    centers = [NOTHING if center is None else topology.pack(*center)[half] for half in halves]
    parts = [
        WeightBlock(*[*(vector[half] for vector in (flat, *states)), NOTHING, NOTHING][:3], c)
        for half, c in zip(halves, centers, strict=True)
    ]
    control = np.zeros(4 * LINE, np.int64)
    batch, batched = optimizer.batch, batched or optimizer.batch > 1
    team = team_of(topology, 1, control, batch=max(batch, 2) if batched else 1)[0]
    given = topology.network, objective or default_objective(topology), optimizer, Weights(*parts), team
    copy = WorkingCopy(NOTHING, NOTHING, 0)
    values = np.full(max_active(rows, batch), np.nan, np.float32)
    indices = np.full(indices_size(topology.n_onehot, batch, len(values)), -1, np.int32)
    kept = aligned_zeros(scratch_size(topology, optimizer))
    loss = 0.0
    for hi in np.linspace(0, rows.n, pieces + 1).astype(int)[1:]:
        if batched:
            loss += train_batches(rows, Queue(hi, 2 * batch, n_seen), *given, copy, Buffers(indices, values, kept))
            assert (indices[: topology.n_onehot] == -1).all()  # as the next call expects it
        else:
            scratch = np.full(topology.scratch_size, np.nan, np.float32)  # what an earlier call left must not matter
            buffers = Buffers(np.zeros(len(values), np.int32), values, scratch)
            loss += train_rows(rows, Queue(hi, chunk, n_seen), *given, copy, buffers)
        control[NEXT] = hi
    return flat, states, loss


def predict(topology, rows, flat, size=7):
    """Outputs of every row, (n, outputs)."""
    out = np.empty((rows.n, topology.n_outputs), np.float32)
    team = team_of(topology, 1, np.zeros(4 * LINE, np.int64), batch=size)[0]
    halves = flat[: topology.onehot_size], flat[topology.onehot_size :]
    values = np.full(max_active(rows, size), np.nan, np.float32)
    indices = np.zeros(len(values) + size + 1, np.int32)
    predict_batches(rows, 0, rows.n, topology.network, *halves, team, size, Buffers(indices, values, NOTHING), out)
    return out


def oracle_masks(topology, rows, input_ratio):
    """`Rows.kept` in the oracle's words, or None."""
    if not len(rows.kept):
        return None
    edges = np.cumsum([topology.n_inputs, *topology.hidden])
    parts = np.split(rows.kept, edges[:-1], axis=1)
    used = ([parts[0]] if input_ratio else []) + (parts[1:] if topology.dropout else [])
    return list(zip(*used, strict=True))


def assert_equals_oracle(
    topology, rows, X, optimizer, rules, *, n_seen=0, rtol=2e-5, center=None, objective=None, start=None, **how
):
    """Train both; every weight, bias and running mean has to be equal. Returns the kernel's flat vector."""
    weights, biases = start or start_values(topology)
    start = [[part.astype(float) for part in parts] for parts in (weights, biases)]
    kernels, oracles = (None, {}) if objective is None else aim(objective)
    flat, _, _ = train(topology, rows, optimizer, weights, biases, n_seen, center=center, objective=kernels, **how)
    *expected, state = mlp.train(
        X, target_of(topology, rows, X), np.arange(rows.n), *start,
        activation=topology.activation, output=oracle_output(topology, objective), n_seen=n_seen,
        n_columns=topology.n_dense + rows.active.shape[1] + topology.n_sparse, center=center,
        masks=oracle_masks(topology, rows, rules.get("input_ratio", 0.0)), hidden_ratios=topology.dropout,
        sample_weight=rows.weight.astype(float) if len(rows.weight) else None,
        offset=rows.offset.astype(float) if len(rows.offset) else None, **oracles, **rules,
    )  # fmt: skip
    found = [*topology.unpack(flat), topology.means(flat)]
    expected.append(state.mean_activations if topology.has_means else [])
    for actual, wanted in zip(itertools.chain(*found), itertools.chain(*expected), strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=rtol, atol=rtol)
    return flat


def target_of(topology, rows, X=None):
    if not len(rows.target):
        return X
    return rows.target.astype(int) if topology.output == "softmax" else rows.target.astype(float)


def given(n, topology, input_ratio, seed=11):
    """`Rows.kept` of somebody else's generator."""
    random = np.random.default_rng(seed)
    ratios = [*(topology.dropout or (0.0,) * len(topology.hidden))]
    ratios = np.repeat([input_ratio, *ratios], [topology.n_inputs, *topology.hidden])
    return (random.random((n, len(ratios))) >= ratios).astype(np.uint8)
