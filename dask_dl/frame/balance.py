"""Class balance: how often a row is visited in an epoch (algorithm.md#class-balance). No row is copied."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dask_dl.frame.order import keys_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


#: With as many visits expected, one epoch in 20,000 makes none.
FEW_VISITS = 10


class Balance(NamedTuple):
    """Visits per row of every class; of a fraction some rows get one more, drawn once for the whole training."""

    ratios: tuple[float, ...]
    seed: int

    @classmethod
    def of(cls, counts: Sequence[int], factors: Sequence[float] | None, maximum: float, seed: int) -> Balance:
        """Balance of classes of so many rows.

        Parameters
        ----------
        counts : sequence of int
            Rows of every class; a class that a model knows may have none.
        factors : sequence of float, optional
            class_sampling_factors; None, or nothing but zeros: all classes get as many visits as the largest has rows.
        maximum : float
            Visits of an epoch, at most, relative to the rows: all ratios shrink alike.
        seed : int

        Returns
        -------
        Balance
        """
        n = np.array(counts, np.float64)
        ratios = n.max() / np.maximum(n, 1) if factors is None or not any(factors) else np.array(factors, np.float64)
        expected = float(ratios @ n)
        allowed = min(max(len(n), int(maximum * n.sum())), round(expected))
        return cls(tuple((ratios * (allowed / expected)).tolist()), seed)

    def visits(self, classes: NDArray[np.unsignedinteger], rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """How often rows of these classes, and of these numbers in their view, are visited in an epoch."""
        ratio = np.array(self.ratios)[classes]
        whole = np.floor(ratio)
        drawn = keys_of(rows, self.seed, "balance") < ((ratio - whole) * 2.0**64).astype(np.uint64)
        visits: NDArray[np.int64] = whole.astype(np.int64) + drawn
        return visits

    def n_visits(self, counts: Sequence[int]) -> float:
        """Visits of an epoch over classes of so many rows, on average."""
        return float(np.array(self.ratios) @ counts)

    def n_min(self, counts: Sequence[int]) -> int:
        """Visits that an epoch makes but for a chance of one in 10**8; at least 1."""
        n = self.n_visits(counts)
        return max(1, int(n - 6 * n**0.5) if any(r % 1 for r in self.ratios) else round(n))

    def rarely_visited(self, counts: Sequence[int]) -> list[int]:
        """Classes of which, by chance, an epoch may not visit a single row, although it should."""
        found = enumerate(zip(self.ratios, counts, strict=True))
        return [k for k, (ratio, n) in found if 0 < ratio < 1 and ratio * n < FEW_VISITS]

    def correction(self, counts: Sequence[int]) -> tuple[float, ...]:
        """Prior share of every class over its share of the visits: what predicted probabilities are multiplied by.

        1 for a class that is never visited (algorithm.md#corrected-probabilities).
        """
        n, ratios = np.array(counts, np.float64), np.array(self.ratios)
        after = ratios * n
        shares = np.divide(n / n.sum(), after / (after.sum() or 1.0), out=np.ones(len(n)), where=after > 0)
        return tuple(shares.tolist())
