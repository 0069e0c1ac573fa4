"""Placement of blocks: which worker holds which rows, and how many of them each trains; arithmetic alone."""

from __future__ import annotations

import heapq
import itertools
import math
from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: Blocks for every thread, at least, where partitions are so few that they are cut: no share is then far from what it ought
#: to be. H2O has four chunks for every core.
BLOCKS_PER_THREAD = 8


#: Ranges of rows that each of a fixed number of shards gets, from all over the table, which may be sorted.
RANGES_PER_SHARD = 8


class RowRange(NamedTuple):
    """A block: rows [lo, hi) of a partition."""

    partition: int
    lo: int
    hi: int

    @property
    def n(self) -> int:
        """Rows."""
        return self.hi - self.lo


def row_ranges_of(rows: Sequence[int], n_threads: int) -> list[RowRange]:
    """Cut partitions of so many rows into blocks: one each, or several where so many threads would have too few."""
    n_ranges = max(1, -(-BLOCKS_PER_THREAD * n_threads // max(1, len(rows))))
    row_ranges = []
    for k, n in enumerate(rows):
        edges = [n * i // n_ranges for i in range(n_ranges + 1)]
        cut = [RowRange(k, lo, hi) for lo, hi in itertools.pairwise(edges) if hi > lo]
        row_ranges += cut or [RowRange(k, 0, 0)]
    return row_ranges


def fixed_shards(rows: Sequence[int], n_shards: int) -> tuple[list[RowRange], dict[str, tuple[int, ...]]]:
    """Divide a table among a fixed number of shards, by the numbers of its rows alone (algorithm.md#fixed-shards).

    Parameters
    ----------
    rows : sequence of int
        Rows of every partition.
    n_shards : int
        Number of shards.

    Returns
    -------
    list of RowRange
        Blocks: partitions, cut where the rows of another shard begin.
    dict of str to tuple of int
        Blocks of every shard. The names of shards ascend with their numbers.
    """
    n_ranges, width = RANGES_PER_SHARD * n_shards if n_shards > 1 else 1, len(str(n_shards - 1))
    edges = np.unique(np.arange(n_ranges + 1) * sum(rows) // n_ranges)
    blocks: dict[str, list[int]] = {f"{k:0{width}}": [] for k in range(n_shards)}
    names, start = list(blocks), 0
    row_ranges: list[RowRange] = []
    for k, n_rows in enumerate(rows):
        inner = edges[np.searchsorted(edges, start, "right") : np.searchsorted(edges, start + n_rows, "left")]
        cuts = [0, *(inner - start).tolist(), n_rows]
        for lo, hi in itertools.pairwise(cuts):
            number = int(np.searchsorted(edges, start + lo, "right")) - 1
            blocks[names[number % n_shards]].append(len(row_ranges))
            row_ranges.append(RowRange(k, lo, hi))
        start += n_rows
    return row_ranges, {name: tuple(numbers) for name, numbers in blocks.items()}


def apportioned(n: int, weights: Sequence[int]) -> list[int]:
    """Divide n by weights, in whole numbers whose sum is n: Webster's method, Sainte-Laguë (algorithm.md#shares-of-workers).

    It grows with n in every part, and of a multiple of the weights' sum everybody gets that multiple of the weight: so a
    training that has come n rows far has come `apportioned(n, ...)` rows far on every worker, and after every epoch all rows
    have been visited.
    """
    total = sum(weights)
    parts = [(2 * n * weight + total) // (2 * total) for weight in weights]
    excess = sum(parts) - n
    sign = 1 if excess > 0 else -1

    def priority(k: int) -> tuple[Fraction, int, int]:
        """The least deserved goes first, or the most deserved comes first; of equals the first comes first and goes last."""
        return -sign * Fraction(2 * parts[k] - sign, weights[k]), -sign * k, k

    queue = [priority(k) for k in range(len(weights)) if weights[k]] if excess else []
    heapq.heapify(queue)
    for _ in range(abs(excess)):
        *_, k = queue[0]
        parts[k] -= sign
        heapq.heapreplace(queue, priority(k))
    return parts


def placed(
    rows: Mapping[int, int],
    strengths: Mapping[str, float],
    held: Mapping[int, str],
    maximum: float = math.inf,
    *,
    stays: bool = False,
) -> dict[int, str]:
    """A worker for every block: where it is, as long as all get rows by their strength.

    Blocks that no worker holds are dealt out in the order of the table, so that every worker's rows come from all over it: a
    worker with one end of a sorted table would learn something else than the others. Where their source lies matters less:
    they travel once.

    Parameters
    ----------
    rows : mapping
        Block -> rows.
    strengths : mapping
        Worker -> threads, or rows per second.
    held : mapping
        Block -> worker that holds it. Workers without strength are gone.
    maximum : float
        Rows that a worker gets, at most, as long as others have room.
    stays : bool
        Whether every block that a worker holds stays there.

    Returns
    -------
    dict of int to str
        Block -> worker.
    """
    place = {block: worker for block, worker in held.items() if worker in strengths and block in rows}
    load = dict.fromkeys(strengths, 0)
    for block, worker in place.items():
        load[worker] += rows[block]
    for block in sorted(rows.keys() - place.keys()):
        worker = min(
            strengths, key=lambda w: (load[w] + rows[block] > maximum, (load[w] + rows[block]) / strengths[w], w)
        )
        place[block] = worker
        load[worker] += rows[block]
    if not stays:
        _levelled(place, load, rows, strengths, maximum)
    return place


def _levelled(
    place: dict[int, str],
    load: dict[str, int],
    rows: Mapping[int, int],
    strengths: Mapping[str, float],
    maximum: float,
) -> None:
    """Move blocks from the busiest worker to the idlest, while the busiest gets better by it."""
    for _ in range(len(place)):
        busy, idle = (pick(strengths, key=lambda w: (load[w] / strengths[w], w)) for pick in (max, min))
        gap = load[busy] / strengths[busy]
        fits = [
            block for block, worker in place.items()
            if worker == busy
            and rows[block]
            and (load[idle] + rows[block]) / strengths[idle] < gap
            and load[idle] + rows[block] <= maximum
        ]  # fmt: skip
        if busy == idle or not fits:
            return
        block = max(fits, key=lambda b: (rows[b], b))
        place[block] = idle
        load[busy] -= rows[block]
        load[idle] += rows[block]
