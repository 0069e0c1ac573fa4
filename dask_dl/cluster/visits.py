"""The rows of some blocks, epoch after epoch, in the order in which they are trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dask_dl import memory
from dask_dl.frame.blocks import gather, used_rows
from dask_dl.frame.order import visiting_order

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from dask_dl.frame.blocks import Blocks
    from dask_dl.state import Rows


class Visits:
    """An endless stream: all rows that count in a random order of their own for every epoch, or always as stored.

    Place p of the stream is a function of the seed and of the rows' numbers. Of two sets of blocks of one table, each visits
    in a share of an epoch rows whose random keys lie in the same range: where blocks change hands in mid-epoch, few rows are
    visited twice, and few never.

    Parameters
    ----------
    store : Blocks
        At least one row of it counts.
    seed : int
    shuffle : bool
    order : callable, optional
        Global row numbers of an epoch, given its number: replaces both of the above, for tests.
    """

    def __init__(
        self, store: Blocks, *, seed: int, shuffle: bool, order: Callable[[int], NDArray[np.int64]] | None = None
    ) -> None:
        self._store = store
        rows = used_rows(store)
        self.n_rows = len(rows)
        self._per_slice = max(1, memory.SLICE // gather(store, rows[:1]).nbytes)
        self._order = order or (lambda epoch: visiting_order(rows, seed, epoch) if shuffle else rows)
        self._epoch = -1
        self._visits = rows

    def slices(self, start: int, stop: int) -> Iterator[Rows]:
        """Rows at the places [start, stop) of the stream, a slice at a time."""
        while start < stop:
            epoch, place = divmod(start, self.n_rows)
            if epoch != self._epoch:
                self._visits = np.zeros(0, np.int64)  # the last epoch's order makes room for the next one's
                self._epoch, self._visits = epoch, self._order(epoch)
            visits = self._visits[place : place + min(stop - start, self._per_slice)]
            yield gather(self._store, visits)
            start += len(visits)
