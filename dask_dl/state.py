"""Frozen values that pass from room to room, and how their arrays are laid out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

LANE = 16  #: float32 numbers in 64 bytes: a vector register and a cache line
N_STORED = 5  #: parts of `Rows` that a table has; the others belong to a visit


class Rows(NamedTuple):
    """Encoded rows, in the order in which they are visited."""

    dense: NDArray[np.float32]  #: (n, padded numbers): numeric inputs
    active: NDArray[np.int32]  #: (n, categories): one-hot input of each categorical column; -1 = none
    target: NDArray[np.float32]  #: (n,): class index, or the target in the units of the output's pre-activation
    weight: NDArray[np.float32]  #: (n,): factor of the loss; empty = 1 for all
    offset: NDArray[np.float32]  #: (n,): added to the output's pre-activation; empty = 0 for all
    key: NDArray[np.uint64] = np.zeros(0, np.uint64)  #: (n,): what dropout draws from; empty where nothing is drawn
    #: (n, inputs + hidden units): 0 = dropped, where that is given instead of drawn
    kept: NDArray[np.uint8] = np.zeros((0, 0), np.uint8)

    @property
    def n(self) -> int:
        """How many."""
        return len(self.dense)

    def cut(self, lo: int, hi: int) -> Rows:
        """Rows [lo, hi), not copied."""
        return self.map(lambda part: part[lo:hi] if len(part) else part)

    def take(self, which: NDArray[np.integer[Any] | np.bool_]) -> Rows:
        """Some rows, by places or marks, copied."""
        return self.map(lambda part: part[which] if len(part) else part)

    def map(self, change: Callable[[Any], Any]) -> Rows:
        """The same with every array changed."""
        return Rows(*map(change, self))

    @property
    def parts(self) -> tuple[NDArray[Any], ...]:
        """The arrays."""
        return tuple(self)

    @property
    def nbytes(self) -> int:
        """Memory they take."""
        return sum(part.nbytes for part in self)


def padded(n: int) -> int:
    """`n` rounded up to whole lanes."""
    return -(-n // LANE) * LANE


def aligned_zeros(n: int) -> NDArray[np.float32]:
    """`n` zeros of float32 that start on a 64-byte boundary (NumPy promises 16)."""
    raw = np.zeros(n + LANE, np.float32)
    start = (-raw.ctypes.data // 4) % LANE
    return raw[start : start + n]


def copied(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    """A copy that starts on such a boundary, and may be written."""
    copy = aligned_zeros(len(vector))
    np.copyto(copy, vector)
    return copy
