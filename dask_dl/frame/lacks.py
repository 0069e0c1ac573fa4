"""Which rows lack an input, before it is known which columns are inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


#: Columns that may turn out to be useless, and combinations in which rows lack them, that are told apart in a table: with
#: more of either, whoever asks has to look again when it is known which columns are inputs.
MOST_DOUBTS = 64


class Lacks:
    """Which rows of a partition lack what: a bit for each column that may turn out to be useless, one for all others.

    Parameters
    ----------
    n : int
        Rows.
    inputs : frozenset of str or None
        Columns that are known to be inputs: then no other one matters.
    """

    def __init__(self, n: int, inputs: frozenset[str] | None) -> None:
        self.surely = np.zeros(n, bool)
        self._inputs = inputs
        self._maybe: dict[str, NDArray[np.uint8]] = {}
        self.are_too_many = False

    def matters(self, names: Sequence[str]) -> NDArray[np.bool_]:
        """Which of these columns may be inputs."""
        inputs = self._inputs
        return np.ones(len(names), bool) if inputs is None else np.array([name in inputs for name in names], bool)

    def note(self, name: str, missing: NDArray[np.bool_], *, may_be_useless: bool) -> None:
        """Rows that lack this column."""
        if self._inputs is not None and name not in self._inputs:
            return
        if not may_be_useless or self._inputs is not None:
            self.surely |= missing
        elif missing.any():
            self.are_too_many |= len(self._maybe) >= MOST_DOUBTS
            if not self.are_too_many:
                self._maybe[name] = np.packbits(missing)

    def groups(self) -> list[tuple[frozenset[str], NDArray[np.int64]]] | None:
        """Rows by the columns that they lack, first those that lack nothing; none that lack what surely is an input.

        None where there are too many combinations.
        """
        if self.are_too_many:
            return None
        n, names = len(self.surely), list(self._maybe)
        keys = np.zeros(n, np.uint64)  # a bit for each column
        for k, bits in enumerate(self._maybe.values()):
            keys |= np.unpackbits(bits, count=n).astype(np.uint64) << np.uint64(k)
        groups = [(frozenset[str](), np.flatnonzero(~self.surely & (keys == 0)))]
        rest = np.flatnonzero(~self.surely & (keys > 0))
        patterns, place = np.unique(keys[rest], return_inverse=True)
        if len(patterns) > MOST_DOUBTS:
            return None
        for k, pattern in enumerate(patterns.tolist()):
            groups.append((frozenset(name for c, name in enumerate(names) if pattern >> c & 1), rest[place == k]))
        return groups
