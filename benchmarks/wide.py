"""What a row costs by the width of the table it comes from: levels of a category, columns of a sparse matrix.

One category whose rows are uniformly random over 100 to 100,000 levels, which is where caches help least, and rows of 100
entries in 100 to 100,000 columns; ADADELTA, one row per step, one thread and two with working copies, all in turn.
"""

from __future__ import annotations

import time
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from common import FIGURE, figure, options, print_machine, print_table

from dask_dl.kernels.initial import initial_biases
from dask_dl.kernels.layout import Topology
from dask_dl.kernels.losses import CROSS_ENTROPY, Objective
from dask_dl.kernels.optimizers import ADADELTA, Optimizer
from dask_dl.node.parallelism import Parallelism, rows_between
from dask_dl.node.replica import NOTHING, Replica
from dask_dl.state import Entries, Rows, aligned_zeros

if TYPE_CHECKING:
    from collections.abc import Callable

SETTINGS = Optimizer(ADADELTA, 0.99, 1e-8, 0.005, 1e-6, 1.0, 0.0, 1e6, 0.0, True, True)
LEVELS = (100, 1_000, 10_000, 100_000)
COLUMNS, N_ENTRIES = (100, 100_000), 100
#: Times the time per row at 100 levels, at hidden [200].
TARGET = 1.5


class Case(NamedTuple):
    """A table of some width, a network, and the threads that train it."""

    kind: str  #: "levels" or "entries"
    width: int
    hidden: tuple[int, ...]
    n_threads: int

    def __str__(self) -> str:
        return f"{self.width:,} {self.kind}, {list(self.hidden)}, {self.n_threads} thread{'s' * (self.n_threads > 1)}"


def table(kind: str, width: int, n: int) -> Rows:
    """Rows of one level each, or of entries in columns of their own."""
    random = np.random.default_rng(width)
    dense, target = np.zeros((n, 0), np.float32), random.integers(2, size=n).astype(np.float32)
    if kind == "levels":
        return Rows(dense, random.integers(width, size=(n, 1)).astype(np.int32), target, NOTHING, NOTHING)
    begin = np.arange(n, dtype=np.int64) * N_ENTRIES
    # One column in each hundredth: distinct and ascending, without a permutation of all columns for each row.
    part = width // N_ENTRIES
    slot = np.arange(N_ENTRIES) * part + random.integers(part, size=(n, N_ENTRIES))
    value = random.normal(size=n * N_ENTRIES).astype(np.float32)
    entries = Entries(begin, np.full(n, N_ENTRIES, np.int32), slot.ravel().astype(np.int32), value)
    return Rows(dense, np.zeros((n, 0), np.int32), target, NOTHING, NOTHING, entries=entries)


def learner(case: Case) -> Replica:
    n_sparse = case.width if case.kind == "entries" else 0
    topology = Topology(case.width, 0, case.hidden, 2, "rectifier", "softmax", n_sparse=n_sparse)
    flat, random = aligned_zeros(topology.size), np.random.default_rng(1)
    for start in range(0, topology.size, 2**20):  # not by `initial_weights`, whose float64 numbers take minutes here
        part = flat[start : start + 2**20]
        part[:] = random.uniform(-0.1, 0.1, len(part))
    weights, _ = topology.unpack(flat)
    flat = topology.pack(weights, initial_biases(topology))
    way = "one thread" if case.n_threads == 1 else "staleness"
    threads = Parallelism(way, case.n_threads, rows_between(SETTINGS, case.n_threads), "as the benchmark asks")
    return Replica(topology, SETTINGS, Objective(CROSS_ENTROPY), flat, parallelism=threads)


def seconds_of(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def measure(kind: str, widths: tuple[int, ...], hidden: tuple[int, ...], n: int, n_rounds: int) -> dict[Case, list]:
    """Microseconds per row of every case, a time for each round; all in turn."""
    found: dict[Case, list] = {}
    for n_threads in (1, 2):
        cases = [Case(kind, width, hidden, n_threads) for width in widths]
        trained = [(case, learner(case), table(kind, case.width, n)) for case in cases]
        for _, replica, rows in trained:
            replica.train(rows)  # compiles, and every page is touched
        for _ in range(n_rounds):
            for case, replica, rows in trained:
                found.setdefault(case, []).append(1e6 * seconds_of(lambda r=replica, rows=rows: r.train(rows)) / n)
    return found


def main() -> None:
    arguments = options(__doc__).parse_args()
    n_rounds, n_levels, n_entries = (5, 20_000, 500) if arguments.quick else (11, 100_000, 2_000)
    print_machine()
    times, lines = {}, []
    for hidden in ((200,), (200, 200)):
        times |= measure("levels", LEVELS, hidden, n_levels, n_rounds)
    times |= measure("entries", COLUMNS, (200,), n_entries, n_rounds)
    print_table(
        ["case", "us per row, median", "times the narrowest"],
        [
            (case, f"{median(taken):.3g}", f"{median(taken) / median(times[case._replace(width=100)]):.2f}")
            for case, taken in times.items()
        ],
    )
    print()
    for case, taken in times.items():
        if case.width == 100_000:
            growth = [a / b for a, b in zip(taken, times[case._replace(width=100)], strict=True)]
            asked = {"max_value": TARGET} if case.kind == "levels" and case.hidden == (200,) else {}
            lines.append(figure(f"{case}, times 100", growth, **asked))
    print_table(FIGURE, lines)


if __name__ == "__main__":
    main()
