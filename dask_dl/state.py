"""Frozen values that packages pass to each other, and how their arrays are laid out."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

LANE = 16  #: float32 numbers in 64 bytes: a vector register and a cache line
N_STORED = 5  #: parts of `Rows` that a table has, beside its entries; the others belong to a visit


class Entries(NamedTuple):
    """Inputs of one-hot slots that bring a value of their own: any number per row, in pools that rows share.

    Within a row the slots ascend, no two are alike, and none is among the row's active levels. A row that is cut out or taken
    refers to the same pools; `Rows.compact` gives rows pools of their own.
    """

    begin: NDArray[np.int64]  #: (n,): first entry of each row; empty where a table has no sparse inputs
    length: NDArray[np.int32]  #: (n,): entries of each row
    slot: NDArray[np.int32]  #: (m,): one-hot input of each entry
    value: NDArray[np.float32]  #: (m,): what it counts

    @property
    def n(self) -> int:
        """Entries that the rows refer to, one that several rows share counting for each."""
        return int(self.length.sum(dtype=np.int64))

    @property
    def longest(self) -> int:
        """Entries of the longest row."""
        return int(self.length.max(initial=0))

    @property
    def nbytes(self) -> int:
        """Memory of what the rows refer to."""
        return self.begin.nbytes + self.length.nbytes + ENTRY * self.n

    def of(self, which: Any) -> Entries:
        """Those of some rows, in the same pools."""
        return self._replace(begin=self.begin[which], length=self.length[which]) if len(self.begin) else self

    def places(self) -> NDArray[np.int64] | slice:
        """Where in the pools the entries of the rows are, row by row."""
        ends = np.cumsum(self.length, dtype=np.int64)
        starts = ends - self.length
        if not len(ends) or not ends[-1]:
            return slice(0, 0)
        apart = self.begin - starts
        apart = apart[self.length > 0]
        if (apart == apart[0]).all():  # rows as they were stored
            return slice(int(apart[0]), int(apart[0] + ends[-1]))
        return np.repeat(self.begin - starts, self.length) + np.arange(ends[-1])

    def compact(self) -> Entries:
        """Entries in pools that hold nothing else, in the order of the rows; not copied where they are that already."""
        places = self.places()
        slot, value = self.slot[places], self.value[places]
        if isinstance(places, slice) and len(slot) < len(self.slot):
            slot, value = slot.copy(), value.copy()  # a part would keep all of the pools in memory
        return Entries(begins(self.length), self.length, slot, value)


def begins(length: NDArray[np.int32]) -> NDArray[np.int64]:
    """First entry of each row, where they lie one after another."""
    return np.cumsum(length, dtype=np.int64) - length


#: Bytes of an entry.
ENTRY = 8
NO_ENTRIES = Entries(np.zeros(0, np.int64), np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros(0, np.float32))


class Rows(NamedTuple):
    """Encoded rows, in the order in which they are visited."""

    dense: NDArray[np.float32]  #: (n, padded numbers): numeric inputs
    active: NDArray[np.int32]  #: (n, categories): one-hot input of each categorical column; -1 = none
    target: NDArray[np.float32]  #: (n,): class index, or the target in the units of the output's pre-activation
    weight: NDArray[np.float32]  #: (n,): factor of the loss; empty = 1 for all
    offset: NDArray[np.float32]  #: (n,): added to the output's pre-activation; empty = 0 for all
    key: NDArray[np.uint64] = np.zeros(0, np.uint64)  #: (n,): what dropout draws from; empty where nothing is drawn
    #: (n, inputs + hidden units): 0 = dropped, where that is given instead of drawn
    kept: NDArray[np.uint8] = np.zeros((0, 0), np.uint8)
    entries: Entries = NO_ENTRIES  #: sparse inputs: of one-hot slots, as levels, with a value each

    @property
    def n(self) -> int:
        """How many."""
        return len(self.dense)

    def cut(self, lo: int, hi: int) -> Rows:
        """Rows [lo, hi), not copied."""
        return self._some(slice(lo, hi))

    def take(self, which: NDArray[np.integer[Any] | np.bool_]) -> Rows:
        """Some rows, by positions or a boolean mask, copied; entries stay in the pools where they are."""
        return self._some(which)

    def _some(self, which: Any) -> Rows:
        return Rows.of((part[which] if len(part) else part for part in self.even), self.entries.of(which))

    def compact(self) -> Rows:
        """Rows with pools that hold their entries, in order, and nothing else."""
        return self._replace(entries=self.entries.compact()) if any(part.size for part in self.entries) else self

    def copy(self) -> Rows:
        """Copy of the rows, whose arrays share no memory with these."""
        return self.compact().map(np.copy)

    def room(self, lo: int, hi: int, first: int, stop: int) -> Rows:
        """Part of a buffer that rows and their entries are written to, not copied.

        Parameters
        ----------
        lo, hi : int
            Rows [lo, hi) of the buffer.
        first, stop : int
            Places [first, stop) of its pools, which no other part has.

        Returns
        -------
        Rows
        """
        there, here = self.cut(lo, hi), slice(first, stop)
        entries = there.entries._replace(slot=self.entries.slot[here], value=self.entries.value[here])
        return there._replace(entries=entries)

    def map(self, change: Callable[[Any], Any]) -> Rows:
        """Rows with every array changed."""
        return Rows.of(map(change, self.even), Entries(*map(change, self.entries)))

    @classmethod
    def of(cls, even: Iterable[NDArray[Any]], entries: Entries) -> Rows:
        """Rows made of the arrays in which all rows are equally long, in order, and of entries."""
        parts: list[Any] = [*even, entries]
        return cls(*parts)

    @property
    def even(self) -> tuple[NDArray[Any], ...]:
        """The arrays in which all rows are equally long."""
        return self.dense, self.active, self.target, self.weight, self.offset, self.key, self.kept

    @property
    def parts(self) -> tuple[NDArray[Any], ...]:
        """All arrays."""
        return *self.even, *self.entries

    @property
    def nbytes(self) -> int:
        """Memory they take, of the pools what they refer to."""
        return sum(part.nbytes for part in self.even) + self.entries.nbytes


def joined(pieces: Sequence[Rows]) -> Rows:
    """Rows one after another, of tables with the same parts."""
    apart = [piece.compact() for piece in pieces]
    _, length, slot, value = map(np.concatenate, zip(*(piece.entries for piece in apart), strict=True))
    even = map(np.concatenate, zip(*(piece.even for piece in apart), strict=True))
    return Rows.of(even, Entries(begins(length), length, slot, value))


def padded(n: int) -> int:
    """`n` rounded up to whole lanes."""
    return -(-n // LANE) * LANE


def aligned_zeros(n: int) -> NDArray[np.float32]:
    """`n` zeros of float32 that start on a 64-byte boundary (NumPy promises 16)."""
    raw = np.zeros(n + LANE, np.float32)
    start = (-raw.ctypes.data // 4) % LANE
    return raw[start : start + n]


def copied(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    """A copy that starts on such a boundary, and may be written."""
    copy = aligned_zeros(len(vector))
    np.copyto(copy, vector)
    return copy


class TrainedWeights(NamedTuple):
    """Weights that a trainer begins with or has come to, and all that goes with them."""

    flat: NDArray[np.float32]  #: (size,): weights and biases as the topology lays them out
    states: Sequence[NDArray[np.float32]]  #: optimizer state, (size,) each; empty for zeros
    n_seen: int  #: rows that they have learned
    averaging: AveragingState | None = (
        None  #: of several replicas; None: momentum begins anew, and replicas from these weights
    )

    def copy(self) -> TrainedWeights:
        """Copy of the weights, whose arrays share no memory with these."""
        averaging = None if self.averaging is None else self.averaging.copy()
        return TrainedWeights(self.flat.copy(), tuple(state.copy() for state in self.states), self.n_seen, averaging)


class AveragingState(NamedTuple):
    """State of the averages of a training of several replicas, beside the network."""

    n_averages: int  #: so far
    velocity: NDArray[np.float32] | None = None  #: of the outer momentum
    #: of elastic averaging, by shard: weights, then each vector of optimizer state
    replicas: Mapping[str, tuple[NDArray[np.float32], ...]] = MappingProxyType({})

    def copy(self) -> AveragingState:
        """Copy of the state, whose arrays share no memory with these."""
        velocity = None if self.velocity is None else self.velocity.copy()
        replicas = {name: tuple(vector.copy() for vector in vectors) for name, vectors in self.replicas.items()}
        return AveragingState(self.n_averages, velocity, replicas)


class LayerStats(NamedTuple):
    """Figures of the weights of a layer at some moment (algorithm.md#layer-summary)."""

    mean_rate: float  #: over the weights: the step of each per unit of its gradient
    rate_rms: float  #: deviation of the rates from their mean
    momentum: float
    mean_weight: float
    weight_rms: float  #: deviation of the weights from their mean
    mean_bias: float
    bias_rms: float  #: likewise
    #: hidden units that passed no gradient at any row of the training sample; None: this was not looked at
    n_dead: int | None = None


class UnitActivity(NamedTuple):
    """How often each hidden unit passes a gradient."""

    n_rows: int
    counts: tuple[NDArray[np.int64], ...]  #: (units,) rows at which it does, for each hidden layer

    def merge(self, other: UnitActivity) -> UnitActivity:
        """Both sets of rows together."""
        counts = tuple(a + b for a, b in zip(self.counts, other.counts, strict=True))
        return UnitActivity(self.n_rows + other.n_rows, counts)
