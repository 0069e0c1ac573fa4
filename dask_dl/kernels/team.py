"""Threads that share a row (algorithm.md#teams): who owns which units, and how they wait for each other.

A thread alone is a team of one, so that the same compiled kernel serves one thread, each of several threads on rows of their
own, and all threads on one row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dask_dl.jit import inlined, kernel
from dask_dl.kernels.atomics import LINE, fetch_add, load, now, pause, store, yield_cpu
from dask_dl.state import LANE, aligned_zeros, padded

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dask_dl.kernels.layout import Topology

# Cells of `Team.control`, which all threads of a replica share.
NEXT, DONE, STOP, ABORT = (k * LINE for k in range(4))
# Cells of a thread's own line in `Team.arrived`: barriers passed; nanoseconds waited at those that were timed, and of all
# that was timed; whether this row is timed.
PASSED, WAITED, SPENT, TIMED = range(4)
#: Pauses before a waiting thread lets others run: its partner may need this core.
MAX_SPINS = 1000
#: One row in so many is timed: reading the clock takes as long as half a barrier.
TIMED_ROWS = 16


class Team(NamedTuple):
    """One thread's place in a team."""

    rank: int  #: of this thread
    size: int  #: threads that share each row
    control: NDArray[np.int64]  #: NEXT row, rows DONE, wish to STOP after a row, need to ABORT at once
    taken: NDArray[np.int64]  #: first row of this and of the last chunk, two lines
    arrived: NDArray[np.int64]  #: a line for each thread
    #: (2, activations): all layers' activations, of this row and of the next; of a batch, with their gradients beside them
    acts: NDArray[np.float32]
    errors: NDArray[np.float32]  #: (2, lanes, widest): errors to the layer below, a vector for each lane of units


def team_of(topology: Topology, size: int, control: NDArray[np.int64], *, batch: int = 1) -> list[Team]:
    """Make the places of threads that share each row, or each batch of rows.

    Parameters
    ----------
    topology : Topology
        Sizes of the network.
    size : int
        Number of threads.
    control : (4 LINE,) int64
        Cells that all threads of a replica share.
    batch : int
        Rows of a batch.

    Returns
    -------
    list of Team
        A place for each thread.
    """
    activations, lanes, widest = topology.buffers
    if batch > 1:
        activations, lanes, widest = batch * topology.buffers[0], 0, 0
    taken, arrived = np.zeros(2 * LINE, np.int64), np.zeros(size * LINE, np.int64)
    acts = aligned_zeros(2 * activations).reshape(2, -1)
    errors = aligned_zeros(2 * lanes * widest).reshape(2, lanes, widest)
    return [Team(rank, size, control, taken, arrived, acts, errors) for rank in range(size)]


def max_threads(topology: Topology) -> int:
    """Threads that can share a row: lanes of the widest hidden layer, of the output when there is none."""
    return max(padded(n) // LANE for n in topology.hidden or topology.units)


@inlined
def unit_range(n, rank, size):
    """Units [lo, hi) of a thread, out of n padded ones: whole lanes, so that no two threads write to one cache line."""
    lanes = n // LANE
    return lanes * rank // size * LANE, lanes * (rank + 1) // size * LANE


@inlined
def owner(lane, n_lanes, size):
    """Rank of the thread whose share holds a lane."""
    return ((lane + 1) * size - 1) // n_lanes


@inlined
def rank_in(team, is_output):
    """A thread's rank in a layer. Ranks of the output run backwards: few units go to the last, odd lanes too."""
    return team.size - 1 - team.rank if is_output else team.rank


@inlined
def barrier(team):
    """Wait until all threads of the team are here, and see what they have written. ABORT ends the wait."""
    if team.size > 1:
        _barrier(team)


@kernel
def _barrier(team):
    own = team.rank * LINE
    passed = team.arrived[own + PASSED] + 1
    began = now() if team.arrived[own + TIMED] else 0
    store(team.arrived, own + PASSED, passed)
    for other in range(team.size):
        spins = 0
        while load(team.arrived, other * LINE + PASSED) < passed:
            pause()
            spins += 1
            if spins > MAX_SPINS:
                if load(team.control, ABORT):
                    return
                yield_cpu()
    if team.arrived[own + TIMED]:
        team.arrived[own + WAITED] += now() - began


@kernel
def next_chunk(team, turn, stop, chunk):
    """Take the next rows, the same for the whole team.

    Parameters
    ----------
    team : Team
    turn : int
        Number of chunks that this thread has taken before.
    stop : int
        Row at which to stop.
    chunk : int
        Rows to take.

    Returns
    -------
    int
        The first of them; `stop` when there are none or no more are wanted.
    """
    if team.size == 1:
        return stop if load(team.control, STOP) else min(stop, fetch_add(team.control, NEXT, chunk))
    # The first thread takes for all. It may be one chunk ahead of the others, never two: hence two places.
    place = (turn & 1) * LINE
    if team.rank == 0:
        first = stop if load(team.control, STOP) else min(stop, fetch_add(team.control, NEXT, chunk))
        store(team.taken, place, first)
    barrier(team)
    return stop if load(team.control, ABORT) else load(team.taken, place)


@inlined
def must_stop(team):
    """Whether to stop before the next row: a team of several stops in `next_chunk`, where all have learned the same."""
    return load(team.control, ABORT) != 0 or (team.size == 1 and load(team.control, STOP) != 0)


@inlined
def begin_timing(team, is_timed):
    """Begin to time what a thread does for some rows, if it is; returns the time."""
    if is_timed:
        team.arrived[team.rank * LINE + TIMED] = 1
    return now() if is_timed else 0


@inlined
def end_timing(team, is_timed, began):
    """Add the nanoseconds since `began` to those spent, if they were timed."""
    if is_timed:
        team.arrived[team.rank * LINE + SPENT] += now() - began
        team.arrived[team.rank * LINE + TIMED] = 0
