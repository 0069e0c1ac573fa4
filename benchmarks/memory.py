"""Peak memory of a training on a folder of Parquet files, beside the formula that is printed before it starts.

5 million rows x 20 columns in 50 files, written to a temporary folder; hidden [32]; a fresh process trains. Exits 1 when the
real peak is above the formula.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from common import ALL_EPOCHS, options, print_machine, print_table

N_FILES = 50
N_FLOAT32, N_FLOAT64 = 8, 7
LEVELS = (10, 50, 200, 1_000)  #: of the categorical columns; with the target there are 20 columns
BYTES_PER_ROW = 150  #: on disk, generously
UNITS = {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9}


def write_table(folder: Path, n_rows: int, task: str) -> None:
    """A table of numbers and texts in N_FILES files; the target depends on some of both."""
    for k, n in enumerate(np.diff(np.linspace(0, n_rows, N_FILES + 1).astype(int))):
        random = np.random.default_rng([1, k])
        columns = {f"f{j}": random.standard_normal(n, np.float32) for j in range(N_FLOAT32)}
        columns |= {f"d{j}": random.exponential(1 + j, n) for j in range(N_FLOAT64)}
        codes = [random.integers(0, n_levels, n) for n_levels in LEVELS]
        for j, code in enumerate(codes):
            columns[f"c{j}"] = np.array([f"level {i}" for i in range(LEVELS[j])], dtype=object)[code]
        y = columns["f0"] + 0.1 * columns["d3"] + np.sin(codes[1]) + random.normal(0, 0.5, n)
        columns["y"] = y if task == "regression" else np.where(y > 1, "high", np.where(y > 0, "middle", "low"))
        pd.DataFrame(columns).to_parquet(folder / f"part-{k:03}.parquet", index=False)


def train(folder: str, task: str, epochs: float) -> None:
    """Run by the fresh process: prints the formula, then a JSON line of what came out."""
    import dask.dataframe as dd

    from dask_dl import DeepLearningClassifier, DeepLearningRegressor

    estimator = DeepLearningRegressor if task == "regression" else DeepLearningClassifier
    model = estimator(hidden=(32,), epochs=epochs, random_state=1, verbose=True, **ALL_EPOCHS)
    began = time.perf_counter()
    model.fit(dd.read_parquet(folder), "y")
    seconds = time.perf_counter() - began
    # VmHWM and not getrusage's ru_maxrss: the latter begins with the peak of the process that started this one.
    peak = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())[1]
    print(
        json.dumps({"peak": int(peak) * 1024, "seconds": seconds, "speed": model.history_["training_speed"].iloc[-1]})
    )


def measure(folder: Path, task: str, epochs: float) -> dict[str, float]:
    """What the fresh process reports, and the peak that the formula promises."""
    command = [sys.executable, __file__, "--train", str(folder), "--task", task, "--epochs", str(epochs)]
    lines = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    formula = next(line for line in lines if line.startswith("memory: at most"))
    print(f"    {formula}")
    number, unit = re.match(r"memory: at most ([\d.,]+) (\w+)", formula).groups()
    return json.loads(lines[-1]) | {"formula": float(number.replace(",", "")) * UNITS[unit]}


def main() -> int:
    parser = options(__doc__)
    parser.add_argument("--rows", type=int, help="default: 5,000,000; 200,000 with --quick")
    parser.add_argument(
        "--epochs", type=float, default=1.2, help="more than 1 draws a second visiting order (default: 1.2)"
    )
    parser.add_argument("--task", choices=("regression", "classification"), help="default: both")
    parser.add_argument("--train", metavar="FOLDER", help="train in this process on a folder made earlier")
    arguments = parser.parse_args()
    if arguments.train:
        train(arguments.train, arguments.task, arguments.epochs)
        return 0
    n_rows = arguments.rows or (200_000 if arguments.quick else 5_000_000)
    print_machine("dask", "pandas", "pyarrow", "scikit-learn")
    need, free = n_rows * BYTES_PER_ROW, shutil.disk_usage(tempfile.gettempdir()).free
    if free < 2 * need:
        print(
            f"{free / 1e9:.1f} GB are free in {tempfile.gettempdir()}, {2 * need / 1e9:.1f} GB are wanted: use fewer --rows."
        )
        return 2
    found = {}
    for task in [arguments.task] if arguments.task else ["regression", "classification"]:
        with tempfile.TemporaryDirectory() as folder:
            write_table(Path(folder), n_rows, task)
            found[task] = measure(Path(folder), task, arguments.epochs)
    print()
    print_table(
        [f"{n_rows:,} rows x 20 columns", "formula, MB", "real peak, MB", "real / formula", "seconds", "rows/s in the loop"],
        [
            (task, f"{run['formula'] / 1e6:,.0f}", f"{run['peak'] / 1e6:,.0f}", f"{run['peak'] / run['formula']:.2f}",
             f"{run['seconds']:.0f}", f"{run['speed']:,.0f}")
            for task, run in found.items()
        ],
    )  # fmt: skip
    return 1 if any(run["peak"] > run["formula"] for run in found.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
