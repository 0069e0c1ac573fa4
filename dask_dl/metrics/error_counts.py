"""Quantiles of the errors of any number of rows, in one pass."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Lowest bits of a float32 by which errors are not told apart: 12 bits of 24 are left to the digits.
BLURRED_BITS = 12


class ErrorCounts:
    """A histogram of errors, 0 or more, that tells their quantiles to a 2,000th, in memory that does not grow with them.

    The bits of a float32 that is not negative are in the order of its values.
    """

    def __init__(self) -> None:
        self.n = 0
        self._counts = np.zeros(2 ** (31 - BLURRED_BITS), np.int64)

    def add(self, errors: NDArray[np.float64]) -> None:
        """Count some more; those beyond float32 as infinite."""
        with np.errstate(over="ignore"):
            bits = errors.astype(np.float32).view(np.uint32) >> BLURRED_BITS
        self._counts += np.bincount(bits, minlength=len(self._counts))
        self.n += len(errors)

    def quantile(self, q: float) -> float:
        """A number that q of the errors do not exceed, or hardly; 0 where there are none."""
        if not self.n:
            return 0.0
        above = np.cumsum(self._counts)
        place = int(np.searchsorted(above, max(1, math.ceil(q * self.n))))
        end = np.array([(place + 1) << BLURRED_BITS], np.uint32).view(np.float32)[0]
        return float(np.nextafter(end if end < np.inf else np.float32(np.inf), np.float32(0)))
