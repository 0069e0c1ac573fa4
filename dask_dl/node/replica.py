"""One copy of the weights with its optimizer state, and the threads that train it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dask_dl.errors import ParameterError, SchemaError
from dask_dl.kernels.atomics import LINE
from dask_dl.kernels.batches import indices_size, max_active, predict_batches, scratch_size, train_batches
from dask_dl.kernels.denormals import flushed
from dask_dl.kernels.network import Buffers, Queue, train_rows
from dask_dl.kernels.optimizers import Optimizer, rule_of
from dask_dl.kernels.team import ABORT, DONE, NEXT, PASSED, SPENT, STOP, WAITED, Team, team_of
from dask_dl.kernels.weights import WeightBlock, Weights, WorkingCopy
from dask_dl.node.parallelism import MAX_WAITING, ROWS_PER_THREAD, Parallelism, handed_over
from dask_dl.node.threads import run_threads
from dask_dl.state import Rows, aligned_zeros, copied

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from dask_dl.kernels.layout import Topology
    from dask_dl.kernels.losses import Objective

#: A prediction's kernel call lasts about this long, so that Ctrl-C gets its turn.
SECONDS_PER_CALL = 0.25
#: Rows that a prediction takes through the layers together.
ROWS_TO_PREDICT = 32
#: Seconds of a team's timed rows, of all its threads together, by which their waiting is judged.
SECONDS_TO_JUDGE = 0.1
NOTHING = np.zeros(0, np.float32)
NO_COPY = WorkingCopy(NOTHING, NOTHING, 0)
ONE_THREAD = Parallelism("one thread", 1, 64, "one thread")


class ThreadContext(NamedTuple):
    """Arrays that one thread works with."""

    dense: WeightBlock  #: the replica's own, or a working copy
    team: Team
    copy: WorkingCopy  #: what a working copy is exchanged with
    scratch: NDArray[np.float32]  #: (scratch_size,)


class Replica:
    """Weights, optimizer state and the number of rows they have learned from.

    Parameters
    ----------
    topology : Topology
    optimizer : Optimizer
    objective : Objective
        Loss that it minimises.
    flat : (size,) float32
        Weights and biases as `topology` lays them out; trained in place.
    states : sequence of (size,) float32, optional
        Optimizer state to continue from; zeros when not given.
    n_seen : int
        Rows learned before: annealing and the momentum ramp go on from there.
    parallelism : Parallelism
        What its threads do.
    on_change : callable, optional
        Told when they do something else from now on.

    Raises
    ------
    ParameterError
        When a reconstruction has not as many outputs as inputs.
    """

    def __init__(
        self,
        topology: Topology,
        optimizer: Optimizer,
        objective: Objective,
        flat: NDArray[np.float32],
        states: Sequence[NDArray[np.float32]] = (),
        n_seen: int = 0,
        parallelism: Parallelism = ONE_THREAD,
        on_change: Callable[[Parallelism], None] | None = None,
    ) -> None:
        if objective.of_inputs and (topology.output == "softmax" or topology.n_outputs != topology.n_inputs):
            found = f"{topology.n_outputs} {topology.output}"
            raise ParameterError(f"a reconstruction of {topology.n_inputs} inputs needs as many outputs, not {found}")
        self.topology = topology
        self.optimizer = optimizer
        self.objective = objective
        self.flat = flat
        self.states = list(states) or [aligned_zeros(topology.size) for _ in range(rule_of(optimizer).n_states)]
        self.n_seen = n_seen
        self.control = np.zeros(4 * LINE, np.int64)
        self._onehot = _part(flat, self.states, 0, topology.onehot_size)
        self._dense = _part(flat, self.states, topology.onehot_size, topology.size)
        self.on_change = on_change
        self._set(parallelism)

    def _set(self, parallelism: Parallelism) -> None:
        self.parallelism, self._judged = parallelism, (0, 0)
        n, topology, batch = parallelism.n_threads, self.topology, self.optimizer.batch
        if parallelism.way != "staleness":
            teams = team_of(topology, n, self.control, batch=batch)
            self.contexts = [
                ThreadContext(self._dense, team, NO_COPY, _scratch(topology, self.optimizer)) for team in teams
            ]
            return
        self.contexts = []
        for rank in range(n):
            # The first thread's optimizer state is the replica's; at a round's end it is the average of all.
            state0, state1 = (s if rank == 0 or not len(s) else copied(s) for s in self._dense.states)
            own = WeightBlock(copied(self._dense.weights), state0, state1, self._dense.center)
            copy = WorkingCopy(self._dense.weights, copied(own.weights), rank * (topology.dense_size // n))
            team = team_of(topology, 1, self.control, batch=batch)[0]
            self.contexts.append(ThreadContext(own, team, copy, _scratch(topology, self.optimizer)))

    def pull_to(self, center: NDArray[np.float32] | None) -> None:
        """Draw weights and biases to a consensus from now on, as strongly as `optimizer.penalties.pull` says.

        Parameters
        ----------
        center : (size,) float32 or None
            Laid out as the weights, its padding zero. All threads read it in place, so it must not change while they train;
            only one that is read-only is copied. None: nothing pulls.

        Raises
        ------
        ValueError
            The consensus is not as long as the weights.
        """
        n = self.topology.onehot_size
        onehot = dense = NOTHING
        if center is not None:
            if center.shape != self.flat.shape:
                raise ValueError(
                    f"the consensus has the shape {center.shape}, not that of the weights, {self.flat.shape}"
                )
            # Numba compiles another kernel for a vector that is read-only, as one that was received may be.
            center = np.require(center, np.float32, ["C", "A", "W"])
            onehot, dense = center[:n], center[n:]
        self._onehot, self._dense = self._onehot._replace(center=onehot), self._dense._replace(center=dense)
        self.contexts = [context._replace(dense=context.dense._replace(center=dense)) for context in self.contexts]

    def compile(self, rows: Rows) -> None:
        """Get the kernels ready for rows of this kind, without learning from them."""
        none = rows.map(lambda part: part[:0])
        # On the calling thread, where Ctrl-C ends the compiler, and alone: no other thread would come to a barrier.
        contexts, alone = self.contexts, team_of(self.topology, 1, self.control, batch=self.optimizer.batch)[0]
        self.contexts = [contexts[0]._replace(team=alone)]
        try:
            self.visit(0, none, 0, self.n_seen)
        finally:
            self.contexts = contexts
        predict(self.topology, self.flat, rows.cut(0, 1))  # of no row no kernel is called

    def train(
        self,
        rows: Rows,
        on_rows: Callable[[int], None] | None = None,
        meanwhile: Callable[[], None] | None = None,
    ) -> float:
        """One step per row of positive weight, in order as far as threads have one; returns the sum of their losses.

        `on_rows` is told the number of rows done since its last call, now and then; what it raises, or an interrupt,
        stops the training between two rows: `n_seen` counts those that were learned. `meanwhile` is called once, while the
        threads work. Raises SchemaError where rows lack the targets that the objective needs.
        """
        if len(rows.target) != rows.n and not self.objective.of_inputs:
            raise SchemaError(
                f"{rows.n:,} rows have {len(rows.target):,} targets; the objective needs one for each row"
            )
        if len(rows.weight) and not rows.weight.all():
            rows = rows.take(rows.weight > 0)
        first, loss, is_over = self.n_seen, 0.0, False
        while not is_over:
            way = self.parallelism
            loss += self._train(rows, first, on_rows, meanwhile)
            is_over, meanwhile = self.parallelism is way, None
        return loss

    def _train(
        self,
        rows: Rows,
        first: int,
        on_rows: Callable[[int], None] | None,
        meanwhile: Callable[[], None] | None,
    ) -> float:
        """Train what is left of `rows`, before which `first` rows were learned; a team may stop early to hand over."""
        self.control[:] = 0
        self.control[NEXT] = self.n_seen - first
        for context in self.contexts:
            context.team.arrived[context.team.rank * LINE + PASSED] = 0  # they differ where a thread was aborted
        losses = [0.0] * len(self.contexts)
        told = 0

        def work(rank: int) -> None:
            self.refresh(rank)
            losses[rank] = self.visit(rank, rows, rows.n, first)

        def tell() -> None:
            nonlocal told
            done = int(self.control[DONE])
            if on_rows is not None:
                on_rows(done - told)  # of 0 rows too: it may be time to stop
                told = done
            if self.waits_too_long():
                self.control[STOP] = 1

        is_team = self.parallelism.way == "team"
        try:
            run_threads(len(self.contexts), work, self.control, tell, meanwhile)
        finally:
            self.n_seen += int(self.control[DONE])
        tell()
        if self.waits_too_long():
            self.hand_over()
        return losses[0] if is_team else sum(losses)

    def refresh(self, rank: int) -> None:
        """Begin a call with what all threads had learned at the end of the last."""
        context = self.contexts[rank]
        if len(context.copy.shared):
            np.copyto(context.dense.weights, context.copy.shared)
            np.copyto(context.copy.base, context.dense.weights)  # not `shared`: others may have published meanwhile

    def visit(self, rank: int, rows: Rows, stop: int, n_seen: int) -> float:
        """Train in one thread: take chunks of rows from `control[NEXT]` up to `stop`, and exchange after each.

        Parameters
        ----------
        rank : int
            Number of the thread.
        rows : Rows
            Rows to visit, in order.
        stop : int
            Row at which to stop.
        n_seen : int
            Rows learned before row 0.

        Returns
        -------
        float
            Sum of the losses of the rows that this thread visited.
        """
        context = self.contexts[rank]
        batch, maximum = self.optimizer.batch, max_active(rows, self.optimizer.batch)
        n_indices = maximum if batch == 1 else indices_size(self.topology.n_onehot, batch, maximum)
        buffers = Buffers(np.full(n_indices, -1, np.int32), np.empty(maximum, np.float32), context.scratch)
        queue = Queue(stop, self.parallelism.interval_at(n_seen), n_seen)
        weights = Weights(self._onehot, context.dense)
        train = train_rows if batch == 1 else train_batches
        with flushed():
            return float(
                train(
                    rows, queue, self.topology.network, self.objective, self.optimizer, weights, context.team, context.copy,
                    buffers,
                )
            )  # fmt: skip

    def merge(self) -> None:
        """The end of a round: the threads' optimizer states become their average."""
        if self.parallelism.way != "staleness":
            return
        for states in zip(*(context.dense.states for context in self.contexts), strict=True):
            mean = states[0]  # the replica's own
            for other in states[1:]:
                mean += other
            mean /= np.float32(len(states))
            for other in states[1:]:
                np.copyto(other, mean)

    def restore(self, flat: NDArray[np.float32], states: Sequence[NDArray[np.float32]], n_seen: int) -> None:
        """Go back to other weights and optimizer state."""
        np.copyto(self.flat, flat)
        for state, other in zip(self.states, states, strict=True):
            np.copyto(state, other)
        for context in self.contexts[1:]:
            if len(context.copy.shared):
                for own, state in zip(context.dense.states, self._dense.states, strict=True):
                    np.copyto(own, state)
        self.n_seen = n_seen

    def _waiting(self) -> tuple[int, int]:
        """Nanoseconds waited, and of all that was timed, by all threads of a team."""
        lines = self.contexts[0].team.arrived.reshape(-1, LINE)
        return int(lines[:, WAITED].sum()), int(lines[:, SPENT].sum())

    def waits_too_long(self) -> bool:
        """Whether a team that may hand over spends its time waiting, by the rows timed since the last look."""
        if self.parallelism.fallback is None:
            return False
        waited, spent = (now - before for now, before in zip(self._waiting(), self._judged, strict=True))
        if spent < SECONDS_TO_JUDGE * 1e9:
            return False
        if waited <= MAX_WAITING * spent:
            self._judged = self._waiting()
            return False
        return True

    def hand_over(self) -> None:
        """Go over from a team to threads with working copies."""
        waited, spent = (now - before for now, before in zip(self._waiting(), self._judged, strict=True))
        self._set(handed_over(self.parallelism, waited / spent, self.n_seen))
        if self.on_change is not None:
            self.on_change(self.parallelism)


