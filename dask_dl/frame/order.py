"""The order in which rows are visited, and samples of rows: functions of (seed, epoch, global row number) alone.

Neither the cut into partitions nor workers nor threads nor the time of arrival has a say, so that the same table gives the
same order everywhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def visiting_order(rows: NDArray[np.int64], seed: int, epoch: int) -> NDArray[np.int64]:
    """A fresh random permutation of `rows` for every epoch."""
    return rows[np.argsort(_keys(rows, seed, f"epoch {epoch}"), kind="stable")]


def uniform_sample(rows: NDArray[np.int64], n: int, seed: int, purpose: str) -> NDArray[np.int64]:
    """`n` of `rows` without replacement, in their order; all of them when `n` is 0 or not fewer."""
    if n == 0 or n >= len(rows):
        return rows
    chosen = np.argpartition(_keys(rows, seed, purpose), n)[:n]
    return rows[np.sort(chosen)]


def _keys(rows: NDArray[np.int64], seed: int, purpose: str) -> NDArray[np.uint64]:
    """A random 64-bit number per row: SplitMix64 (Steele, Lea, Flood 2014) of the row, from a stream of its own."""
    (stream,) = np.random.SeedSequence([seed, *purpose.encode()]).generate_state(1, np.uint64)
    z = rows.astype(np.uint64)
    z *= np.uint64(0x9E3779B97F4A7C15)
    z += stream
    z ^= z >> np.uint64(30)
    z *= np.uint64(0xBF58476D1CE4E5B9)
    z ^= z >> np.uint64(27)
    z *= np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return z
