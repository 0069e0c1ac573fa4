"""Rows a second of `predict`: [200, 200] on covtype, repeated, a pandas frame of 54 int64 columns, in one and in two threads.

Beside it, on the same rows: scikit-learn's `MLPClassifier` of the same size, on float64 as its own scaler gives it; the same
layers in PyTorch, from the frame to the classes; and H2O (`pip install -e '.[rivals]'`; Java 8 to 17), from the frame to the
frame of answers (of a twentieth of the rows: it reads them as CSV), and of rows that it already holds. All take turns. On a
busy machine the fastest run says what the code takes, and the median what it took.

`--part evaluate`: a whole table, which is made partition by partition as it is read, so that nothing but partitions is ever in
memory. The time to make it is in all speeds, and is told; seconds and the peak of memory are those of a process that does
nothing else. Then the AUC of as many scores, from their distribution in bounded memory, beside scikit-learn's.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import tempfile
import time
import warnings
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
from common import ALL_EPOCHS, options, print_machine, print_table, real_tables
from real import TABLES
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import roc_auc_score
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from dask_dl import DeepLearningClassifier
from dask_dl.metrics.scores import ScoreDistribution
from dask_dl.metrics.thresholds import Curve

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

HIDDEN = (200, 200)
#: Rows a second of two threads.
TARGET = 500_000
#: H2O's way from a frame to a frame, which takes a part of the rows only.
WHOLE, PART = "H2O, pandas to pandas", 20
#: The table that is evaluated; threads that work on its partitions.
N_COLUMNS, ROWS_PER_PARTITION, N_THREADS = 20, 250_000, 2
#: Speed of `evaluate` over that of `predict`, at least; distance of the AUC from the exact one, at most.
SHARE, DISTANCE = 0.5, 1e-4
Ways = dict[tuple[str, int], "Callable[[], Any]"]


def tables(n_rows: int) -> tuple[pd.DataFrame, pd.Series]:
    """Rows of covtype with their classes; random ones of the same shape without real tables."""
    folder = real_tables()
    if folder is None:
        random = np.random.default_rng(0)
        rows = pd.DataFrame(random.integers(0, 256, (20_000, 54)), columns=[f"c{k}" for k in range(54)])
        classes = pd.Series(random.integers(1, 8, len(rows)).astype(str), name="c54")
    else:
        table, target = TABLES["covtype"](folder)
        rows, classes = table.drop(columns=target), table[target]
    places = np.arange(n_rows) % len(rows)
    return rows.iloc[places].reset_index(drop=True), classes.iloc[places].reset_index(drop=True)


def ours(X: pd.DataFrame, y: pd.Series, few: int, threads: list[int]) -> Ways:
    model = DeepLearningClassifier(hidden=HIDDEN, epochs=1, random_state=1, **ALL_EPOCHS).fit(X[:few], y[:few])
    array = X.to_numpy(np.float32)

    def predict(table: Any, n: int) -> Any:
        return model.set_params(n_jobs=n).predict(table)

    answers = [predict(X, n) for n in threads]
    assert all((answer == answers[0]).all() for answer in answers), "the answer depends on the number of threads"
    model.set_params(n_jobs=1)
    return {
        **{("dask_dl, pandas", n): lambda n=n: predict(X, n) for n in threads},
        **{("dask_dl, float32 array", n): lambda n=n: predict(array, n) for n in threads},
    }


def of_scikit_learn(X: pd.DataFrame, y: pd.Series, few: int, threads: list[int]) -> Ways:
    model = make_pipeline(StandardScaler(), MLPClassifier(HIDDEN, max_iter=1, random_state=1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X[:few], y[:few])

    def predict(n: int) -> Any:
        with threadpool_limits(n):
            return model.predict(X)

    return {("scikit-learn, pandas", n): lambda n=n: predict(n) for n in threads}


def of_torch(X: pd.DataFrame, threads: list[int]) -> Ways:
    import torch

    sizes = [X.shape[1], *HIDDEN]
    layers = [layer for a, b in zip(sizes, HIDDEN, strict=False) for layer in (torch.nn.Linear(a, b), torch.nn.ReLU())]
    model = torch.nn.Sequential(*layers, torch.nn.Linear(HIDDEN[-1], 7))

    def predict(n: int) -> Any:
        torch.set_num_threads(n)
        with torch.inference_mode():
            parts = torch.from_numpy(X.to_numpy(np.float32)).split(8192)
            return np.concatenate([model(part).argmax(1).numpy() for part in parts])

    return {("PyTorch, pandas", n): lambda n=n: predict(n) for n in threads}


def of_h2o(X: pd.DataFrame, y: pd.Series, few: int, n_threads: int, stack: ExitStack) -> Ways:
    import h2o
    from h2o.estimators import H2ODeepLearningEstimator

    place = stack.enter_context(tempfile.TemporaryDirectory())
    h2o.init(nthreads=n_threads, max_mem_size="4G", ice_root=place, log_dir=place)
    stack.callback(lambda: h2o.cluster().shutdown())
    h2o.no_progress()
    train = h2o.H2OFrame(X[:few].assign(y=y[:few]))
    train["y"] = train["y"].asfactor()
    model = H2ODeepLearningEstimator(hidden=list(HIDDEN), epochs=1, seed=1)
    model.train(y="y", training_frame=train)
    some = X[: len(X) // PART]
    held = h2o.H2OFrame(some)
    held = held.rbind([held] * (PART - 1))

    def whole() -> Any:
        frame = h2o.H2OFrame(some)
        answers = model.predict(frame)
        found = answers.as_data_frame()
        h2o.remove([frame, answers])
        return found

    return {
        (WHOLE, n_threads): whole,
        ("H2O, rows and answers in H2O", n_threads): lambda: model.predict(held),
    }


def predictions(arguments: argparse.Namespace) -> None:
    """Train each a little, then time the predictions."""
    n_rows, n_turns, few = (40_000, 2, 2_000) if arguments.quick else (400_000, 5, 20_000)
    X, y = tables(n_rows)
    with ExitStack() as stack:
        ways = ours(X, y, few, arguments.threads) | of_scikit_learn(X, y, few, arguments.threads)
        for name, more in (
            ("PyTorch", lambda: of_torch(X, arguments.threads)),
            ("H2O", lambda: of_h2o(X, y, few, arguments.threads[-1], stack)),
        ):
            try:
                ways |= more()
            except ImportError:
                print(f"{name} is not installed.\n")
        seconds: dict[tuple[str, int], list[float]] = {way: [] for way in ways}
        loads = [os.getloadavg()[0]]
        for _ in range(n_turns):
            for way, predict in ways.items():
                began = time.perf_counter()
                predict()
                seconds[way].append(time.perf_counter() - began)
            loads.append(os.getloadavg()[0])
    print(f"{n_rows:,} rows, {n_turns} turns; load average {min(loads):.1f} to {max(loads):.1f}\n")
    lines = []
    for (name, n), took in seconds.items():
        n_predicted = n_rows // PART if name == WHOLE else n_rows
        fastest = n_predicted / min(took)
        wanted = (name, n) == ("dask_dl, pandas", 2)
        reached = f">= {TARGET:,}: {'yes' if fastest >= TARGET else 'NO'}" if wanted else ""
        lines.append((name, n, f"{fastest:,.0f}", f"{n_predicted / median(took):,.0f}", reached))
    print_table(("predict", "threads", "rows/s, fastest", "median", "target"), lines)


def part_of(k: int, n: int) -> pd.DataFrame:
    """Partition k, of n rows: numbers, and a label that follows from some of them with noise."""
    random = np.random.default_rng(k)
    X = random.standard_normal((n, N_COLUMNS), dtype=np.float32)
    score = X[:, 0] - X[:, 1] * X[:, 2] + random.standard_normal(n, dtype=np.float32)
    return pd.DataFrame(X, columns=[f"c{j}" for j in range(N_COLUMNS)]).assign(y=np.where(score > 1, "yes", "no"))


def table_of(n_partitions: int) -> dd.DataFrame:
    """The table, lazily."""
    return dd.from_map(part_of, range(n_partitions), n=ROWS_PER_PARTITION, meta=part_of(0, 1))


def fitted() -> DeepLearningClassifier:
    """A network that is not worth much: how fast it answers depends on its size only."""
    return DeepLearningClassifier(hidden=(200, 200), epochs=1, random_state=1).fit(part_of(-1 % 2**32, 20_000), "y")


def peak() -> int:
    """Bytes that this process has taken at most."""
    return int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024


def work(how: str, n_partitions: int, found: multiprocessing.Queue[tuple[float, int]]) -> None:
    """Read, predict or evaluate the table in this process, and tell seconds and the peak."""
    model, table = fitted(), table_of(n_partitions)
    with dask.config.set(scheduler="threads", num_workers=N_THREADS):
        model.evaluate(table_of(1))  # compiles, or reads what was compiled
        began = time.perf_counter()
        if how == "read":
            table.map_partitions(len, meta=(None, "int64")).compute()
        elif how == "predict":  # as a file would be written: nothing is kept
            model.predict_proba(table).map_partitions(lambda part: part.sum().to_frame().T).compute()
        else:
            model.evaluate(table)
    found.put((time.perf_counter() - began, peak()))


def measured(how: str, n_partitions: int) -> tuple[float, int]:
    """Seconds and peak of a process that does nothing else."""
    context = multiprocessing.get_context("spawn")
    found = context.Queue()
    process = context.Process(target=work, args=(how, n_partitions, found))
    process.start()
    result = found.get()
    process.join()
    return result


def evaluation(n_rows: int) -> None:
    """Seconds, speed and peak of a table of n_rows, and of one of a tenth of it."""
    n = n_rows // ROWS_PER_PARTITION
    rows, speeds = [], {}
    for how, parts in (("read", n), ("predict", n), ("evaluate", max(1, n // 10)), ("evaluate", n)):
        seconds, taken = measured(how, parts)
        speeds[how] = parts * ROWS_PER_PARTITION / seconds
        rows.append(
            (how, f"{parts * ROWS_PER_PARTITION:,}", f"{seconds:.1f}", f"{speeds[how]:,.0f}", f"{taken / 1e6:,.0f} MB")
        )
    print_table((f"{N_COLUMNS} columns, [200, 200]", "rows", "seconds", "rows/s", "peak"), rows)
    share = speeds["evaluate"] / speeds["predict"]
    print(f"\nevaluate over predict: {share:.2f}; target >= {SHARE}: {'yes' if share >= SHARE else 'NO'}\n")


def area(n_rows: int) -> None:
    """AUC of so many scores from their distribution in bounded memory, merged over parts, beside the exact one."""
    rows = []
    for name, a, b in (("beta(2, 3)", 2, 3), ("near 0", 0.05, 5), ("near 0 and 1", 0.05, 0.05)):
        random = np.random.default_rng(0)
        scores = random.beta(a, b, n_rows).astype(np.float32)
        labels = (random.random(n_rows) < 0.1 + 0.8 * scores).astype(np.int64)
        began = time.perf_counter()
        found = None
        for lo in range(0, n_rows, ROWS_PER_PARTITION):
            part = slice(lo, lo + ROWS_PER_PARTITION)
            one = ScoreDistribution.of(scores[part], labels[part], None)
            found = one if found is None else found.merge(one)
        curve = Curve.of(found)
        seconds, began = time.perf_counter() - began, time.perf_counter()
        exact = roc_auc_score(labels, scores)
        distance = abs(curve.auc - exact)
        rows.append((
            name, f"{exact:.8f}", f"{distance:.1e}", f"{curve.auc_error:.1e}", f"<= {DISTANCE:g}",
            "yes" if distance <= DISTANCE else "NO", f"{seconds:.1f}", f"{time.perf_counter() - began:.1f}",
        ))  # fmt: skip
    head = ("exact AUC", "distance", "its bound", "target", "reached", "seconds", "of scikit-learn")
    print_table((f"{n_rows:,} scores", *head), rows)


def draw(path: Path) -> None:
    """The picture of docs/guide/evaluate.md: curves of a small network on 500 rows."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "dask_dl"
    from matplotlib import pyplot as plt

    model = DeepLearningClassifier(hidden=(20, 20), epochs=5, random_state=1, n_jobs=1).fit(part_of(1, 4_000), "y")
    worth = model.evaluate(part_of(2, 500))
    figure, axes = plt.subplots(1, 4, figsize=(15, 3.6), layout="constrained", width_ratios=(1, 1, 1.3, 1))
    plots = (worth.plot_roc, worth.plot_pr, worth.plot_thresholds, worth.plot_calibration)
    for plot, ax in zip(plots, axes, strict=True):
        plot(ax)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def main() -> None:
    """Measure the parts that are asked for."""
    parser = options(__doc__)
    parser.add_argument(
        "--threads", type=int, nargs="+", default=[1, 2], help="numbers of threads (1 2); H2O: the last"
    )
    parser.add_argument("--part", choices=("all", "predict", "evaluate"), default="all", help="what is measured (all)")
    parser.add_argument("--rows", type=int, default=10_000_000, help="rows of the table that is evaluated")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the picture of the guide, and nothing else")
    arguments = parser.parse_args()
    if arguments.plot:
        draw(arguments.plot)
        return
    print_machine("scikit-learn", "pandas", "dask")
    if arguments.part != "evaluate":
        predictions(arguments)
    if arguments.part != "predict":
        n_rows = 2 * ROWS_PER_PARTITION if arguments.quick else arguments.rows
        evaluation(n_rows)
        area(n_rows)


if __name__ == "__main__":
    main()
