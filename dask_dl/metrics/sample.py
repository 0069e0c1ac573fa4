"""Sample of rows with what was predicted of them, for pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Rows that a sample keeps.
MAX_SAMPLE = 2_000


class RowSample(NamedTuple):
    """Random rows: those whose hash is least, so that the same come of the same rows however they were divided."""

    truth: NDArray[np.float64]  #: (s,) targets
    predicted: NDArray[np.float64]  #: (s,) predictions

    @classmethod
    def of(cls, truth: NDArray[np.floating], predicted: NDArray[np.floating]) -> Self:
        """Sample of some rows, (n,) each."""
        pairs: list[NDArray[np.float64]] = [truth.astype(np.float64), predicted.astype(np.float64)]
        number = _hash(*pairs)
        if len(number) > MAX_SAMPLE:
            places = np.flatnonzero(number <= np.partition(number, MAX_SAMPLE - 1)[MAX_SAMPLE - 1])
            pairs, number = [values[places] for values in pairs], number[places]
        order = np.lexsort((*pairs, number))[:MAX_SAMPLE]
        return cls(*(values[order] for values in pairs))

    def merge(self, other: Self) -> Self:
        """Both sets of rows together."""
        return self.of(np.concatenate([self.truth, other.truth]), np.concatenate([self.predicted, other.predicted]))


def _hash(truth: NDArray[np.float64], predicted: NDArray[np.float64]) -> NDArray[np.uint64]:
    """A number for each row that looks random: the finalizer of SplitMix64 (Steele, Lea, Flood, 2014)."""
    x = (truth + 0.0).view(np.uint64) * np.uint64(0x9E3779B97F4A7C15) ^ (predicted + 0.0).view(np.uint64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
    return x ^ (x >> np.uint64(31))
