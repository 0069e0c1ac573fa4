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
    return rows[np.argsort(keys_of(rows, seed, f"epoch {epoch}"), kind="stable")]


def uniform_sample(rows: NDArray[np.int64], n: int, seed: int, purpose: str) -> NDArray[np.int64]:
    """`n` of `rows` without replacement, in their order; all of them when `n` is 0 or not fewer."""
    if n == 0 or n >= len(rows):
        return rows
    keys = keys_of(rows, seed, purpose)
    sample: NDArray[np.int64] = rows[keys <= np.partition(keys, n - 1)[n - 1]]
    return sample


def candidates(rows: NDArray[np.int64], n: int, n_all: int, seed: int, purpose: str) -> NDArray[np.uint64]:
    """Keys of those of `rows`, some of a table's `n_all`, that may belong to the table's sample of `n`.

    The n rows with the least keys are the sample (`uniform_sample`). Of all the table's rows n + 6 sqrt(n) + 20 are expected
    here: fewer than n have a chance of less than one in 10**8.
    """
    keys = keys_of(rows, seed, purpose)
    share = (n + 6 * n**0.5 + 20) / n_all
    return keys if share >= 1 else keys[keys < np.uint64(share * 2.0**64)]


def keys_of(rows: NDArray[np.int64], seed: int, purpose: str) -> NDArray[np.uint64]:
    """A random 64-bit number per row, no two alike, from a stream for every seed and purpose."""
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
