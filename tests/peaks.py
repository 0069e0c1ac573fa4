"""Trainings whose peak of memory is measured, each in a process of its own."""

from __future__ import annotations

import os
import re
import warnings
from contextlib import redirect_stdout
from pathlib import Path
from typing import NamedTuple

import dask.dataframe as dd
import numpy as np
import pandas as pd
from scipy import sparse
from tables import UNSCORED

from dask_dl import DeepLearningClassifier, DeepLearningRegressor, storage

UNITS = {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9}
COMMON = UNSCORED | {"random_state": 1, "verbose": True}


def figures(line):
    """Bytes by name of a printed line."""
    parts = re.findall(r"([\d.,]+) (B|kB|MB|GB)(?: = | (?=[a-z]))?([a-z ]*)", line)
    return [(float(number.replace(",", "")) * UNITS[unit], name.strip()) for number, unit, name in parts]


class Peak(NamedTuple):
    """What a training printed and what it took, in bytes."""

    output: str
    line: str
    terms: dict[str, float]
    printed: float
    real: int


def measured(context, folder, training, *arguments):
    """Run a training in a process that a multiprocessing context makes: by "spawn", or by "forkserver" in less time."""
    place, is_fork = folder / "printed", context.get_start_method() == "forkserver"
    process = context.Process(target=_run, args=(training, arguments, place, is_fork))
    process.start()
    process.join(250)
    is_over = process.exitcode is not None
    process.kill()
    process.join()
    output = place.read_text() if place.exists() else ""
    assert is_over and process.exitcode == 0, output
    line = next(line for line in output.splitlines() if line.startswith("memory: at most"))
    terms = figures(line)
    return Peak(output, line, {name: n for n, name in terms}, terms[0][0], int(output.split("peak")[1]))


def _run(training, arguments, place, is_fork):
    with place.open("w") as file, redirect_stdout(file):
        training(*arguments)
        print("peak", taken(is_fork=is_fork))


def taken(*, is_fork):
    """Bytes that this process has taken at most, as if it had imported for itself."""
    peak = _memory("VmHWM")  # ru_maxrss would begin with the peak of the parent
    if is_fork:  # of the libraries, pages that only the process that was forked has touched count as well
        peak += max(0, _memory("RssFile", os.getppid()) - _memory("RssFile"))
    return peak


def _memory(name, process="self"):
    return int(re.search(rf"{name}:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())[1]) * 1024


def rows(folder, mode):
    """Numbers and levels in files, in windows of 8 MiB where rows are not in memory."""
    storage.MIN_WINDOW = storage.MAX_WINDOW = 8 * 2**20
    table = dd.read_parquet(folder)
    DeepLearningRegressor(hidden=(8,), epochs=1.5, storage=mode, **COMMON).fit(table, "y", eval_set=table)


def threads(n_jobs, way):
    """Many weights, of which threads have copies."""
    random = np.random.default_rng(0)
    table = pd.DataFrame(random.normal(size=(2500, 100)).astype("f4"), columns=[f"c{i}" for i in range(100)])
    table["y"] = table["c0"] + random.normal(size=2500)
    given = {"parallelism": way} if n_jobs > 1 else {}
    model = DeepLearningRegressor(hidden=(1500, 1000), epochs=0.1, n_jobs=n_jobs, score_training_samples=300, **COMMON)
    model.set_params(**given).fit(table, "y")


def levels(folder):
    """A column of distinct texts, with what takes most: the sum of the target of every one."""
    given = {"max_categorical_features": 1000, "epochs": 0.05, "score_training_samples": 1000, "n_jobs": 1}
    model = DeepLearningRegressor(hidden=(4,), categorical_encoding="sort_by_response", **given, **COMMON)
    model.fit(dd.read_parquet(folder), "y")


def sparse_columns():
    """A hundred thousand of them."""
    warnings.simplefilter("ignore")
    random, n, p, per_row = np.random.default_rng(0), 10_000, 100_000, 100
    indices = np.sort(random.integers(0, p, (n, per_row)), axis=1).ravel()
    X = sparse.csr_array((random.random(n * per_row), indices, np.arange(0, n * per_row + 1, per_row)), shape=(n, p))
    model = DeepLearningRegressor(hidden=(16,), epochs=0.5, n_jobs=1, **COMMON)
    model.fit(X, np.asarray(X.sum(axis=1)).ravel())


def wide(folder):
    """Files of so many columns that these weigh more than the rows."""
    table = dd.read_parquet(folder)
    DeepLearningRegressor(hidden=(10,), epochs=1, storage="memory", **COMMON).fit(table, "y")


def large(n_jobs):
    """A network that weighs more than its table."""
    random = np.random.default_rng(0)
    table = pd.DataFrame(random.standard_normal((300, 20)), columns=[f"c{i}" for i in range(20)])
    DeepLearningRegressor(hidden=(2000, 2000), epochs=1, n_jobs=n_jobs, **COMMON).fit(table, table["c0"])


def many_classes():
    """Outputs that weigh more than all else that scoring takes."""
    random = np.random.default_rng(0)
    table = pd.DataFrame(random.standard_normal((12_000, 4)), columns=list("abcd"))
    table["y"] = [f"class {i % 1000}" for i in range(len(table))]
    DeepLearningClassifier(hidden=(8,), epochs=0.05, n_jobs=1, **COMMON).fit(table, "y")


def peak_of(context, work, *arguments):
    """Bytes that a process takes which does nothing but `work`."""
    found = context.Queue()
    process = context.Process(target=_told, args=(work, arguments, found))
    process.start()
    try:
        return found.get(timeout=250)
    finally:
        process.join(10)
        process.kill()


def _told(work, arguments, found):
    work(*arguments)
    found.put(_memory("VmHWM"))


def evaluation(n_partitions):
    """An evaluation of partitions that are made as they are read, 8.4 MB each."""
    import dask

    def part(k):
        random = np.random.default_rng(k)
        table = pd.DataFrame(random.normal(size=(50_000, 20)), columns=[f"c{j}" for j in range(20)])
        return table.assign(y=np.where(table["c0"] + random.normal(size=len(table)) > 0, 1.0, 0.0))

    few = part(0)
    model = DeepLearningClassifier(hidden=(8,), epochs=0.1, n_jobs=1, **UNSCORED, random_state=1).fit(few, "y")
    with dask.config.set(scheduler="threads", num_workers=2):
        model.evaluate(dd.from_map(part, range(n_partitions), meta=few.iloc[:0]))
