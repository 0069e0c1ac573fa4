"""What all benchmarks share: the first line, the table, the folder of real tables, and settings."""

from __future__ import annotations

import argparse
import os
import platform
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: Train the epochs asked for and keep what comes out: no stopping, no going back to an earlier model.
ALL_EPOCHS = {
    "stopping_rounds": 0,
    "overwrite_with_best_model": False,
    "classification_stop": -1,
    "regression_stop": -1,
}


def options(doc: str) -> argparse.ArgumentParser:
    """A parser of the options that every benchmark has."""
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("--quick", action="store_true", help="fewer rows and repetitions, to see that it works")
    return parser


def print_machine(*packages: str) -> None:
    """The line without which a figure means nothing."""
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    cpu = names[0].partition(":")[2].strip() if names else platform.machine()
    versions = ", ".join(f"{name} {version(name)}" for name in ("dask_dl", "numba", "numpy", *packages))
    print(f"{platform.system()}, {os.cpu_count()} cores of {cpu}, Python {platform.python_version()}, {versions}\n")


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table in Markdown."""
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for row in rows:
        print(f"| {' | '.join(map(str, row))} |")


#: Columns of a table of `figure`.
FIGURE = ("figure", "median", "range", "target", "reached")


def figure(
    name: str, values: Sequence[float], *, max_value: float | None = None, min_value: float | None = None
) -> tuple[str, ...]:
    """A line of a table: what was measured several times, and whether the median reaches the target, if there is one."""
    middle, target, reached = median(values), "", ""
    if max_value is not None:
        target, reached = f"<= {max_value:g}", "yes" if middle <= max_value else "NO"
    if min_value is not None:
        target, reached = f">= {min_value:g}", "yes" if middle >= min_value else "NO"
    return name, _shown(middle), f"{_shown(min(values))} to {_shown(max(values))}", target, reached


def _shown(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def real_tables() -> Path | None:
    """The folder that DASK_DL_DATA names; None, and a line that says so, without it."""
    folder = os.environ.get("DASK_DL_DATA")
    if folder and Path(folder).is_dir():
        return Path(folder)
    print("No real tables: DASK_DL_DATA names no folder.\n")
    return None
