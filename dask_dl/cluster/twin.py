"""A cluster of one: the verbs of a distributed training in this process, over blocks in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dask_dl import memory
from dask_dl.errors import DivergedError
from dask_dl.frame.blocks import gather, used_rows
from dask_dl.frame.order import visiting_order
from dask_dl.node.replica import Replica, predict
from dask_dl.node.stability import instability

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from dask_dl.frame.blocks import BlockStore
    from dask_dl.state import Rows


class Twin:
    """Trains one replica on the blocks of a table, epoch after epoch.

    Parameters
    ----------
    store : BlockStore
        The encoded training table.
    replica : Replica
        Weights to train; `replica.n_seen` rows of earlier epochs count as visited.
    seed : int
        Of the visiting order.
    shuffle : bool
        Whether rows are visited in a fresh random order every epoch, or as stored.
    order : callable, optional
        Global row numbers of an epoch, given its number: replaces both of the above.
    """

    def __init__(
        self,
        store: BlockStore,
        replica: Replica,
        *,
        seed: int,
        shuffle: bool,
        order: Callable[[int], NDArray[np.int64]] | None = None,
    ) -> None:
        self.replica = replica
        self._store = store
        rows = used_rows(store)
        self.n_rows = len(rows)
        self._per_slice = max(1, memory.SLICE // gather(store, rows[:1]).nbytes)
        self._order = order or (lambda epoch: visiting_order(rows, seed, epoch) if shuffle else rows)
        self._epoch = -1
        self._visits = rows

    def compile(self) -> None:
        """Get the kernels ready, so that no round waits for the compiler."""
        self.replica.compile(self._store.block(0))

    def train(self, n: int, on_rows: Callable[[int], None] | None = None) -> float:
        """Visit the next `n` rows; returns the sum of their losses. One round of a cluster."""
        slices, loss = self._slices(n), 0.0
        ready = [next(slices, None)]
        while (rows := ready.pop()) is not None:
            # The next rows are gathered while these are trained.
            loss += self.replica.train(rows, on_rows, lambda: ready.append(next(slices, None)))
            # Seen after a slice of rows, and not only at the end of a long round.
            if not np.isfinite(self.replica.flat).all():
                self._check(instability(self.replica.topology, self.replica.flat))
        return loss

    def _slices(self, n: int) -> Iterator[Rows]:
        """The next `n` rows to visit, a slice at a time."""
        start = self.replica.n_seen
        stop = start + n
        while start < stop:
            epoch, place = divmod(start, self.n_rows)
            if epoch != self._epoch:
                self._visits = np.zeros(0, np.int64)  # the last epoch's order makes room for the next one's
                self._epoch, self._visits = epoch, self._order(epoch)
            visits = self._visits[place : place + min(stop - start, self._per_slice)]
            yield gather(self._store, visits)
            start += len(visits)

    @property
    def n_seen(self) -> int:
        """Rows learned."""
        return self.replica.n_seen

    def average(self) -> None:
        """One replica is its own average; its threads bring their optimizer states together. Raises DivergedError."""
        self.replica.merge()
        self._check(instability(self.replica.topology, self.replica.flat))

    def snapshot(self) -> tuple[NDArray[np.float32], tuple[NDArray[np.float32], ...]]:
        """Copies of the weights and of the optimizer state."""
        return self.replica.flat.copy(), tuple(state.copy() for state in self.replica.states)

    def restore(
        self, flat: NDArray[np.float32], states: Sequence[NDArray[np.float32]], n_seen: int, n_halvings: int
    ) -> None:
        """Go back to a snapshot, and take steps halved so many times from there."""
        self.replica.restore(flat, states, n_seen)
        self.replica.optimizer = self.replica.optimizer._replace(scale=0.5**n_halvings)

    def _check(self, found: str | None) -> None:
        """Raise when something is wrong."""
        if found is not None:
            raise DivergedError(
                f"{found} after {self.replica.n_seen:,} rows. Lower `rate` or use adaptive_rate=True, turn `standardize` on, "
                f"use activation='tanh', add l1 or l2, or start from smaller weights."
            )

    def outputs(self, blocks: Iterable[Rows]) -> NDArray[np.float32]:
        """The network's outputs for encoded rows."""
        replica = self.replica
        n_threads = replica.parallelism.n_threads
        found = np.concatenate([predict(replica.topology, replica.flat, block, n_threads) for block in blocks])
        if not np.isfinite(found).all():
            self._check(f"{int((~np.isfinite(found)).sum()):,} of {found.size:,} outputs are not finite")
        return found
