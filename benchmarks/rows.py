"""One thread, one row per step: rows/s beside scikit-learn's, the test error, and how near the processor's limits are.

MNIST, first 8,000 of 10,000 rows train, hidden [200, 200], rectifier, ADADELTA; digits of the demo without real tables.
"""

from __future__ import annotations

import tempfile
import time
import warnings
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numba
import numpy as np
import pandas as pd
from common import ALL_EPOCHS, FIGURE, figure, options, print_machine, print_table, real_tables
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits

from dask_dl import DeepLearningClassifier
from dask_dl.demo import make_digits
from dask_dl.kernels.denormals import flushed
from dask_dl.kernels.optimizers import ADADELTA, ONE, ZERO, Optimizer, Penalty, StepSize, adadelta
from dask_dl.kernels.weights import WeightBlock
from dask_dl.state import aligned_zeros, padded

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

HIDDEN = (200, 200)
SOLVERS = ("adam", "sgd")  # scikit-learn's default first
TARGETS = {"times faster than adam": {"min_value": 17.0}, "test error": {"max_value": 0.060}}


def read_digits() -> tuple[str, pd.DataFrame, pd.DataFrame]:
    """(name, training rows, test rows): pixels that are not constant in training, and the target in a column `digit`."""
    folder = real_tables()
    if folder is None:
        name = "digits of the demo"
        with tempfile.TemporaryDirectory() as made:
            train, test = map(pd.read_parquet, make_digits(Path(made), n_train=8_000, n_valid=2_000))
    else:
        name = "MNIST"
        rows = pd.read_csv(folder / "mnist_10k.csv.gz", header=None)
        rows.columns = [*(f"pixel_{k}" for k in range(rows.shape[1] - 1)), "digit"]
        rows = rows.astype({"digit": str})
        train, test = rows[:8_000], rows[8_000:]
    kept = train.columns[train.nunique() > 1]
    return name, train[kept], test[kept]


def standardised(train: pd.DataFrame) -> NDArray[np.float32]:
    """For the rival, what dask_dl makes of the table by itself; in float32, in which the rival is faster too."""
    pixels = train.drop(columns="digit").astype(np.float64)
    return ((pixels - pixels.mean()) / pixels.std()).to_numpy(np.float32)


def rival_speed(X: NDArray[np.float32], y: pd.Series, solver: str, seed: int, hidden: tuple[int, ...]) -> float:
    """Rows per second of one epoch of scikit-learn's MLP, one row per step, one thread."""
    rival = MLPClassifier(hidden, solver=solver, batch_size=1, max_iter=1, random_state=seed)
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # one epoch is not meant to converge
        began = time.perf_counter()
        rival.fit(X, y)
        return len(X) / (time.perf_counter() - began)


def work_per_row(model: DeepLearningClassifier, X: NDArray[np.float32]) -> tuple[int, float]:
    """(weights read forward, weights updated backward) by one row, padding included: units that are off are skipped."""
    n_read, n_updated = 0, 0.0
    for weight, bias in zip(model.coefs_, model.intercepts_, strict=True):
        n = padded(weight.shape[0]) * weight.shape[1]
        X = np.maximum(X @ weight + bias, 0)
        is_output = weight.shape[1] == len(model.classes_)
        live = 1.0 if is_output else float((X > 0).mean())
        n_read, n_updated = n_read + n, n_updated + n * live
    return n_read, n_updated


def bandwidth(n: int) -> float:
    """Bytes per second that one thread reads and writes in three arrays of n float32, the weights and both states."""
    arrays = [np.ones(n, np.float32) for _ in range(3)]

    def sweep() -> None:
        for array in arrays:
            np.multiply(array, np.float32(1), out=array)

    return 2 * 3 * 4 * n / seconds_of(sweep)


def update_speed(n: int) -> float:
    """Weights per second that the arithmetic of ADADELTA allows: n weights, few enough for the first cache."""
    a, w, squares, steps = (aligned_zeros(n) for _ in range(4))
    a[:] = 1
    optimizer = Optimizer(ADADELTA, 0.99, 1e-8, 0.005, 1e-6, 1.0, 0.0, 1e6, 0.0, True, True)
    with flushed():
        return 100 * n / seconds_of(lambda: update_often(optimizer, a, WeightBlock(w, squares, steps, a), 100))


@numba.njit
def update_often(optimizer, a, block, n):
    for _ in range(n):
        adadelta(StepSize(optimizer, ONE, ZERO), Penalty(ZERO, ZERO, ZERO), a, ONE, block)


def seconds_of(work: Callable[[], object]) -> float:
    """Median seconds of a call, the first left out."""
    taken = []
    for _ in range(51):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return median(taken[1:])


def measure(
    train: pd.DataFrame,
    test: pd.DataFrame,
    X: NDArray[np.float32],
    n_rival: int,
    seed: int,
    epochs: float,
    hidden: tuple[int, ...],
):
    """Everything once, so that a busy minute of the machine meets all rivals."""
    model = DeepLearningClassifier(hidden=hidden, epochs=epochs, random_state=seed, n_jobs=1, **ALL_EPOCHS).fit(
        train, "digit"
    )
    speed = model.history_["training_speed"].iloc[-1]
    rivals = [rival_speed(X[:n_rival], train["digit"][:n_rival], solver, seed, hidden) for solver in SOLVERS]
    n_read, n_updated = work_per_row(model, X)
    n_bytes = 4 * n_read + 24 * n_updated  # forward reads weights; backward reads and writes them and both states
    can_move, can_update = bandwidth(n_read), update_speed(padded(X.shape[1]))
    return {
        "dask_dl, rows/s": speed,
        **{f"scikit-learn {solver}, rows/s": rival for solver, rival in zip(SOLVERS, rivals, strict=True)},
        **{f"times faster than {solver}": speed / rival for solver, rival in zip(SOLVERS, rivals, strict=True)},
        "test error": 1 - model.score(test.drop(columns="digit"), test["digit"]),
        "weights updated by a row, of all": n_updated / n_read,
        "MB moved by a row": n_bytes / 1e6,
        "bandwidth for arrays of this size, GB/s": can_move / 1e9,
        "share of that bandwidth": speed * n_bytes / can_move,
        "ADADELTA in the first cache, million weights/s": can_update / 1e6,
        "share of that arithmetic": speed * n_updated / can_update,
    }


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--hidden", default=",".join(map(str, HIDDEN)), help="units (default: 200,200)")
    parser.add_argument(
        "--rows", type=int, default=8_000, help="rows to train, fewer for wide networks (default: 8000)"
    )
    arguments = parser.parse_args()
    hidden = tuple(map(int, arguments.hidden.split(",")))
    seeds, epochs, n_rival = ((1, 2), 1, 500) if arguments.quick else ((1, 2, 3, 4, 5), 5, 2_000)
    print_machine("scikit-learn")
    name, train, test = read_digits()
    train = train[: arguments.rows]
    kept = train.columns[train.nunique() > 1]
    train, test = train[kept], test[kept]
    X = standardised(train)
    measure(train, test, X, 100, 0, 0.01, hidden)  # compiles
    runs = [measure(train, test, X, n_rival, seed, epochs, hidden) for seed in seeds]
    print(f"{name}, {len(X):,} x {X.shape[1]}, hidden {list(hidden)}; epochs: {epochs}, seeds: {len(seeds)}.\n")
    lines = [figure(key, [run[key] for run in runs], **TARGETS.get(key, {})) for key in runs[0]]
    print_table(FIGURE, lines)


if __name__ == "__main__":
    main()
