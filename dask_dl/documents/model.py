"""The JSON of a model."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from dask_dl.checkpoint.codec import Count, Document, Figure, Opaque, Remark, check_weight
from dask_dl.documents.encoder import EncoderDocument, check_columns
from dask_dl.documents.history import Events, Matrix, check_confusion, check_measured, check_table, events_of
from dask_dl.documents.measurement import MeasurementDocument
from dask_dl.documents.network import StateCount, Task, TopologyDocument, check_network
from dask_dl.documents.target import TargetDocument
from dask_dl.tasks import HEADS

#: A package, or its version.
Name = Annotated[str, Meta(max_length=200)]


class FoldsDocument(Document):
    """Measurements of a cross-validation, beside arrays."""

    combined: MeasurementDocument
    names: Annotated[tuple[Name, ...], Meta(min_length=2, max_length=2**20)]
    metrics: Annotated[dict[Name, tuple[Figure, ...]], Meta(max_length=100)]

    def __post_init__(self) -> None:
        if any(len(values) != len(self.names) for values in self.metrics.values()):
            raise ValueError(f"a metric does not have {len(self.names):,} values, one for each fold")


class ModelDocument(Document):
    """Everything of a model beside its arrays. What early files do not know was not used then.

    Parameters are not looked at: they may be those of another version, and no prediction needs them.
    """

    task: Task
    encoder: EncoderDocument
    target: TargetDocument
    topology: TopologyDocument
    requested: Opaque
    effective: Opaque
    history: Events
    has_validation: bool
    n_states: StateCount
    n_seen: Count
    n_rounds: Count
    n_rows: Annotated[int, Meta(ge=1, le=2**53)]
    feature_names: tuple[str, ...]
    is_named: bool
    offset_name: str | None
    target_name: str | None = None
    stopped_by: Remark | None = None
    confusion: dict[str, Matrix] = {}  # noqa: RUF012  # msgspec copies it; early files have only this of a measurement
    measured: dict[str, MeasurementDocument] = {}  # noqa: RUF012  # as above
    folds: FoldsDocument | None = None
    table_rows: dict[str, tuple[Count, Count]] = {}  # noqa: RUF012  # as above
    n_earlier: Count = 0
    versions: Annotated[dict[Name, Name], Meta(max_length=100)] = {}  # noqa: RUF012  # as above
    complete_columns: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_weight(self.requested, "requested")
        check_weight(self.effective, "effective")
        check_network(self.task, self.encoder, self.target, self.topology)
        check_columns(self.encoder, self.feature_names)
        check_confusion(self.confusion, len(self.target.classes), has_validation=self.has_validation)
        check_measured(self.measured, has_validation=self.has_validation)
        events_of(self.history, self.target.head(self.task).kind, has_validation=self.has_validation)
        if strange := set(self.complete_columns) - {category.name for category in self.encoder.categories}:
            raise ValueError(f"column {min(strange)!r} is complete, and none of levels")
        if self.n_earlier > len(self.history):
            raise ValueError(f"{self.n_earlier:,} of {len(self.history):,} scoring events are of earlier trainings")
        for table, (n_rows, n_used) in self.table_rows.items():
            check_table(table, "a number of rows", has_validation=self.has_validation)
            if not 1 <= n_used <= n_rows:
                raise ValueError(f"{n_used:,} of {n_rows:,} rows of the {table} table were used")
        if self.offset_name is not None and not HEADS[self.task].takes_offsets:
            raise ValueError(f"a model of {self.task} has no offsets")
        if self.offset_name in self.feature_names:
            raise ValueError("the column of offsets is a predictor")
        if self.target_name in self.feature_names:
            raise ValueError("the column of the target is a predictor")
