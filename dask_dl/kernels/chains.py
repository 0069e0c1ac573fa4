"""Rows of a mini-batch by the one-hot input that is active in them, so that each input is updated once."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from dask_dl.jit import kernel
from dask_dl.kernels.layers import add_scaled
from dask_dl.kernels.optimizers import ZERO
from dask_dl.kernels.spans import span

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Chains(NamedTuple):
    """A list of rows for each active one-hot input that occurs; an active input of a row has a place of its own."""

    heads: NDArray[np.int32]  #: (one-hot inputs,): last place with each input; -1: there is none
    links: NDArray[np.int32]  #: (max_active,): for each place the one before it in its list; -1 at its end
    owners: NDArray[np.int32]  #: (max_active,): row of each place
    seen: NDArray[np.int32]  #: (max_active,): the inputs that occur
    values: NDArray[np.float32]  #: (max_active,): value of the input at each place
    n: int  #: inputs that occur


@kernel
def chain_slots(slots, edges, chains):
    """Make the lists of a batch of rows.

    Parameters
    ----------
    slots : (max_active,) int32
        Active inputs, row after row.
    edges : (B + 1,) int32
        Place in `slots` where each row begins, and the end.
    chains : Chains
        Its heads are all -1 before.

    Returns
    -------
    int
        Number of inputs that occur.
    """
    n = 0
    for i in range(edges.shape[0] - 1):
        for e in range(edges[i], edges[i + 1]):
            slot = slots[e]
            if chains.heads[slot] < 0:
                chains.seen[n] = slot
                n += 1
            chains.links[e], chains.owners[e] = chains.heads[slot], i
            chains.heads[slot] = e
    return n


@kernel
def add_rows(chains, slot, deltas, total, lo, hi):
    """Sum the deltas of the rows in which an input is active, times the values that it has there.

    Parameters
    ----------
    chains : Chains
    slot : int
        The input.
    deltas : Matrix
        Deltas of a layer's units, by row.
    total : (widest,) float32
        Receives the sum in [lo, hi).
    lo, hi : int
        Part of the layer's vectors.
    """
    out = span(total, lo, hi - lo)
    for j in range(hi - lo):
        out[j] = ZERO
    place = chains.heads[slot]
    while place >= 0:
        row = deltas.start + chains.owners[place] * deltas.length
        add_scaled(out, chains.values[place], span(deltas.numbers, row + lo, hi - lo))
        place = chains.links[place]
