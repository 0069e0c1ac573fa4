"""Two threads, or more, on one network: every way to share it, epoch by epoch in turn, so that a busy minute meets them all.

MNIST (digits of the demo without real tables) and a generated table of 3 columns x 1,000 levels, ADADELTA, one row per
step. `--picture FILE` draws rows/s and loss against threads; the losses of 4 to 16 threads come from a serial replay.
"""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numpy as np
from common import options, print_machine, print_table
from rows import read_digits, standardised

from dask_dl.jit import entry
from dask_dl.kernels.denormals import flushed
from dask_dl.kernels.initial import initial_biases, initial_weights
from dask_dl.kernels.layout import BIASES, N_OUT, STRIDE, WEIGHTS, Topology
from dask_dl.kernels.losses import CROSS_ENTROPY, Objective
from dask_dl.kernels.network import Buffers, Queue, train_rows
from dask_dl.kernels.optimizers import ADADELTA, Optimizer
from dask_dl.kernels.team import DONE, NEXT
from dask_dl.kernels.weights import Weights, WorkingCopy, exchange
from dask_dl.node.parallelism import Parallelism, rows_between
from dask_dl.node.replica import NO_COPY, NOTHING, Replica, predict
from dask_dl.node.threads import run_threads
from dask_dl.state import Rows, aligned_zeros, padded

exchange_once = entry(exchange.py_func)

if TYPE_CHECKING:
    from collections.abc import Callable

SETTINGS = Optimizer(ADADELTA, 0.99, 1e-8, 0.005, 1e-6, 1.0, 0.0, 1e6, 0.0, True, True)
NEVER, HOGWILD, STALENESS, LOCKS, TEAM = (
    "never exchange", "plain Hogwild", "staleness", "staleness, locks", "team",
)  # fmt: skip


@dataclass
class Case:
    """One network on one table, and what is asked of the ways to train it."""

    name: str
    topology: Topology
    train: Rows
    test: Rows
    targets: dict[str, tuple[str, float]] = field(default_factory=dict)  #: way: (rival, times its rows/s at least)


def packed(X, y, active=None) -> Rows:
    dense = aligned_zeros(len(X) * padded(X.shape[1])).reshape(len(X), -1)
    dense[:, : X.shape[1]] = X
    levels = np.zeros((len(X), 0), np.int32) if active is None else active.astype(np.int32)
    return Rows(dense, levels, np.asarray(y, np.float32), NOTHING, NOTHING)


