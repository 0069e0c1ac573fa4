"""Tables to train on, small enough for tests, and the loss by which ways of training them are compared."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.datasets import load_digits

from dask_dl.kernels.initial import initial_biases, initial_weights
from dask_dl.kernels.layout import Topology
from dask_dl.kernels.losses import CROSS_ENTROPY, GAUSSIAN, Objective
from dask_dl.kernels.optimizers import ADADELTA, MOMENTUM, PLAIN, Optimizer
from dask_dl.node.parallelism import Parallelism
from dask_dl.node.replica import Replica, predict
from dask_dl.state import Rows, aligned_zeros, padded

NOTHING = np.zeros(0, np.float32)


def optimizer(kind="adadelta", **changes):
    """Default settings; momentum reaches 0.9 within some thousand rows."""
    values = {
        "kind": {"adadelta": ADADELTA, "momentum": MOMENTUM, "plain": PLAIN}[kind], "rho": 0.99, "epsilon": 1e-8,
        "rate": 0.005, "rate_annealing": 1e-6, "rate_decay": 1.0, "momentum_start": 0.0, "momentum_ramp": 1e4,
        "momentum_stable": 0.0, "nesterov": True, "l1": 0.0, "l2": 0.0, "fast_mode": True,
    }  # fmt: skip
    if kind == "momentum":
        values |= {"momentum_start": 0.5, "momentum_stable": 0.9}
    return Optimizer.of(**(values | changes))


def packed(X, y, active=None):
    """Encoded rows of numbers, and of levels if there are any."""
    n, n_dense = X.shape
    dense = aligned_zeros(n * padded(n_dense)).reshape(n, padded(n_dense))
    dense[:, :n_dense] = X
    levels = np.zeros((n, 0), np.int32) if active is None else active.astype(np.int32)
    return Rows(dense, levels, y.astype(np.float32), NOTHING, NOTHING)


def some(rows, which):
    return rows.map(lambda part: np.ascontiguousarray(part[which]) if len(part) else part)


def standardized(X, train):
    mean, deviation = X[train].mean(axis=0), X[train].std(axis=0)
    return ((X - mean) / np.where(deviation > 0, deviation, 1))[:, deviation > 0]


def problem(name, folder=None, activation="rectifier", **more):
    """Topology, rows to train on, rows to test on."""
    random = np.random.default_rng(7)
    if name == "levels":
        n, n_levels = 50_000, 1000
        levels, numbers = random.integers(n_levels, size=(n, 3)), random.normal(size=(n, 2))
        effects = random.normal(size=(3, n_levels))
        score = sum(effects[c, levels[:, c]] for c in range(3)) + numbers[:, 0] / 2
        y = random.random(n) < 1 / (1 + np.exp(-score))
        rows = packed(numbers, y, levels + np.arange(3) * n_levels)
        topology = Topology(3 * n_levels, 2, (32,), 2, activation, "softmax", **more)
        return topology, some(rows, np.arange(n) % 5 > 0), some(rows, np.arange(n) % 5 == 0)
    hidden, n_outputs, maximum = (32, 32), 1, 10_000
    if name == "digits":
        X, y = load_digits(return_X_y=True)
        hidden, n_outputs = (50, 50), 10
    elif name == "covtype":
        table = pd.read_csv(folder / "covtype_20k.csv").to_numpy(float)
        X, y = table[:, :-1], table[:, -1] - table[:, -1].min()
        n_outputs = int(y.max()) + 1
    else:
        table = pd.read_csv(folder / "cal_housing.csv").dropna().to_numpy(float)
        X, y = table[:, :-1], table[:, -1]
        y = (y - y.mean()) / y.std()
    chosen = random.permutation(len(X))[:maximum]
    X, y, train = X[chosen], y[chosen], np.arange(len(chosen)) % 5 > 0
    X = standardized(X, train)
    output = "softmax" if n_outputs > 1 else "linear"
    topology = Topology(0, X.shape[1], hidden, n_outputs, activation, output, **more)
    rows = packed(X, y)
    return topology, some(rows, train), some(rows, ~train)


def replica(topology, settings, parallelism, seed=0):
    weights = initial_weights(topology, "uniform_adaptive", 1.0, seed)
    # With an output layer at 0 the first row would leave the hidden layers as they are.
    weights[-1] = initial_weights(topology, "normal", 0.1, seed)[-1]
    flat = topology.pack(weights, initial_biases(topology))
    objective = Objective(CROSS_ENTROPY if topology.output == "softmax" else GAUSSIAN)
    return Replica(topology, settings, objective, flat, parallelism=parallelism)


def threads(way, n, interval=64):
    return Parallelism(way, n, interval, "as the test asks")


def loss(trained, rows):
    """Logloss, or mean squared error."""
    out = predict(trained.topology, trained.flat, rows)
    if trained.topology.output == "linear":
        return float(np.mean((out[:, 0] - rows.target) ** 2))
    of_truth = out[np.arange(rows.n), rows.target.astype(int)]
    return float(-np.log(np.maximum(of_truth, 1e-15)).mean())
