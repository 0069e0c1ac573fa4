"""Sample of a table's rows to score on: those with the least random keys, of all rows or of each class its share.

Rows with keys so small that they may belong to it are set aside as they come by. Once all have been seen, a cut makes their
number exact. The rule: algorithm.md#samples-to-score-on.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np

from dask_dl.frame.order import keys_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from dask_dl.state import Rows

    #: Largest key of a sample in each of its strata.
    Cut = tuple[int, ...]


class Candidates(NamedTuple):
    """Rows of some blocks that may belong to a sample."""

    keys: NDArray[np.uint64]
    strata: NDArray[np.uint32]  #: index of the stratum of each


class ScoredSample(NamedTuple):
    """Sample of a table in strata: the classes, or a single one of all rows."""

    seed: int = 0
    purpose: str = ""  #: of the random keys
    sizes: tuple[int, ...] = ()  #: rows to draw from every stratum
    counts: tuple[int, ...] = ()  #: rows of every stratum that count, by the scan of the table

    @classmethod
    def of(cls, seed: int, purpose: str, n: int, counts: Sequence[int]) -> Self:
        """Sample of a table.

        Parameters
        ----------
        seed : int
            Seed of the random keys.
        purpose : str
            Purpose of them, which no other keys of the table have.
        n : int
            Rows to draw; 0: all.
        counts : sequence of int
            Rows of every stratum that count.

        Returns
        -------
        ScoredSample
            In which every stratum has its `shares`.
        """
        return cls(seed, purpose, shares(n, counts), tuple(counts))

    @property
    def is_drawn(self) -> bool:
        """Whether rows are set aside; else all of them are scored on."""
        return sum(self.sizes) < sum(self.counts)

    @property
    def n_aside(self) -> int:
        """Rows that are set aside where a sample is drawn, about."""
        return sum(map(min, self._expected().tolist(), self.counts))

    def _expected(self) -> NDArray[np.int64]:
        """How many rows of every stratum shall be expected among the candidates.

        That fewer than the size of a stratum are there, in any of them, has a chance of less than one in 10**8.
        """
        sizes = np.array(self.sizes, np.int64)
        margin = math.sqrt(36 + 2 * math.log(max(1, len(sizes))))
        return np.where(sizes > 0, np.ceil(sizes + margin * np.sqrt(sizes) + 20), 0).astype(np.int64)

    def keys(self, numbers: NDArray[np.int64]) -> NDArray[np.uint64]:
        """Random keys of rows, by their numbers in the table."""
        return keys_of(numbers, self.seed, self.purpose)

    def strata(self, rows: Rows) -> NDArray[np.uint32]:
        """Index of the stratum of every row."""
        return rows.target.astype(np.uint32) if len(self.sizes) > 1 else np.zeros(rows.n, np.uint32)

    def may_have(self, numbers: NDArray[np.int64], rows: Rows) -> NDArray[np.bool_]:
        """Whether each row, of these numbers in the table, is a candidate, if it counts."""
        share = self._expected() / np.maximum(1, np.array(self.counts, np.float64))
        limits = (np.minimum(share, 1 - 2.0**-53) * 2.0**64).astype(np.uint64)
        limits[share >= 1] = np.iinfo(np.uint64).max
        return self.keys(numbers) <= limits[self.strata(rows)]

    def cut(self, parts: Iterable[Candidates]) -> Cut | None:
        """Cut at which the sample has its sizes, given all candidates; None where all rows are scored on."""
        if not self.is_drawn:
            return None
        keys, strata = (np.concatenate(of_parts) for of_parts in zip(*parts, strict=True))
        order = np.lexsort((keys, strata))
        edges = np.searchsorted(strata[order], np.arange(len(self.sizes) + 1))
        last = np.minimum(edges[:-1] + np.array(self.sizes), edges[1:]) - 1
        ordered = np.append(keys[order], np.uint64(0))  # the cut of a stratum without rows
        return tuple(ordered[np.where(last < edges[:-1], len(keys), last)].tolist())

    def has(self, numbers: NDArray[np.int64], rows: Rows, cut: Cut) -> NDArray[np.bool_]:
        """Whether each of some candidates, of these numbers in the table, belongs to the sample with this cut."""
        return self.keys(numbers) <= np.array(cut, np.uint64)[self.strata(rows)]


def shares(n: int, counts: Sequence[int]) -> tuple[int, ...]:
    """Divide a sample of n rows among classes in proportion to their counts, by largest remainders.

    Each class that has rows gets one at least, even where that makes more than n rows. All rows where n is 0 or not less.
    """
    n_rows = sum(counts)
    if not 0 < n < n_rows:
        return tuple(counts)
    sizes = [0] * len(counts)
    rest = [(count, k) for k, count in sorted(enumerate(counts), key=lambda of: of[1], reverse=True) if count]
    # The smallest go first: the one row of theirs is more than their share, and leaves less to the others.
    while rest and n * rest[-1][0] < n_rows:
        count, k = rest.pop()
        sizes[k], n, n_rows = 1, n - 1, n_rows - count
    for count, k in rest:
        sizes[k] = n * count // n_rows
    missing = n - sum(sizes[k] for _, k in rest)
    for _, k in sorted((-(n * count % n_rows), k) for count, k in rest)[: max(0, missing)]:
        sizes[k] += 1
    return tuple(sizes)
