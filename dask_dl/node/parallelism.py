"""How the threads of one machine share a network: the choice, its reason, and the memory it takes.

The ways: algorithm.md#ways-of-sharing.

- one thread: nothing is shared.
- staleness: every thread visits rows of its own on a working copy of the dense part, and exchanges it every K rows; one-hot
  inputs are shared, weight and state, as Hogwild (Niu et al. 2011) does.
- team: all threads work on the same row, each on its own units; exact, and the same bits for any number of threads.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, NamedTuple

import joblib

from dask_dl.kernels.optimizers import Optimizer, rule_of
from dask_dl.kernels.team import max_threads

if TYPE_CHECKING:
    from dask_dl.kernels.layout import Topology

#: Rows between two exchanges, at most: more saves nothing.
MAX_ROWS = 64
#: ... and at least: below it the exchanges themselves cost as much as a fifth of the training.
MIN_ROWS = 4
#: Mini-batches that other threads may train between two exchanges of one, and between two exchanges at most. A batch's step
#: is as long as a row's, and there are fewer to make good for too much (docs/explanation/threads.md).
MAX_STALE_BATCHES, MAX_BATCHES = 3, 2
#: Rows of a table for every thread: small tables train on one, which is fast enough and always gives the same bits.
ROWS_PER_THREAD = 1000
#: ... and mini-batches: with fewer a thread would have none while the other has two.
BATCHES_PER_THREAD = 8
#: Dense weights for every thread of a team: with fewer it waits longer than it works.
WEIGHTS_PER_THREAD = 4096
#: Bytes of a thread's working copy above which a team is faster: beside the others' it no longer fits the caches.
WIDE = 12 * 2**20
#: Bytes of all working copies above which a team does not turn into threads with copies, whatever it waits.
TOO_WIDE = 2**29
#: Share of a team's time spent waiting at barriers above which it hands over.
MAX_WAITING = 0.3

#: Rows between two exchanges of the first rows, and rows learned for each one more: in the beginning every row changes much,
#: and the steps of ADADELTA grow with the rows that a thread has seen or heard of.
FIRST_INTERVAL, ROWS_PER_STEP = 4, 1024

Way = Literal["one thread", "staleness", "team"]


class ThreadSettings(NamedTuple):
    """Settings of threads; see `choose`."""

    n_jobs: int | None = None
    parallelism: str = "auto"
    interval: int | None = None
    reproducible: bool = False


@dataclass(frozen=True)
class Parallelism:
    """Division of work among the threads of a replica."""

    way: Way
    n_threads: int
    #: K: rows between two exchanges; of one thread or a team, rows between two looks at the stop flag. Whole mini-batches.
    interval: int
    reason: str
    fallback: Parallelism | None = None  #: what a team turns into when its threads wait too long; None: it stays
    is_growing: bool = False  #: whether threads exchange more often until enough rows were learned

    @property
    def n_copies(self) -> int:
        """Working copies that may be made."""
        own = self.n_threads if self.way == "staleness" else 0
        return max(own, self.fallback.n_copies if self.fallback else 0)

    def interval_at(self, n_seen: int) -> int:
        """Rows between two exchanges after so many rows were learned (algorithm.md#staleness)."""
        return min(self.interval, max(FIRST_INTERVAL, n_seen // ROWS_PER_STEP)) if self.is_growing else self.interval

    def by_layer(self, topology: Topology) -> dict[str, str]:
        """Division of the work on every layer, with its reason, for people."""
        ways = {
            "one thread": self.reason,
            "staleness": f"staleness: {self.n_threads} threads ({self.reason}) exchange every {self.interval} rows",
            "team": f"team: {self.n_threads} threads ({self.reason}) share each row",
        }
        shared = {
            **ways,
            "staleness": f"hogwild: {self.n_threads} threads on one shared copy",
        }
        layers = {}
        for k, (n_out, n_in) in enumerate(topology.shapes):
            if k == 0 and topology.n_onehot:
                layers[f"layer 1, {topology.n_onehot} one-hot inputs x {n_out} and biases"] = shared[self.way]
                if topology.n_dense:
                    layers[f"layer 1, {topology.n_dense} x {n_out}"] = ways[self.way]
            else:
                layers[f"layer {k + 1}, {n_in} x {n_out} and biases"] = ways[self.way]
        return layers


def choose(
    topology: Topology,
    optimizer: Optimizer,
    *,
    n_rows: int,
    n_jobs: int | None = None,
    parallelism: str = "auto",
    interval: int | None = None,
    reproducible: bool = False,
    available: tuple[int, str] | None = None,
) -> Parallelism:
    """Decide how to share a training among threads.

    Parameters
    ----------
    topology : Topology
    optimizer : Optimizer
    n_rows : int
        Rows of an epoch.
    n_jobs : int or None
        Threads to use; None or -1: as many as the process may use cores.
    parallelism : {"auto", "staleness", "team"}
        The way; small tables and narrow networks use fewer threads only under "auto".
    interval : int or None
        Rows between two exchanges, which makes the choice staleness; None: by the optimizer's `max_stale`.
    reproducible : bool
        Whether the result must not depend on the number of threads: a team, or one thread.
    available : (int, str), optional
        Threads that there are, and what they are: by default the cores that this process may use.

    Returns
    -------
    Parallelism
    """
    asked, why = _asked(n_jobs, available or cores(None), is_bound=parallelism == "auto" or reproducible)
    batch, lanes = optimizer.batch, min(asked, max_threads(topology))
    look = whole(max(1, min(MAX_ROWS, 2**24 // max(1, topology.dense_size))), batch)

    def alone(reason: str) -> Parallelism:
        return Parallelism("one thread", 1, look, f"one thread: {reason}")

    def team(n: int, reason: str, fallback: Parallelism | None = None) -> Parallelism:
        if n <= 1:
            return alone(f"{reason}, too small a network to share")
        return Parallelism("team", n, look, reason, fallback)

    def copies(n: int, reason: str) -> Parallelism:
        k = whole(interval, batch) if interval else rows_between(optimizer, n)
        return Parallelism("staleness", n, k, reason, is_growing=batch == 1 and not interval)

    if asked == 1:
        return alone(why)
    if parallelism == "team":
        return team(lanes, f"as asked, {why}")
    worth = min(lanes, max(1, topology.dense_size // WEIGHTS_PER_THREAD))
    if reproducible:
        return team(worth, f"reproducible, {why}")
    if parallelism == "staleness":
        return copies(asked, f"as asked, {why}")

    per_thread = max(ROWS_PER_THREAD, BATCHES_PER_THREAD * batch if batch > 1 else 0)
    threads = min(asked, n_rows // per_thread)
    if threads <= 1:
        return alone(f"{n_rows:,} rows are fewer than {2 * per_thread:,}")
    if threads < asked:
        why = f"one for every {per_thread:,} of {n_rows:,} rows"
    if interval is not None:
        return copies(threads, f"{why}, exchange_interval={interval}")
    maximum = 1 + max_stale(optimizer) // (MIN_ROWS if batch == 1 else 1)
    stale = copies(
        min(threads, maximum), why if threads <= maximum else f"{why}, of which more than {maximum} would overshoot"
    )
    team_size = min(threads, worth)
    copy_bytes = topology.dense_size * bytes_of_copy(optimizer)
    fallback = stale if stale.n_threads * copy_bytes <= TOO_WIDE else None
    if copy_bytes > WIDE and team_size > 1:
        return team(team_size, f"{why}, too wide for working copies of {copy_bytes / 2**20:,.0f} MiB each", fallback)
    if threads > maximum and team_size >= stale.n_threads:
        return team(team_size, f"{why}, too many for exchanges every {MIN_ROWS} rows or more", fallback)
    return stale


def _asked(n_jobs: int | None, available: tuple[int, str], *, is_bound: bool) -> tuple[int, str]:
    """Threads to use, and whose wish that is; no more than available, if bound by it."""
    free, _ = available
    asked, why = cores(n_jobs) if n_jobs is not None and n_jobs > 0 else available
    if asked > free and is_bound:
        # A thread without a core makes a team wait, and misses more rows than any K allows.
        return free, f"{why}, but {free} cores"
    return asked, why


def cores(n_jobs: int | None) -> tuple[int, str]:
    """Threads to use, and whose wish that is."""
    if n_jobs is not None and n_jobs > 0:
        return n_jobs, f"n_jobs={n_jobs}"
    n = int(joblib.cpu_count())  # minds affinity and the limits of containers
    limit = os.environ.get("NUMBA_NUM_THREADS", "")
    if limit.isdecimal() and 0 < int(limit) < n:  # joblib sets it for its worker processes
        return int(limit), f"NUMBA_NUM_THREADS={limit}"
    return n, f"{n} cores"


def max_stale(optimizer: Optimizer) -> int:
    """N: how many updates the others may make between two exchanges of a thread."""
    if optimizer.batch > 1:
        return MAX_STALE_BATCHES
    return rule_of(optimizer).max_stale


def whole(n: int, batch: int) -> int:
    """So many rows or a few more: whole mini-batches."""
    return -(-n // batch) * batch


def rows_between(optimizer: Optimizer, n_threads: int) -> int:
    """K: rows between two exchanges, such that (threads - 1) x K <= N; of mini-batches both count updates.

    The rule: algorithm.md#staleness.
    """
    maximum = MAX_ROWS if optimizer.batch == 1 else MAX_BATCHES
    return optimizer.batch * max(1, min(maximum, max_stale(optimizer) // max(1, n_threads - 1)))


def overshoots(threads: Parallelism, optimizer: Optimizer) -> list[str]:
    """Warn if the interval of exchanges is too long for so many threads; an empty list when it is not."""
    stale = (threads.n_threads - 1) * (threads.interval // optimizer.batch)
    maximum = max_stale(optimizer)
    if threads.way != "staleness" or stale <= maximum:
        return []
    better = rows_between(optimizer, threads.n_threads)
    what = "rows" if optimizer.batch == 1 else "mini-batches"
    remedy = "fewer threads" if better == threads.interval else f"{better}, or fewer threads"
    text = (
        f"an exchange every {threads.interval} rows with {threads.n_threads} threads lets a thread miss {stale:,} {what} of "
        f"the others, more than {maximum}: their steps may add up to too much. Use {remedy}."
    )
    return [text]


def bytes_of_copy(optimizer: Optimizer) -> int:
    """Bytes of a thread's working copy for every weight: the copy, what it was at the last exchange, optimizer state."""
    return 4 * (2 + rule_of(optimizer).n_states)


def handed_over(team: Parallelism, share: float, n_seen: int) -> Parallelism:
    """Division of work that follows a team that waits too long."""
    assert team.fallback is not None
    why = f"after {n_seen:,} rows instead of a team that waited {share:.0%} of the time"
    return replace(team.fallback, reason=f"{team.fallback.reason}, {why}")
