"""Threads that share a row: who owns which units, and how they wait for each other.

A thread alone is a crew of one, so that the same compiled kernel serves one thread, each of several threads on rows of their
own, and all threads on one row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dask_dl.jit import inlined, kernel
from dask_dl.kernels.atomics import LINE, fetch_add, give_way, load, now, pause, store
from dask_dl.state import LANE, aligned_zeros, padded

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dask_dl.kernels.layout import Topology

# Cells of `Crew.control`, which all threads of a replica share.
NEXT, DONE, STOP, ABORT = (k * LINE for k in range(4))
# Cells of a thread's own line in `Crew.arrived`: barriers passed; nanoseconds waited at those that were timed, and of all
# that was timed; whether this row is timed.
PASSED, WAITED, SPENT, TIMED = range(4)
#: Pauses before a waiting thread lets others run: its partner may need this core.
PATIENCE = 1000
#: One row in so many is timed: reading the clock takes as long as half a barrier.
TIMED_ROWS = 16


class Crew(NamedTuple):
    """One thread's place in a crew."""

    rank: int  #: of this thread
    size: int  #: threads that share each row
    control: NDArray[np.int64]  #: NEXT row, rows DONE, wish to STOP after a row, need to ABORT at once
    taken: NDArray[np.int64]  #: first row of this and of the last chunk, two lines
    arrived: NDArray[np.int64]  #: a line for each thread
    #: (2, activations): all layers' activations, of this row and of the next; of a batch, with their slopes beside them
    acts: NDArray[np.float32]
    errors: NDArray[np.float32]  #: (2, lanes, widest): errors to the layer below, a vector for each lane of units


def crew_of(topology: Topology, size: int, control: NDArray[np.int64], *, batch: int = 1) -> list[Crew]:
    """Places of `size` threads that share each row, or each batch of rows."""
    activations, lanes, widest = topology.buffers
    if batch > 1:
        activations, lanes, widest = batch * topology.buffers[0], 0, 0
    taken, arrived = np.zeros(2 * LINE, np.int64), np.zeros(size * LINE, np.int64)
    acts = aligned_zeros(2 * activations).reshape(2, -1)
    errors = aligned_zeros(2 * lanes * widest).reshape(2, lanes, widest)
    return [Crew(rank, size, control, taken, arrived, acts, errors) for rank in range(size)]


def most_threads(topology: Topology) -> int:
    """Threads that can share a row: lanes of the widest hidden layer, of the output when there is none."""
    return max(padded(n) // LANE for n in topology.hidden or topology.units)


@inlined
def share(n, rank, size):
    """Units [lo, hi) of a thread, out of n padded ones: whole lanes, so that no two threads write to one cache line."""
    lanes = n // LANE
    return lanes * rank // size * LANE, lanes * (rank + 1) // size * LANE


@inlined
def owner(lane, n_lanes, size):
    """Rank of the thread whose share holds a lane."""
    return ((lane + 1) * size - 1) // n_lanes


@inlined
def rank_in(crew, is_output):
    """A thread's rank in a layer. Ranks of the output run backwards: few units go to the last, odd lanes too."""
    return crew.size - 1 - crew.rank if is_output else crew.rank


@inlined
def meet(crew):
    """Wait until all threads of the crew are here, and see what they have written. ABORT ends the wait."""
    if crew.size > 1:
        _meet(crew)


@kernel
def _meet(crew):
    own = crew.rank * LINE
    passed = crew.arrived[own + PASSED] + 1
    began = now() if crew.arrived[own + TIMED] else 0
    store(crew.arrived, own + PASSED, passed)
    for other in range(crew.size):
        spins = 0
        while load(crew.arrived, other * LINE + PASSED) < passed:
            pause()
            spins += 1
            if spins > PATIENCE:
                if load(crew.control, ABORT):
                    return
                give_way()
    if crew.arrived[own + TIMED]:
        crew.arrived[own + WAITED] += now() - began


@kernel
def take(crew, turn, stop, chunk):
    """First of the next `chunk` rows, the same for the whole crew; `stop` when there are none or no more are wanted."""
    if crew.size == 1:
        return stop if load(crew.control, STOP) else min(stop, fetch_add(crew.control, NEXT, chunk))
    # The first thread takes for all. It may be one chunk ahead of the others, never two: hence two places.
    place = (turn & 1) * LINE
    if crew.rank == 0:
        first = stop if load(crew.control, STOP) else min(stop, fetch_add(crew.control, NEXT, chunk))
        store(crew.taken, place, first)
    meet(crew)
    return stop if load(crew.control, ABORT) else load(crew.taken, place)
