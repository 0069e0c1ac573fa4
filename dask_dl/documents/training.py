"""The JSON of a training checkpoint."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, field

from dask_dl.checkpoint.codec import Count, Document, Factor, Opaque, Remark, check_weight, opened
from dask_dl.documents.encoder import EncoderDocument, check_columns
from dask_dl.documents.history import Events, Matrix, check_confusion, check_measured, events_of
from dask_dl.documents.measurement import MeasurementDocument
from dask_dl.documents.network import StateCount, Task, TopologyDocument, check_network
from dask_dl.documents.target import TargetDocument
from dask_dl.kernels.optimizers import N_STATES, kind_of
from dask_dl.metrics.table import METRICS

Seconds = Annotated[float, Meta(ge=0, le=1e12)]
#: A step halved so often is none.
MAX_HALVINGS = 1000


class FingerprintDocument(Document):
    """Identity that a checkpoint and the training that goes on with it must have in common."""

    columns: tuple[str, ...]
    roles: dict[Literal["target", "weight", "offset"], str]
    n_rows: Count
    n_used: Count
    n_validation: Count
    encoder: EncoderDocument
    target: TargetDocument
    topology: TopologyDocument
    settings: Opaque
    balance: tuple[Annotated[float, Meta(ge=0, le=1e300)], ...] = ()  #: early files know no balance

    def __post_init__(self) -> None:
        check_weight(self.settings, "settings")
        check_columns(self.encoder, self.columns)
        if not 1 <= self.n_used <= self.n_rows:
            raise ValueError(f"{self.n_used:,} of {self.n_rows:,} rows have a target")
        if self.balance and len(self.balance) != len(self.target.classes):
            raise ValueError("visits per row are not as many as classes")


class TrainingStateDocument(Document):
    """Counters, history and what is known of the best model."""

    history: Events
    has_validation: bool
    metric: Literal[tuple(METRICS)]  # type: ignore[valid-type]  # the names
    n_seen: Count
    n_rounds: Count
    training_seconds: Seconds
    seconds: Seconds
    n_halvings: Annotated[int, Meta(ge=0, le=MAX_HALVINGS)]
    stopped_by: Remark | None
    best: tuple[Count, Count] | None
    delta: Factor | None = None  #: early files know no huber loss
    #: early files know no trainings that go on from a model
    shift: Annotated[int, Meta(ge=-(2**53), le=2**53)] = 0
    n_earlier: Count = 0
    #: early files have only confusion matrices of measurements
    confusion: dict[str, Matrix] = {}  # noqa: RUF012  # msgspec copies it
    best_confusion: dict[str, Matrix] = {}  # noqa: RUF012  # as above
    measured: dict[str, MeasurementDocument] = {}  # noqa: RUF012  # as above
    best_measured: dict[str, MeasurementDocument] = {}  # noqa: RUF012  # as above

    def __post_init__(self) -> None:
        if self.n_seen and not self.training_seconds:
            raise ValueError(f"{self.n_seen:,} rows were learned in no time")
        if self.history[0].samples:
            raise ValueError("the history does not begin with the first row")
        if self.n_earlier > len(self.history):
            raise ValueError(f"{self.n_earlier:,} of {len(self.history):,} scoring events are of earlier trainings")
        if self.n_seen + self.shift < 0:
            raise ValueError("less than no rows were visited")


class AveragingDocument(Document):
    """Averages of a training of several replicas, beside arrays."""

    n_averages: Count
    has_velocity: bool
    replicas: tuple[Annotated[str, Meta(pattern="^[0-9]{1,9}$")], ...] = ()


class TrainingDocument(Document):
    """Everything of a training beside its arrays."""

    task: Task
    seed: Annotated[int, Meta(ge=0)]
    n_states: StateCount
    fingerprints: dict[str, tuple[int, ...]]
    identity: FingerprintDocument
    state: TrainingStateDocument = field(name="course")
    n_shards: Annotated[int, Meta(ge=1)] | None = None  #: early files know no fixed shards ...
    averaging: AveragingDocument | None = None  #: ... and their averages go on from their beginning

    def __post_init__(self) -> None:
        identity, state = self.identity, self.state
        check_network(self.task, identity.encoder, identity.target, identity.topology)
        for confusion in (state.confusion, state.best_confusion):
            check_confusion(confusion, len(identity.target.classes), has_validation=state.has_validation)
        for measured in (state.measured, state.best_measured):
            check_measured(measured, has_validation=state.has_validation)
        events_of(state.history, identity.target.head(self.task).kind, has_validation=state.has_validation)
        if state.has_validation != (identity.n_validation > 0):
            raise ValueError("a validation table is there and was not scored, or the other way round")
        settings = opened(identity.settings, "settings")
        if self.n_states != N_STATES[kind_of(settings)]:
            raise ValueError(
                f"the optimizer has {N_STATES[kind_of(settings)]} vectors of state, and not {self.n_states}"
            )