def cases(quick: bool) -> list[Case]:
    name, train, test = read_digits()
    pixels = standardised(train)
    scale = [column.to_numpy(float) for _, column in train.drop(columns="digit").items()]
    mean, deviation = np.array([c.mean() for c in scale]), np.array([c.std(ddof=1) for c in scale])
    held = ((test.drop(columns="digit").to_numpy(float) - mean) / deviation).astype(np.float32)
    digits = packed(pixels, train["digit"].astype(int)), packed(held, test["digit"].astype(int))

    def mnist(hidden, n, targets):
        rows = digits[0].take(slice(n // 4 if quick else n))
        return Case(
            f"{name} {list(hidden)}",
            Topology(0, pixels.shape[1], hidden, 10, "rectifier", "softmax"),
            rows,
            digits[1],
            targets,
        )

    return [
        mnist(
            (200, 200),
            8_000,
            {STALENESS: (NEVER, 0.95), STALENESS + " ": ("one thread", 1.5), TEAM: ("one thread", 1.5)},
        ),
        mnist((50, 50), 8_000, {STALENESS: ("one thread", 1.4)}),
        mnist((1024, 1024), 1_000, {TEAM: (STALENESS, 1.0)}),
        levels(10_000 if quick else 40_000),
    ]


def levels(n: int) -> Case:
    random = np.random.default_rng(7)
    active, numbers = random.integers(1000, size=(n * 5 // 4, 3)), random.normal(size=(n * 5 // 4, 2))
    effects = random.normal(size=(3, 1000))
    score = sum(effects[c, active[:, c]] for c in range(3)) + numbers[:, 0] / 2
    y = random.random(len(score)) < 1 / (1 + np.exp(-score))
    rows = packed(numbers, y, active + np.arange(3) * 1000)
    topology = Topology(3000, 2, (64, 64), 2, "rectifier", "softmax")
    name = "3 columns x 1,000 levels [64, 64]"
    return Case(name, topology, rows.take(slice(n)), rows.take(slice(n, None)), {STALENESS: ("one thread", 1.4)})


def replica(topology: Topology, parallelism: Parallelism, seed: int = 0) -> Replica:
    flat = topology.pack(initial_weights(topology, "uniform_adaptive", 1.0, seed), initial_biases(topology))
    return Replica(topology, SETTINGS, Objective(CROSS_ENTROPY), flat, parallelism=parallelism)


def ways(topology: Topology, n: int) -> dict[str, tuple[Replica, Callable[[Replica, Rows], object]]]:
    """A replica for every way, and how it trains."""

    def made(way: str) -> Replica:
        return replica(topology, Parallelism(way, n, rows_between(SETTINGS, n), "benchmark"))

    never, hogwild, locked = made("staleness"), made("staleness"), made("staleness")
    never.contexts = [context._replace(copy=NO_COPY) for context in never.contexts]
    hogwild.contexts = [
        context._replace(dense=hogwild._dense, copy=NO_COPY)  # noqa: SLF001  # a rival built of our parts
        for context in hogwild.contexts
    ]
    return {
        NEVER: (never, Replica.train),
        HOGWILD: (hogwild, Replica.train),
        STALENESS: (made("staleness"), Replica.train),
        LOCKS: (locked, train_with_locks),
        TEAM: (made("team"), Replica.train),
    }


def train_with_locks(trained: Replica, rows: Rows) -> None:
    """The rival of the exchange inside the kernel: K rows a call, then every layer's slice under a lock of its own."""
    slices = []
    for k, layer in enumerate(trained.topology.network.layers):
        levels_first = k == 0 and trained.topology.n_onehot
        stop = layer[WEIGHTS] + layer[N_OUT] * layer[STRIDE]
        slices.append(
            slice(int(layer[WEIGHTS]), int(stop if levels_first else layer[BIASES] + padded(int(layer[N_OUT]))))
        )
    locks = [threading.Lock() for _ in slices]
    trained.control[:] = 0
    interval, network = trained.parallelism.interval, trained.topology.network
    queue, taking = iter(range(0, rows.n, interval)), threading.Lock()

    def work(rank: int) -> None:
        context = trained.contexts[rank]
        control = np.zeros_like(trained.control)
        team = context.team._replace(control=control)
        trained.refresh(rank)
        n_active = rows.active.shape[1]
        buffers = Buffers(np.zeros(n_active, np.int32), np.zeros(n_active, np.float32), context.scratch)
        weights = Weights(trained._onehot, context.dense)  # noqa: SLF001  # as above
        with flushed():
            while True:
                with taking:
                    lo = next(queue, None)
                if lo is None:
                    return
                control[NEXT] = lo
                given = Queue(min(lo + interval, rows.n), interval, trained.n_seen)
                train_rows(rows, given, network, trained.objective, SETTINGS, weights, team, NO_COPY, buffers)
                for k in range(len(slices)):
                    part = (k + rank) % len(slices)
                    with locks[part]:
                        copy = WorkingCopy(context.copy.shared[slices[part]], context.copy.base[slices[part]], 0)
                        exchange_once(copy, context.dense.weights[slices[part]])
                trained.control[DONE] += control[DONE]

    run_threads(len(trained.contexts), work, trained.control)
    trained.n_seen += rows.n


def loss(trained: Replica, rows: Rows) -> float:
    out = predict(trained.topology, trained.flat, rows)
    return float(-np.log(np.maximum(out[np.arange(rows.n), rows.target.astype(int)], 1e-15)).mean())


def measure(case: Case, n_threads: int, epochs: int) -> dict[str, tuple[float, float]]:
    """(median rows/s, test loss at the end) of every way."""
    alone = replica(case.topology, Parallelism("one thread", 1, 64, "benchmark"))
    rivals = {"one thread": (alone, Replica.train), **ways(case.topology, n_threads)}
    for trained, train in rivals.values():
        train(trained, case.train.take(slice(64)))  # compiles, and wakes memory
    speeds: dict[str, list[float]] = {name: [] for name in rivals}
    for epoch in range(epochs):
        rows = case.train.take(np.random.default_rng(epoch).permutation(case.train.n))
        names = [*rivals]
        for name in names[epoch % len(names) :] + names[: epoch % len(names)]:
            trained, train = rivals[name]
            began = time.perf_counter()
            train(trained, rows)
            speeds[name].append(rows.n / (time.perf_counter() - began))
            if name != NEVER:
                trained.merge()
    return {name: (median(speeds[name]), loss(trained, case.test)) for name, (trained, _) in rivals.items()}


def replayed_loss(case: Case, n_threads: int, epochs: int) -> float:
    """What many equal threads learn: thread t trains K rows and exchanges, then the next does."""
    losses = []
    for seed in range(3):
        way = Parallelism("staleness", n_threads, rows_between(SETTINGS, n_threads), "benchmark")
        trained = replica(case.topology, way, seed)
        for epoch in range(epochs):
            rows = case.train.take(np.random.default_rng([seed, epoch]).permutation(case.train.n))
            for rank in range(n_threads):
                trained.refresh(rank)
            for turn, lo in enumerate(range(0, rows.n, way.interval)):
                trained.control[NEXT] = lo
                trained.visit(turn % n_threads, rows, min(lo + way.interval, rows.n), trained.n_seen)
            trained.n_seen += rows.n
            trained.merge()
        losses.append(loss(trained, case.test))
    return median(losses)


def draw(
    path: Path, case: Case, by_threads: dict[int, dict[str, tuple[float, float]]], losses: dict[int, float]
) -> None:
    """Rows/s against threads, every way; loss against threads, staleness."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "dask_dl"
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
    threads = sorted(by_threads)
    for way, color in zip((NEVER, STALENESS, LOCKS, TEAM, HOGWILD), ("0.6", "C0", "C4", "C2", "C3"), strict=True):
        speeds = [by_threads[n][way if n > 1 else "one thread"][0] for n in threads]
        left.plot(threads, speeds, "o-" if way != NEVER else "o--", color=color, label=way)
    left.set(
        title=f"{case.name}: rows per second",
        xlabel=f"threads, on {os.cpu_count()} cores",
        xticks=threads,
        ylim=(0, None),
    )
    left.legend(frameon=False)
    right.plot([*losses], [*losses.values()], "o-", color="C0")
    right.axhline(losses[1] * 1.05, color="0.6", linestyle="--")
    right.annotate("one thread + 5 %", (1, losses[1] * 1.05), xytext=(0, 4), textcoords="offset points", color="0.4")
    right.set(title="test logloss, staleness (serial replay)", xlabel="threads", ylim=(0, losses[1] * 1.25))
    right.set_xscale("log", base=2)
    right.set_xticks([*losses], [str(n) for n in losses])
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--threads", type=int, default=2, help="threads of every way (default: 2)")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="also measure other numbers of threads, and draw")
    arguments = parser.parse_args()
    print_machine("scikit-learn")
    epochs = 3 if arguments.quick else 9
    chosen = cases(arguments.quick)
    for case in chosen:
        found = measure(case, arguments.threads, epochs)
        alone = found["one thread"][0]
        print(f"\n{case.name}, {case.train.n:,} rows x {epochs} epochs, {arguments.threads} threads, "
              f"K = {rows_between(SETTINGS, arguments.threads)}; logloss on {case.test.n:,} test rows\n")  # fmt: skip
        print_table(
            ["way", "rows/s", "times one thread", "logloss"],
            [(name, f"{speed:,.0f}", f"{speed / alone:.2f}", f"{lost:.4f}" if name != NEVER else "")
             for name, (speed, lost) in found.items()],
        )  # fmt: skip
        for way, (rival, minimum) in case.targets.items():
            times = found[way.strip()][0] / found[rival][0]
            print(f"{way.strip()} / {rival}: {times:.2f}, target >= {minimum}: {'yes' if times >= minimum else 'NO'}")
    if arguments.picture:
        case = chosen[0]
        counts = sorted({1, 2, 4, os.cpu_count() or 1})
        by_threads = {n: measure(case, max(n, 2), 5) for n in counts}
        losses = {n: replayed_loss(case, n, 1 if arguments.quick else 3) for n in (1, 2, 4, 8, 16)}
        print_table(["threads", "logloss of the replay"], [(n, f"{lost:.4f}") for n, lost in losses.items()])
        draw(arguments.picture, case, by_threads, losses)


if __name__ == "__main__":
    main()
