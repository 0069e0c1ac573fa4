"""Block of encoded rows, and what is known of them without reading it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dask_dl.frame.row_selection import Groups
    from dask_dl.state import Rows


class Block(NamedTuple):
    """A block, wherever it lies."""

    handle: Any  #: by which its block store finds it
    n: int
    n_used: int  #: rows that count
    groups: Groups  #: (n,) each, by name
    used: NDArray[np.uint8] | None  #: a bit for each row, whether it counts; None: all do
    n_entries: int  #: of its rows
    drawn: tuple[NDArray[np.int64], Rows] | None  #: numbers and copies of rows that may be scored on
    digest: list[int] | None

    def counting(self, lo: int, hi: int) -> NDArray[np.bool_]:
        """Which of the rows [lo, hi) count."""
        if self.used is None:
            return np.ones(hi - lo, bool)
        bits = np.unpackbits(self.used[lo // 8 : -(-hi // 8)])
        return bits[lo % 8 : lo % 8 + hi - lo].astype(bool)

    def groups_of(self, names: Sequence[str], lo: int, hi: int) -> Groups:
        """Some groups of the rows [lo, hi)."""
        return {name: self.groups[name][lo:hi] for name in names}
