"""Network with which a training begins: drawn, given, or of a checkpoint."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dask_dl.cluster.setup import Setup
from dask_dl.errors import DivergedError, ParameterError
from dask_dl.frame.source import OFFSET
from dask_dl.kernels.initial import initial_biases, initial_weights
from dask_dl.metrics.history import History
from dask_dl.node.stability import instability
from dask_dl.training_state import Snapshot, TrainingState

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from dask_dl.cluster.backend import Backend
    from dask_dl.cluster.trainer import Trainer
    from dask_dl.model import Model
    from dask_dl.node.parallelism import Parallelism
    from dask_dl.state import AveragingState
    from dask_dl.training.checkpoints import Checkpoint
    from dask_dl.training.problem import Problem


#: Name of the rows that a fold of a cross-validation is measured on in the end.
HOLDOUT = "holdout"
#: A bias that begins so near 0 is the rounding of sums, which depends on the partitions, and l1 looks at its sign.
ROUNDING = 1e-12


def drawn_seed(asked: Any) -> int:
    """Seed that is asked for: a number, one that a generator of NumPy gives, or any for None."""
    if asked is None:
        return int(np.random.SeedSequence().generate_state(1)[0])
    if isinstance(asked, int):
        return asked
    draw = asked.integers if isinstance(asked, np.random.Generator) else asked.randint
    return int(draw(2**31 - 1))  # as much as scikit-learn draws


class Start(NamedTuple):
    """Network and counters with which the rounds begin."""

    flat: NDArray[np.float32]  #: weights and biases
    states: tuple[NDArray[np.float32], ...]  #: optimizer state; empty for zeros
    state: TrainingState
    averaging: AveragingState | None = None  #: with which averages go on; None: from their beginning

    @classmethod
    def fresh(cls, problem: Problem) -> Start:
        """Begin with the network as it is drawn or given. Raises ParameterError when given values do not fit the network."""
        metric = problem.run.stopping.metric
        state = TrainingState(History(problem.head.kind, "validation" in problem.scored, metric=metric))
        state.history.start()
        return cls(_start_values(problem), (), state)

    @classmethod
    def resumed(cls, checkpoint: Checkpoint, problem: Problem) -> Start:
        """Go on where a training broke off."""
        metric = problem.run.stopping.metric
        return cls(checkpoint.flat, tuple(checkpoint.states), checkpoint.state(metric), checkpoint.averaging)

    @classmethod
    def continued(cls, model: Model, problem: Problem) -> Start:
        """Go on from a model: from its network, with its optimizer state, counters and history.

        Averages of several replicas begin anew, and so do steps that were halved: a model has nothing of them.
        """
        record, network = model.record, model.network
        events, metric = list(record.history.events), problem.run.stopping.metric
        history = History(problem.head.kind, "validation" in problem.scored, events, metric, len(events))
        speed, seconds = events[-1].training_speed, events[-1].duration
        training_seconds = record.n_seen / speed if speed > 0 else seconds
        state = TrainingState(history, record.n_seen, record.n_rounds, training_seconds, seconds)
        return cls(network.flat.copy(), tuple(vector.copy() for vector in network.states), state)

    @classmethod
    def pretrained(cls, autoencoder: Model, problem: Problem) -> Start:
        """Begin with the first hidden layers of an autoencoder, whose inputs the network has, and a fresh output."""
        start = cls.fresh(problem)
        topology, n = problem.topology, len(problem.topology.hidden)
        own = topology.unpack(start.flat)
        learned = autoencoder.network.topology.unpack(autoencoder.network.flat)
        weights, biases = ([*theirs[:n], *ours[n:]] for theirs, ours in zip(learned, own, strict=True))
        return start._replace(flat=topology.pack(weights, biases))

    def align(self, trainer: Trainer, n_epochs: float) -> None:
        """Go on with the visits where so many epochs of this table end, whatever the rows that were learned were of."""
        self.state.shift = round(n_epochs * trainer.n_rows) - self.state.n_seen

    @property
    def snapshot(self) -> Snapshot:
        """The network with its counters."""
        return Snapshot(
            self.flat,
            self.states,
            self.state.n_seen,
            self.state.n_rounds,
            averaging=self.averaging,
            delta=self.state.delta,
        )

    def begin(self, problem: Problem, backend: Backend, on_change: Callable[[Parallelism], None]) -> Trainer:
        """Have a backend train the network.

        Parameters
        ----------
        problem : Problem
            Tables and network.
        backend : Backend
            Receives the network.
        on_change : callable
            Called when threads do something else from now on.

        Returns
        -------
        Trainer

        Raises
        ------
        DivergedError
            When the weights are not finite or too large before the first row.
        """
        unsound = instability(problem.topology, self.flat)
        if unsound:
            raise DivergedError(
                f"{unsound} before the first row. Start from smaller weights: lower initial_weight_scale."
            )
        setup = Setup(
            problem.head,
            problem.topology,
            problem.optimizer,
            problem.network.objective(problem.head, problem.distribution),
            problem.run.metrics(problem.head, problem.distribution),
            problem.seed,
            problem.run.shuffles,
            problem.view,
            problem.scored if problem.fold is None else problem.scored | {HOLDOUT: problem.fold.holdout},
            uuid.uuid4().hex,
        )
        return backend.trainer(setup, self.snapshot.weights, on_change)


def _start_values(problem: Problem) -> NDArray[np.float32]:
    """Start values: the user's (inputs x units a layer, as `coefs_`) where given, else drawn, with the output at the data."""
    topology, network, intercept = problem.topology, problem.network, problem.found.row_stats.intercept
    weights = initial_weights(topology, network.weight_distribution, network.weight_scale, problem.seed)
    has_offset = OFFSET in problem.tables["training"][0].roles
    constant = intercept.value if intercept else None
    if problem.fold is not None and problem.fold.constant is not None:
        constant = problem.fold.constant
    start = 0.0 if constant is None else problem.head.start_of_bias(constant, has_offset=has_offset)
    start = start if abs(start) > ROUNDING else 0.0
    biases = initial_biases(topology, start)
    for name, asked, drawn, shapes in (
        ("initial_weights", network.weights, weights, [(n_in, n_out) for n_out, n_in in topology.shapes]),
        ("initial_biases", network.biases, biases, [(n,) for n, _ in topology.shapes]),
    ):
        for k, (given, shape) in enumerate(zip(asked or (), shapes, strict=False)):
            if given is None:
                continue
            try:
                array = np.asarray(given, np.float32)
            except (TypeError, ValueError) as error:
                raise ParameterError(f"{name}[{k}] is not an array of numbers: {error}.") from error
            if array.shape != shape:
                raise ParameterError(f"{name}[{k}] has shape {array.shape}; this network needs {shape}.")
            if not np.isfinite(array).all():
                raise ParameterError(f"{name}[{k}] holds values that are not finite.")
            drawn[k] = array.T
    return topology.pack(weights, biases)
