"""Peak memory of a training on a folder of Parquet files, beside the formula that is printed before it starts.

5 million rows x 20 columns in 50 files, written to a temporary folder; hidden [32]; a fresh process trains. Exits 1 when a
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
WIDE_FILES, N_WIDE = 4, 400  #: and 1/25 of the rows: nothing but float32, in few large files
BYTES_PER_ROW = 150  #: on disk, generously; a wide row takes as much as 25 of them at most
UNITS = {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9}
CASES = ("regression", "classification", "wide")


def write_table(folder: Path, n_rows: int, case: str) -> None:
    """The files of a case; the target depends on some of the columns."""
    n_files, make = (WIDE_FILES, wide_rows) if case == "wide" else (N_FILES, mixed_rows)
    n_rows = n_rows // 25 if case == "wide" else n_rows
    for k, n in enumerate(np.diff(np.linspace(0, n_rows, n_files + 1).astype(int))):
        columns, y = make(np.random.default_rng([1, k]), n)
        columns["y"] = np.where(y > 1, "high", np.where(y > 0, "middle", "low")) if case == "classification" else y
        pd.DataFrame(columns).to_parquet(folder / f"part-{k:03}.parquet", index=False)


def mixed_rows(random: np.random.Generator, n: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    columns = {f"f{j}": random.standard_normal(n, np.float32) for j in range(N_FLOAT32)}
    columns |= {f"d{j}": random.exponential(1 + j, n) for j in range(N_FLOAT64)}
    codes = [random.integers(0, n_levels, n) for n_levels in LEVELS]
    for j, code in enumerate(codes):
        columns[f"c{j}"] = np.array([f"level {i}" for i in range(LEVELS[j])], dtype=object)[code]
    return columns, columns["f0"] + 0.1 * columns["d3"] + np.sin(codes[1]) + random.normal(0, 0.5, n)


def wide_rows(random: np.random.Generator, n: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    columns = {f"f{j}": random.standard_normal(n, np.float32) for j in range(N_WIDE)}
    return columns, columns["f0"] + random.normal(0, 0.5, n)


def train(folder: str, case: str, epochs: float) -> None:
    """Run by the fresh process: prints the formula, then a JSON line of what came out."""
    import dask.dataframe as dd

    from dask_dl import DeepLearningClassifier, DeepLearningRegressor

    estimator = DeepLearningClassifier if case == "classification" else DeepLearningRegressor
    model = estimator(hidden=(32,), epochs=epochs, random_state=1, verbose=True, **ALL_EPOCHS)
    began = time.perf_counter()
    model.fit(dd.read_parquet(folder), "y")
    seconds = time.perf_counter() - began
    # VmHWM and not getrusage's ru_maxrss: the latter begins with the peak of the process that started this one.
    peak = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())[1]
    print(
        json.dumps({"peak": int(peak) * 1024, "seconds": seconds, "speed": model.history_["training_speed"].iloc[-1]})
    )


def measure(folder: Path, case: str, epochs: float) -> dict[str, float]:
    """What the fresh process reports, and the peak that the formula promises."""
    command = [sys.executable, __file__, "--train", str(folder), "--case", case, "--epochs", str(epochs)]
    lines = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    formula = next(line for line in lines if line.startswith("memory: at most"))
    print(f"    {case}: {formula}")
    number, unit = re.match(r"memory: at most ([\d.,]+) (\w+)", formula).groups()
    return json.loads(lines[-1]) | {"formula": float(number.replace(",", "")) * UNITS[unit]}


def main() -> int:
    parser = options(__doc__)
    parser.add_argument("--rows", type=int, help="default: 5,000,000; 200,000 with --quick")
    parser.add_argument("--epochs", type=float, default=1.2, help="over 1 draws a second visiting order (default: 1.2)")
    parser.add_argument("--case", choices=CASES, help="default: each in turn; `wide` has 400 columns, 1/25 of the rows")
    parser.add_argument("--train", metavar="FOLDER", help="train in this process on a folder made earlier")
    arguments = parser.parse_args()
    if arguments.train:
        train(arguments.train, arguments.case, arguments.epochs)
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
    for case in [arguments.case] if arguments.case else CASES:
        with tempfile.TemporaryDirectory() as folder:
            write_table(Path(folder), n_rows, case)
            found[case] = measure(Path(folder), case, arguments.epochs)
    print()
    print_table(
        [f"case, {n_rows:,} rows", "formula, MB", "real peak, MB", "real / formula", "seconds", "rows/s in the loop"],
        [
            (case, f"{run['formula'] / 1e6:,.0f}", f"{run['peak'] / 1e6:,.0f}", f"{run['peak'] / run['formula']:.2f}",
             f"{run['seconds']:.0f}", f"{run['speed']:,.0f}")
            for case, run in found.items()
        ],
    )  # fmt: skip
    return 1 if any(run["peak"] > run["formula"] for run in found.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