def _part(flat: NDArray[np.float32], states: Sequence[NDArray[np.float32]], start: int, stop: int) -> WeightBlock:
    state0, state1 = ([state[start:stop] for state in states] + [NOTHING, NOTHING])[:2]
    return WeightBlock(flat[start:stop], state0, state1, NOTHING)


def _scratch(topology: Topology, optimizer: Optimizer) -> NDArray[np.float32]:
    return aligned_zeros(topology.scratch_size if optimizer.batch == 1 else scratch_size(topology, optimizer))


def predict(
    topology: Topology,
    flat: NDArray[np.float32],
    rows: Rows,
    n_threads: int = 1,
    control: NDArray[np.int64] | None = None,
) -> NDArray[np.float32]:
    """Predict every row.

    Parameters
    ----------
    topology : Topology
        Sizes of the network.
    flat : (size,) float32
        Weights and biases as the topology lays them out.
    rows : Rows
        Rows, n of them.
    n_threads : int
        Maximum number of threads.
    control : (..., ) int64, optional
        Cells as `kernels.team` names them: at STOP or ABORT it ends soon, and what was not predicted is 0.

    Returns
    -------
    (n, n_outputs) float32
        Probabilities, or a number with its offset.
    """
    n_threads = min(n_threads, 1 + rows.n // ROWS_PER_THREAD)
    out = np.zeros((rows.n, topology.n_outputs), np.float32)
    onehot, dense = flat[: topology.onehot_size], flat[topology.onehot_size :]
    control = np.zeros(4 * LINE, np.int64) if control is None else control
    size = min(ROWS_TO_PREDICT, max(rows.n, 2))  # buffers of a batch, where there are several rows or one
    maximum = max_active(rows, size)

    def work(rank: int) -> None:
        team = team_of(topology, 1, control, batch=size)[0]
        buffers = Buffers(np.empty(maximum + size + 1, np.int32), np.empty(maximum, np.float32), NOTHING)
        with flushed():
            for lo, hi in kernel_calls(rows.n * rank // n_threads, rows.n * (rank + 1) // n_threads):
                if control[STOP] or control[ABORT]:
                    return
                predict_batches(rows, lo, hi, topology.network, onehot, dense, team, size, buffers, out)

    if n_threads == 1:  # here: a task of Dask has its thread
        work(0)
    else:
        run_threads(n_threads, work, control)
    return out


def kernel_calls(lo: int, stop: int) -> Iterator[tuple[int, int]]:
    """Ranges [lo, hi) of rows whose kernel calls last about SECONDS_PER_CALL each, by the clock of those before."""
    size = 16
    while lo < stop:
        hi = min(stop, lo + size)
        began = time.perf_counter()
        yield lo, hi
        ideal = (hi - lo) * SECONDS_PER_CALL / max(time.perf_counter() - began, 1e-9)
        size = int(min(max(ideal, 1), 4 * size))  # at most fourfold: a call may have met a quiet moment
        lo = hi
