"""View of a dataset: some of its rows, as often as classes are balanced, in units of its own (algorithm.md#views).

Rows are stored once, and any number of views look at them. A view numbers its rows by their rank among the selected rows of
the table, whether or not they count, as the table cut to these rows would number them: order of visits, class balance and
dropout draw from these numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dask_dl.frame.row_selection import AllRows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dask_dl.frame.affine import Affine
    from dask_dl.frame.balance import Balance
    from dask_dl.frame.block import Block
    from dask_dl.frame.row_selection import RowSelection


class View(NamedTuple):
    """Selection of the rows of a table, visits to them, and what becomes of their values.

    A replica trains on a view to the same bits as on the table cut to the selected rows by one encoder, where its rows are in
    memory, or in a single window: several windows are dealt from the stored segments, and differ from those of the cut table.
    With `inputs` that holds to the rounding of `Affine`.
    """

    table: str  #: key of the table
    rows: RowSelection = AllRows()
    balance: Balance | None = None  #: how often rows are visited in an epoch; None: once
    inputs: Affine | None = None  #: None: values as they are stored
    is_whole: bool = False  #: where it is scored: all of its rows, whatever sample was set aside

    @property
    def has_all(self) -> bool:
        """Whether every row is selected."""
        return isinstance(self.rows, AllRows)

    @property
    def groups(self) -> tuple[str, ...]:
        """Groups that blocks must have."""
        return tuple(dict.fromkeys((*self.rows.groups, *(("class",) if self.balance else ()))))

    def selected(self, block: Block, start: int, lo: int, hi: int) -> NDArray[np.bool_] | None:
        """Which of some rows of a block belong to the view, whether or not they count.

        Parameters
        ----------
        block : Block
        start : int
            Number, in the table, of its first row.
        lo, hi : int
            Rows [lo, hi) of the block.

        Returns
        -------
        (hi - lo,) bool
            None: all.
        """
        if self.has_all:
            return None
        return self.rows.selects(np.arange(start + lo, start + hi), block.groups_of(self.rows.groups, lo, hi))

    def visits(
        self, block: Block, start: int, first: int, lo: int, hi: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Visits of an epoch to some rows of a block.

        Parameters
        ----------
        block : Block
        start : int
            Number, in the table, of its first row.
        first : int
            Number, in the view, of the first selected row of these.
        lo, hi : int
            Rows [lo, hi) of the block.

        Returns
        -------
        places, numbers : (visits,) int64
            Rows, counted from `lo`, and their numbers in the view; both ascend, a row as often as it is visited.
        """
        counts, selected = block.counting(lo, hi), self.selected(block, start, lo, hi)
        if selected is None:
            places = np.flatnonzero(counts)
            numbers = places + first
        else:
            places = np.flatnonzero(counts & selected)
            numbers = np.cumsum(selected)[places] + (first - 1)
        if self.balance is None:
            return places, numbers
        classes = block.groups_of(("class",), lo, hi)["class"][places]
        times = self.balance.visits(classes, numbers)
        return np.repeat(places, times), np.repeat(numbers, times)
