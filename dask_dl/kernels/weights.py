"""Weights as they are learned: with optimizer state and consensus, shared by threads or copied for one."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from dask_dl.jit import kernel
from dask_dl.kernels.spans import span

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class WeightBlock(NamedTuple):
    """Weights with their optimizer state: the one-hot block or the dense part of the flat vectors, or a run of either."""

    weights: NDArray[np.float32]  #: (n,)
    state0: NDArray[np.float32]  #: (n,); empty where the optimizer has none: `optimizers.RULES`
    state1: NDArray[np.float32]  #: (n,), or empty
    center: NDArray[np.float32]  #: (n,): the consensus; empty where nothing pulls: `Penalties.pull`

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
