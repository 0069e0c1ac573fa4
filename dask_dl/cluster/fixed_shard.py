"""Shards that are the same on every cluster: so many, with the same rows each, wherever they are trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dask_dl.cluster.shard import Shard
from dask_dl.errors import ReplicasLostError
from dask_dl.frame.subset import Subset
from dask_dl.state import copied

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from dask_dl.frame.blocks import Blocks
    from dask_dl.frame.view import View
    from dask_dl.node.replica import Replica
    from dask_dl.state import Rows


#: In place of rows learned: the replica has learned since the last average.
IN_TRAINING = -1


class FixedShard(Shard):
    """Some of the blocks of a process, with a replica of their own; which ones depends on no process.

    Parameters
    ----------
    whole : Shard
        Shard of the process, which holds the blocks and keeps the network that all fixed shards go on from.
    """

    def __init__(self, whole: Shard) -> None:
        super().__init__()
        self._whole = whole
        self._numbers: dict[str, tuple[int, ...]] = {}
        self._stores: dict[str, Blocks] = {}
        self._is_here = True  #: whether its rows are; else another process trains them
        self._current = IN_TRAINING  #: rows learned by the average that the replica belongs to

    def assign(self, table: str, numbers: Sequence[int]) -> None:
        """Blocks of a table, which are here, belong to this shard."""
        self._is_here = True
        if self._numbers.get(table) != tuple(numbers):
            self.forget(table)
            self._numbers[table] = tuple(numbers)

    def store(self, table: str) -> Blocks:
        """Blocks of this shard. Raises KeyError where one is not in this process."""
        if table not in self._stores:
            self._stores[table] = self._whole.tables[table].only(self._numbers[table])
        return self._stores[table]

    def forget(self, table: str) -> None:
        """Forget what was derived from the blocks of a table."""
        self._stores.pop(table, None)
        self._forget(table)

    def sample(self, name: str, view: View) -> Iterable[Rows]:
        """Rows to score on: those of the view that were set aside, or all of it."""
        self.cut(view.table, self._whole.cuts.get(view.table))
        found, store = super().sample(name, view), self.store(view.table)
        if store.sets_aside:  # the rows are in memory once
            self._whole.tables[view.table].blocks |= store.blocks
        return found

    @property
    def n_visits(self) -> int:
        """Visits of an epoch to the rows of this shard."""
        setup = self._whole.setup
        return sum(Subset(self.store(setup.table), setup.view, starts=setup.starts).n_visits().values())

    @property
    def vectors(self) -> tuple[NDArray[np.float32], ...]:
        """Weights of the replica, then each vector of optimizer state: no copies."""
        assert self.replica is not None
        return (self.replica.flat, *self.replica.states)

    @property
    def is_current(self) -> bool:
        """Whether the replica is the one that the last average was made of, or that of a snapshot."""
        kept = self._whole.replica
        return kept is not None and self.trains(self._whole.setup) and self._current == kept.n_seen

    def follow(self) -> Replica:
        """Go on from the network of the process or, where that is a consensus, be drawn to it.

        Returns
        -------
        Replica
            The replica, ready for a round.

        Raises
        ------
        ReplicasLostError
            When the replica that should be drawn to the consensus is not here.
        """
        whole, kept = self._whole, self._whole.replica
        assert kept is not None
        self.storage = whole.storage
        if whole.consensus and not self.is_current:
            raise ReplicasLostError("a replica of elastic averaging is gone with its worker.")
        if not self.trains(whole.setup):
            self.adopt((kept.flat, *kept.states))
        assert self.replica is not None
        if whole.consensus:
            self.consensus, self.replica.n_seen = whole.consensus, kept.n_seen
            self.replica.pull_to(whole.consensus[0])
        else:
            self.restore(kept.flat, kept.states, kept.n_seen)
        self._current = IN_TRAINING
        return self.replica

    def averaged(self, before: int, n_seen: int) -> None:
        """Note that the process has an average, of so many rows, after one of `before` rows."""
        if self._is_here and self._current in {IN_TRAINING, before}:
            self._current = n_seen

    def dropped(self, table: str, numbers: Iterable[int]) -> None:
        """Note that blocks of a table are not in this process any more.

        A replica of elastic averaging stays what it is, until it has followed its rows; any other is an average's copy.
        """
        if not set(numbers).isdisjoint(self._numbers.get(table, ())):
            self._is_here = False
            if not self._whole.consensus:
                self.stop()

    def adopt(self, vectors: Sequence[NDArray[np.float32]]) -> None:
        """Go on with a replica of a snapshot: weights, then each vector of optimizer state."""
        kept = self._whole.replica
        assert kept is not None
        flat, *states = (copied(vector) for vector in vectors)
        self.start(self._whole.setup, flat, states, kept.n_seen, kept.parallelism)
        self._current = kept.n_seen


def fixed_shard(whole: Shard, name: str, table: str, numbers: Sequence[int]) -> FixedShard:
    """Fixed shard of a process, which has these blocks of a table from now on.

    Parameters
    ----------
    whole : Shard
        Shard of the process.
    name : str
        Name of the fixed shard.
    table : str
        Key of the table.
    numbers : sequence of int
        Numbers of its blocks.

    Returns
    -------
    FixedShard
        The one of this name if there is one, else a new one.
    """
    shard = whole.fixed.get(name)
    if not isinstance(shard, FixedShard):
        shard = whole.fixed[name] = FixedShard(whole)
    shard.assign(table, numbers)
    return shard
