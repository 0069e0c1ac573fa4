"""Rows that a view selects: a function of row number, seed and groups that are stored beside a block (algorithm.md#views).

Neither the cut into blocks nor workers have a say, so that each process finds the rows of its own blocks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from dask_dl.frame.order import keys_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Groups = Mapping[str, NDArray[np.unsignedinteger]]


class RowSelection(Protocol):
    """Selects rows by their numbers and groups; a small value that can be hashed, pickled and compared."""

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of the groups that a block must have."""

    def selects(self, numbers: NDArray[np.int64], groups: Groups) -> NDArray[np.bool_]:
        """Which of n rows belong to it: (n,); `numbers` in the table and `groups` by name, (n,) each."""


@dataclass(frozen=True, slots=True)
class AllRows:
    """Every row."""

    groups = ()

    def selects(self, numbers: NDArray[np.int64], groups: Groups) -> NDArray[np.bool_]:  # noqa: ARG002  # the protocol's signature
        """All. See `RowSelection.selects`."""
        return np.ones(len(numbers), bool)


@dataclass(frozen=True, slots=True)
class AllBut:
    """Rows that another selection leaves: all but a fold."""

    rows: RowSelection

    @property
    def groups(self) -> tuple[str, ...]:
        """Those of the other selection."""
        return self.rows.groups

    def selects(self, numbers: NDArray[np.int64], groups: Groups) -> NDArray[np.bool_]:
        """The complement. See `RowSelection.selects`."""
        return ~self.rows.selects(numbers, groups)


@dataclass(frozen=True, slots=True)
class Both:
    """Rows that two selections have in common."""

    first: RowSelection
    second: RowSelection

    @property
    def groups(self) -> tuple[str, ...]:
        """Those of both."""
        return tuple(dict.fromkeys((*self.first.groups, *self.second.groups)))

    def selects(self, numbers: NDArray[np.int64], groups: Groups) -> NDArray[np.bool_]:
        """The intersection. See `RowSelection.selects`."""
        return self.first.selects(numbers, groups) & self.second.selects(numbers, groups)


@dataclass(frozen=True, slots=True)
class Fold:
    """Fold k of n: by row number, by random keys, or those rows whose stored group "fold" is k (algorithm.md#views)."""

    k: int
    n: int
    how: Literal["modulo", "random", "column"] = "random"
    seed: int = 0

    @property
    def groups(self) -> tuple[str, ...]:
        """The column of folds, where that is what decides."""
        return ("fold",) if self.how == "column" else ()

    def selects(self, numbers: NDArray[np.int64], groups: Groups) -> NDArray[np.bool_]:
        """Rows of the fold. See `RowSelection.selects`."""
        folds: NDArray[np.integer]
        if self.how == "column":
            folds = groups["fold"]
        elif self.how == "modulo":
            folds = numbers % self.n
        else:
            folds = keys_of(numbers, self.seed, "folds") % np.uint64(self.n)
        return np.equal(folds, self.k)


@dataclass(frozen=True, slots=True)
class StratifiedFold:
    """Fold k of the rows of every class, which differ by a row at most in size (algorithm.md#views).

    `cuts` has for each class the n - 1 keys at which folds end, as `fold_cuts` finds them; a single one is for all rows, of
    whatever class.
    """

    k: int
    cuts: tuple[tuple[int, ...], ...]
    seed: int = 0

    @property
    def groups(self) -> tuple[str, ...]:
        """The classes, where they are told apart."""
        return ("class",) if len(self.cuts) > 1 else ()

    def selects(self, numbers: NDArray[np.int64], groups: Groups) -> NDArray[np.bool_]:
        """Rows of the fold, of every class. See `RowSelection.selects`."""
        keys = keys_of(numbers, self.seed, "folds")
        lowest, highest = (np.array(ends, np.uint64) for ends in zip(*map(self._ends, self.cuts), strict=True))
        classes = groups["class"] if len(self.cuts) > 1 else np.zeros(len(numbers), np.uint8)
        return (lowest[classes] <= keys) & (keys <= highest[classes])

    def _ends(self, cuts: tuple[int, ...]) -> tuple[int, int]:
        """Least and largest key of the fold."""
        edges = (0, *cuts, 2**64)
        lo, hi = edges[self.k], edges[self.k + 1]
        return (lo, hi - 1) if lo < hi else (1, 0)


def fold_cuts(keys: NDArray[np.uint64], n: int) -> tuple[int, ...]:
    """Keys at which the first n - 1 of n equal folds end, of the rows of a class that count, with these keys in any order."""
    ordered = np.sort(keys)
    firsts = [round(k * len(keys) / n) for k in range(1, n)]
    return tuple(int(ordered[first]) if first < len(keys) else 2**64 - 1 for first in firsts)


@dataclass(frozen=True, slots=True)
class Sample:
    """A share of the rows, drawn by random keys: of N rows on average `share` N."""

    share: float
    seed: int = 0
    groups = ()

    def selects(self, numbers: NDArray[np.int64], groups: Groups) -> NDArray[np.bool_]:  # noqa: ARG002  # the protocol's signature
        """The rows drawn. See `RowSelection.selects`."""
        if self.share >= 1:
            return np.ones(len(numbers), bool)
        return keys_of(numbers, self.seed, "sample of rows") < np.uint64(self.share * 2.0**64)
