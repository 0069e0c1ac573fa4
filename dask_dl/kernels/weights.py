"""Weights as they are learned: with optimizer state and consensus, shared by threads or copied for one."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from dask_dl.jit import inlined, kernel
from dask_dl.kernels.spans import span

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class WeightBlock(NamedTuple):
    """Weights with their optimizer state: the one-hot block or the dense part of the flat vectors, or a run of either."""

    weights: NDArray[np.float32]  #: (n,)
    state0: NDArray[np.float32]  #: (n,); empty where the optimizer has none: `optimizers.N_STATES`
    state1: NDArray[np.float32]  #: (n,), or empty
    center: NDArray[np.float32]  #: (n,): the consensus; empty where nothing pulls: `Optimizer.pull`

    @property
    def states(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The optimizer's state."""
        return self.state0, self.state1


class Weights(NamedTuple):
    """All weights and biases of a network."""

    onehot: WeightBlock  #: the one-hot block
    dense: WeightBlock  #: the dense part, of the replica or a thread's working copy


class WorkingCopy(NamedTuple):
    """Counterparts of a thread's copy of the dense part; both arrays are empty where there is no copy."""

    shared: NDArray[np.float32]  #: (dense,): published weights
    base: NDArray[np.float32]  #: (dense,): the copy at its last exchange
    first: int  #: place where the exchange begins


@inlined
def run_of(block, start, n, a):
    """Weights [start, start + n), with their consensus and optimizer state as far as there is any, not copied.

    Parameters
    ----------
    block : WeightBlock
    start, n : int
        First weight, and their number.
    a : (n,) float32
        Inputs, which stand in for the consensus where nothing pulls, so that a loop may read it and use it or not.

    Returns
    -------
    WeightBlock
        States that there are not are empty.
    """
    has0, has1 = block.state0.shape[0] > 0, block.state1.shape[0] > 0
    state0 = span(block.state0, start if has0 else 0, n if has0 else 0)
    state1 = span(block.state1, start if has1 else 0, n if has1 else 0)
    center = span(block.center, start, n) if block.center.shape[0] > 0 else a
    return WeightBlock(span(block.weights, start, n), state0, state1, center)


@kernel
def exchange(copy, own):
    """Publish what a working copy has learned, and take what others have published, without a lock.

    shared += own - base; base = own = shared (algorithm.md#staleness). Two threads in the same place at the same time
    may lose the step of one of them, so each begins at another place.

    Parameters
    ----------
    copy : WorkingCopy
    own : (dense,) float32
        Its weights.
    """
    n = own.shape[0]
    for part in range(2):
        lo, hi = (copy.first, n) if part == 0 else (0, copy.first)
        mine, published, before = span(own, lo, hi - lo), span(copy.shared, lo, hi - lo), span(copy.base, lo, hi - lo)
        for i in range(hi - lo):
            now_there = published[i] + (mine[i] - before[i])
            published[i] = now_there
            mine[i] = now_there
            before[i] = now_there
