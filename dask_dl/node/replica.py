"""One copy of the weights with its optimizer state, and the thread that trains it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from dask_dl.kernels.denormals import flushed
from dask_dl.kernels.network import predict_rows, train_rows
from dask_dl.kernels.steps import N_STATES, Optimizer
from dask_dl.state import Rows, aligned_zeros

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from dask_dl.kernels.layout import Topology

#: A kernel call lasts about this long, so that Ctrl-C, heartbeats and progress lines get their turn.
SECONDS_PER_CALL = 0.25


class Replica:
    """Weights, optimizer state and the number of rows they have learned from.

    Parameters
    ----------
    topology : Topology
    optimizer : Optimizer
    flat : (size,) float32
        Weights and biases as `topology` lays them out; trained in place.
    states : sequence of (size,) float32, optional
        Optimizer state to continue from; zeros when not given.
    n_seen : int
        Rows learned before: annealing and the momentum ramp go on from there.
    """

    def __init__(
        self,
        topology: Topology,
        optimizer: Optimizer,
        flat: NDArray[np.float32],
        states: Sequence[NDArray[np.float32]] = (),
        n_seen: int = 0,
    ) -> None:
        self.topology = topology
        self.optimizer = optimizer
        self.flat = flat
        self.states = list(states) or [aligned_zeros(topology.size) for _ in range(N_STATES[optimizer.kind])]
        self.n_seen = n_seen
        self._scratch = aligned_zeros(topology.scratch_size)

    def compile(self, rows: Rows) -> None:
        """Get the kernels ready for rows of this kind, without learning from them."""
        none = Rows(rows.dense[:0], rows.active[:0], rows.target[:0], rows.weight[:0], rows.offset[:0])
        self._step(none, 0, 0)
        out = np.empty((0, self.topology.n_outputs), np.float32)
        predict_rows(none, 0, 0, self.topology.network, self.flat, out, self._scratch)

    def train(self, rows: Rows, on_call: Callable[[int], None] | None = None) -> float:
        """One step per row, in order; returns the sum of the rows' losses before their steps.

        `on_call` is told the number of rows done after each kernel call; what it raises stops the training between
        two rows.
        """
        loss = 0.0
        for lo, hi in kernel_calls(rows.n):
            loss += self._step(rows, lo, hi)
            self.n_seen += hi - lo if not len(rows.weight) else int(np.count_nonzero(rows.weight[lo:hi]))
            if on_call is not None:
                on_call(hi - lo)
        return loss

    def _step(self, rows: Rows, lo: int, hi: int) -> float:
        """One kernel call over rows [lo, hi)."""
        nothing = np.zeros(0, np.float32)
        states = [*self.states, nothing, nothing][:2]
        network, optimizer = self.topology.network, self.optimizer
        with flushed():
            loss = train_rows(rows, lo, hi, network, optimizer, self.n_seen, self.flat, *states, self._scratch)
        return float(loss)


def predict(topology: Topology, flat: NDArray[np.float32], rows: Rows) -> NDArray[np.float32]:
    """Outputs of every row, (n, n_outputs): probabilities, or a number with its offset."""
    out = np.empty((rows.n, topology.n_outputs), np.float32)
    scratch = aligned_zeros(topology.scratch_size)
    for lo, hi in kernel_calls(rows.n):
        with flushed():
            predict_rows(rows, lo, hi, topology.network, flat, out, scratch)
    return out


def kernel_calls(n: int) -> Iterator[tuple[int, int]]:
    """Ranges [lo, hi) of n rows whose kernel calls last about SECONDS_PER_CALL each, by the clock of those before."""
    lo, size = 0, 16
    while lo < n:
        hi = min(n, lo + size)
        began = time.perf_counter()
        yield lo, hi
        ideal = (hi - lo) * SECONDS_PER_CALL / max(time.perf_counter() - began, 1e-9)
        size = int(min(max(ideal, 1), 4 * size))  # at most fourfold: a call may have met a quiet moment
        lo = hi
