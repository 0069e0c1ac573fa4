"""Interface of a trainer: replicas of one network with their rows, trained round after round."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from dask_dl.errors import DivergedError, ParameterError

if TYPE_CHECKING:
    from collections.abc import Callable

    from dask_dl.cluster.setup import RoundSettings
    from dask_dl.frame.view import View
    from dask_dl.metrics.measurement import Measurement
    from dask_dl.state import TrainedWeights


def check_visits(n: int, view: View) -> None:
    """Whether an epoch visits any row. Raises ParameterError."""
    if n == 0 and view.balance is not None:
        raise ParameterError(
            "balance_classes=True: no row was drawn. Raise class_sampling_factors or max_after_balance_size."
        )
    if n == 0:
        raise ParameterError(f"no row of the {view.table} table that counts is selected by {view.rows}.")


def diverged(found: str, n_rows: int) -> DivergedError:
    """Error of weights that are non-finite or have exploded after so many rows."""
    return DivergedError(
        f"{found} after {n_rows:,} rows. Lower `rate` or use adaptive_rate=True, turn `standardize` on, use activation='tanh', "
        f"add l1 or l2, or start from smaller weights."
    )


def measured(name: str, found: Measurement | None) -> Measurement:
    """Measurement of a sample, if there is one. Raises ParameterError."""
    if found is None:
        raise ParameterError(
            f"no row of the {name} view was set aside to be scored on. Raise score_{name}_samples, or set it to 0: all rows."
        )
    return found


class Trainer(Protocol):
    """Trains a network that a backend was given; `train`, `average`, `measure` and `restore` may raise `DivergedError`."""

    on_wait: Callable[[], None]  #: called while workers are waited for, between rounds; what it raises ends the waiting

    shift: int  #: what places of the stream of visits are beyond the rows learned, where training goes on from a model

    @property
    def n_rows(self) -> int:
        """Rows of an epoch."""

    @property
    def n_threads(self) -> int:
        """Threads that train, in all."""

    @property
    def n_replicas(self) -> int:
        """Replicas that are averaged."""

    @property
    def n_copies(self) -> int:
        """Replicas that have all rows; 1 where they share them."""

    @property
    def is_reachable(self) -> bool:
        """Whether there are processes that could score: a cluster may have lost its workers."""

    @property
    def is_local(self) -> bool:
        """Whether the weights are in this process, where they cannot get lost."""

    def compile(self) -> None:
        """Get the kernels ready, so that no round waits for the compiler."""

    @property
    def n_seen(self) -> int:
        """Rows learned."""

    def train(self, n: int, settings: RoundSettings, on_rows: Callable[[int], None] | None = None) -> None:
        """Visit the next `n` rows."""

    @property
    def busy_seconds(self) -> float:
        """Seconds of the last round in which rows were trained, by the replica that trained longest."""

    def average(self) -> None:
        """Bring all replicas to their average; harmless when nothing was trained since."""

    def measure(self, name: str) -> Measurement:
        """Measure the network on the sample of a view that is scored, by its name."""

    def weights(self) -> TrainedWeights:
        """Weights and all that goes with them, which may be the arrays that are trained."""

    def snapshot(self) -> TrainedWeights:
        """Copies of them."""

    def restore(self, weights: TrainedWeights) -> None:
        """Go back to weights, as a snapshot has them. Raises NoWorkersError when a cluster has no worker."""

    def report(self) -> dict[str, Any]:
        """Parameters of threads as they came to be."""

    def close(self) -> None:
        """Let go of the replicas, and of all that belongs to this trainer; the rows stay. Harmless when that was done."""
