"""Contributions of columns beside shap.DeepExplainer on the same network in PyTorch: rows a second, by as many threads.

Weights, background rows and rows are the same; the values have to be equal to 1e-4 of the largest. Both take their turns.
Other work on the machine hurts PyTorch's threads, which wait for each other at every operation: then take `--threads 1`.
"""

from __future__ import annotations

import time
from statistics import median

import numpy as np
from common import options, print_machine, print_table

from dask_dl import DeepLearningRegressor

N_BACKGROUND = 100
#: Activation, inputs, hidden layers; rows for DeepExplainer, of which we take ten times as many.
CASES = (
    ("rectifier", 50, (200, 200), 50),
    ("tanh", 50, (200, 200), 50),
    ("rectifier", 717, (200, 200), 25),
    ("rectifier", 30, (64, 32), 100),
    ("rectifier", 200, (1024, 1024), 5),
)


def fitted(activation, p, hidden, n_threads):
    """A model of random numbers, and those numbers."""
    random = np.random.default_rng(p)
    X = random.normal(size=(2000, p)).astype(np.float32)
    y = X[:, 0] * X[:, 1] + np.abs(X[:, 2]) + random.normal(size=len(X)) / 10
    given = {"score_duty_cycle": 0.0, "epochs": 1, "random_state": 1, "n_jobs": n_threads}
    return DeepLearningRegressor(activation=activation, hidden=hidden, **given).fit(X, y), X


def in_torch(model, activation):
    """The same network, from standardized inputs to predictions."""
    import torch

    layers = []
    for weights, biases in zip(model.coefs_, model.intercepts_, strict=True):
        layers += [torch.nn.Linear(*weights.shape), torch.nn.ReLU() if activation == "rectifier" else torch.nn.Tanh()]
        layers[-2].weight.data = torch.from_numpy(np.ascontiguousarray(weights.T))
        layers[-2].bias.data = torch.from_numpy(biases.copy())
    head = model.model_.head
    layers[-2].weight.data /= head.factor
    layers[-2].bias.data = layers[-2].bias.data / head.factor + head.shift
    return torch.nn.Sequential(*layers[:-1])


def standardized(model, X):
    """The network's inputs."""
    import torch

    return torch.from_numpy(model.encoder_.encode(*_part(model, X)).dense[:, : X.shape[1]].copy())


def _part(model, X):
    import pandas as pd

    return pd.DataFrame(X, columns=list(model.model_.record.feature_names)), "a table"


def compare(case, n_rounds, factor, n_threads):
    """Rows a second of both, and the largest difference of their values."""
    import shap

    activation, p, hidden, n = case
    model, X = fitted(activation, p, hidden, n_threads)
    background, rows = X[:N_BACKGROUND], X[N_BACKGROUND : N_BACKGROUND + n]
    many = np.resize(rows, (factor * n, p))
    explainer = shap.DeepExplainer(in_torch(model, activation), standardized(model, background))
    inputs = standardized(model, rows)
    speeds = []
    for _ in range(n_rounds + 1):  # the first round compiles
        began = time.perf_counter()
        mine = model.contributions(many, background, n_background=None)
        middle = time.perf_counter()
        theirs = np.asarray(explainer.shap_values(inputs, check_additivity=False)).reshape(n, p)
        speeds.append((len(many) / (middle - began), n / (time.perf_counter() - middle)))
    apart = np.abs(mine[:n, :-1] - theirs).max() / np.abs(theirs).max()
    assert apart < 1e-4, f"the values differ by {apart:.2g} of the largest"
    ours, others = (median(column) for column in zip(*speeds[1:], strict=True))
    ratio = median(a / b for a, b in speeds[1:])
    name = f"{activation}, {p} inputs, {', '.join(map(str, hidden))} units"
    return name, f"{ours:,.0f}", f"{others:,.1f}", f"{ratio:.1f}", f"{apart:.1e}"


def main():
    import torch

    parser = options(__doc__)
    parser.add_argument("--threads", type=int, default=2, help="threads of both")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    print_machine("torch", "shap")
    n_rounds, factor, cases = (1, 2, CASES[:2]) if given.quick else (5, 10, CASES)
    columns = ("network", "rows/s", "DeepExplainer", "times as fast", "largest difference")
    print_table(columns, (compare(case, n_rounds, factor, given.threads) for case in cases))


if __name__ == "__main__":
    main()
