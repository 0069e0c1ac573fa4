"""The order in which rows are visited, and their random keys: functions of (seed, epoch, global row number) alone.

Neither the cut into partitions nor workers nor threads nor the time of arrival has a say, so that the same table gives the
same order everywhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def visiting_places(rows: NDArray[np.int64], seed: int, epoch: int) -> NDArray[np.intp]:
    """A fresh random permutation of `rows`, which ascend, for every epoch, as places in them (algorithm.md#order-of-visits).

    Of a row that is listed several times each visit has a place of its own.
    """
    again = copies_of(rows)
    keys = keys_of(rows, seed, f"epoch {epoch}")
    return np.argsort(keys if again is None else apart(keys, again), kind="stable")


def copies_of(rows: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """How often each entry's row was listed before it; None where none is listed twice. `rows` ascend."""
    if not (rows[1:] == rows[:-1]).any():
        return None
    first = np.flatnonzero(np.diff(rows, prepend=-1))
    return np.arange(len(rows)) - np.repeat(first, np.diff(first, append=len(rows)))


def apart(keys: NDArray[np.uint64], copies: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Keys that differ between the copies of a row; those of first ones stay."""
    return np.where(copies > 0, mixed(copies, keys), keys)


def windows(starts: NDArray[np.int64], n_windows: int, seed: int, epoch: int) -> list[NDArray[np.int64]]:
    """Deal segments of a table out to windows, whose rows are then shuffled together (algorithm.md#windows).

    The segments, in the order of the table, are cut into runs of `n_windows` neighbours, and every window gets one of
    each run, by chance. So each window reaches over the whole table, and a table that is sorted by whatever column is
    as good as one that is not.

    Parameters
    ----------
    starts : (n,) int64
        First rows of the segments, ascending.
    n_windows : int
        Number of windows, at most n.
    seed : int
        Seed of the random keys.
    epoch : int
        Number of the epoch, each of which is dealt anew.

    Returns
    -------
    list of (m,) int64
        Places in `starts`, ascending, of every window's segments.
    """
    n = len(starts)
    order = np.lexsort((keys_of(starts, seed, f"windows of epoch {epoch}"), np.arange(n) // n_windows))
    return [np.sort(order[w::n_windows]) for w in range(n_windows)]


def keys_of(rows: NDArray[np.int64], seed: int, purpose: str) -> NDArray[np.uint64]:
    """A random 64-bit number per row, no two alike, from a stream for every seed and purpose (algorithm.md#random-keys)."""
    (stream,) = np.random.SeedSequence([seed, *purpose.encode()]).generate_state(1, np.uint64)
    return mixed(rows, stream)


def mixed(rows: NDArray[np.int64], stream: NDArray[np.uint64] | np.uint64) -> NDArray[np.uint64]:
    """SplitMix64 (Steele, Lea, Flood 2014) of every row's number."""
    z = rows.astype(np.uint64)
    z *= np.uint64(0x9E3779B97F4A7C15)
    z += stream
    z ^= z >> np.uint64(30)
    z *= np.uint64(0xBF58476D1CE4E5B9)
    z ^= z >> np.uint64(27)
    z *= np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return z
