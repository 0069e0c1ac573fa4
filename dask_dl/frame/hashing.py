"""Levels that share inputs by a hash of their number, where they would be too many (algorithm.md#hashing)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Hashing:
    """How one-hot inputs are brought down to fewer."""

    n_inputs: int
    seed: int  #: the random_state of the training, of which the low 32 bits count

    def inputs(self, onehot: NDArray[np.integer]) -> NDArray[np.int32]:
        """The input of every one-hot input."""
        return (np.abs(murmur2(onehot, self.seed).astype(np.int64)) % self.n_inputs).astype(np.int32)

    def entries(
        self, active: NDArray[np.int32], n_onehot: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
        """(row, input, how often) of rows with these active one-hot inputs, -1 = none."""
        table = np.append(self.inputs(np.arange(n_onehot)), self.n_inputs).astype(np.int32)
        slots = np.sort(table[active], axis=1)
        row, column = np.nonzero(slots < self.n_inputs)
        slot = slots[row, column]
        first = np.ones(len(slot), bool)
        first[1:] = (row[1:] != row[:-1]) | (slot[1:] != slot[:-1])
        starts = np.flatnonzero(first)
        return row[starts], slot[starts], np.diff(starts, append=len(slot)).astype(np.float32)


def murmur2(numbers: NDArray[np.integer], seed: int) -> NDArray[np.int32]:
    """MurmurHash2 (Appleby 2008) of the four bytes of every number, the highest first."""
    m = np.uint32(0x5BD1E995)
    k = numbers.astype(np.uint32).byteswap()  # four bytes, read with the lowest first
    k = k * m
    k ^= k >> np.uint32(24)
    k *= m
    h = np.uint32((seed ^ 4) & 0xFFFFFFFF) * np.ones_like(k)
    h *= m
    h ^= k
    h ^= h >> np.uint32(13)
    h *= m
    h ^= h >> np.uint32(15)
    return h.view(np.int32)
