"""Which rows lack an input, before it is known which columns are inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Lacks:
    """Which rows of a partition lack what: a bit for each column that may turn out to be useless, one for all others."""

    def __init__(self, n: int) -> None:
        self.surely = np.zeros(n, bool)
        self._maybe: dict[str, NDArray[np.uint8]] = {}

    def note(self, name: str, missing: NDArray[np.bool_], *, may_be_useless: bool) -> None:
        """Rows that lack this column."""
        if not may_be_useless:
            self.surely |= missing
        elif missing.any():
            self._maybe[name] = np.packbits(missing)

    def groups(self) -> list[tuple[frozenset[str], NDArray[np.int64]]]:
        """Rows by the columns that they lack, first those that lack nothing; none that lack what surely is an input."""
        n, names = len(self.surely), list(self._maybe)
        keys = np.zeros((n, -(-len(names) // 8)), np.uint8)  # a bit for each column
        for k, bits in enumerate(self._maybe.values()):
            keys[:, k // 8] |= np.unpackbits(bits, count=n) << (7 - k % 8)
        lacks_any = keys.any(axis=1)
        groups = [(frozenset[str](), np.flatnonzero(~self.surely & ~lacks_any))]
        rest = np.flatnonzero(~self.surely & lacks_any)
        patterns, place = np.unique(keys[rest], axis=0, return_inverse=True)
        order = np.argsort(place.ravel(), kind="stable")
        edges = np.searchsorted(place.ravel()[order], np.arange(len(patterns) + 1))
        for pattern, lo, hi in zip(patterns, edges, edges[1:], strict=False):
            marks = np.unpackbits(pattern, count=len(names))
            groups.append((frozenset(names[k] for k in np.flatnonzero(marks)), rest[order[lo:hi]]))
        return groups
