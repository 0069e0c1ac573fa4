"""The JSON of scoring events and of measurements."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import numpy as np
from msgspec import UNSET, Meta, UnsetType
from msgspec.structs import asdict

from dask_dl.checkpoint.codec import Count, Document, Figure
from dask_dl.documents.measurement import MeasurementDocument, arrays_of, measurement_of
from dask_dl.documents.network import MAX_LAYERS
from dask_dl.metrics.history import ScoringEvent
from dask_dl.metrics.measurement import MAX_CONFUSION_CLASSES, measurement_of_confusion
from dask_dl.metrics.table import TABLE, columns_of
from dask_dl.state import LayerStats

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from dask_dl.metrics.measurement import Measurement

TABLES = ("training", "validation")


class LayerDocument(Document):
    """Figures of a layer."""

    mean_rate: Figure
    rate_rms: Figure
    momentum: Figure
    mean_weight: Figure
    weight_rms: Figure
    mean_bias: Figure
    bias_rms: Figure
    n_dead: Count | None = None


class EventDocument(Document):
    """Counters of a scoring event; `Event` has metrics too."""

    timestamp: datetime
    duration: Figure
    training_speed: Figure
    epochs: Figure
    iterations: Count
    samples: Count
    samples_per_iteration: Count | UnsetType = UNSET  #: early files know none of these
    communication: Figure | UnsetType = UNSET
    scoring_seconds: Figure | UnsetType = UNSET
    layers: Annotated[tuple[LayerDocument, ...], Meta(max_length=MAX_LAYERS + 1)] | UnsetType = UNSET


if TYPE_CHECKING:
    Event = EventDocument
else:  # with a column for every metric of both tables
    _METRICS = [metric.column or metric.name for metric in TABLE if metric.in_history and metric.of_column is None]
    _COLUMNS = [(f"{table}_{name}", Figure | UnsetType, UNSET) for table in TABLES for name in _METRICS]
    Event = msgspec.defstruct("Event", _COLUMNS, bases=(EventDocument,), kw_only=True)
Events = Annotated[tuple[Event, ...], Meta(min_length=1)]


def events_of(
    events: Sequence[Event], kind: str, *, has_validation: bool, measured: Mapping[str, Measurement] | None = None
) -> list[ScoringEvent]:
    """Return the events of a history, with the measurements of the last one.

    Parameters
    ----------
    events : sequence of Event
        One or more.
    kind : str
        Kind of the problem: a key of `TASK_OF`.
    has_validation : bool
        Whether a validation table was scored.
    measured : mapping of str to Measurement, optional
        By table.

    Returns
    -------
    list of ScoringEvent

    Raises
    ------
    ValueError
        When they have other metrics than the task and its tables.
    """
    tables = TABLES[: 1 + has_validation]
    columns = {
        f"{table}_{name}": (table, name, metric) for table in tables for name, metric in columns_of(kind).items()
    }
    found = []
    for event in events:
        given = {name: value for name in event.__struct_fields__ if (value := getattr(event, name)) is not UNSET}
        counters = {name: _number(given.pop(name)) for name in EventDocument.__struct_fields__ if name in given}
        if strange := given.keys() - columns.keys():
            raise ValueError(f"a scoring event has {min(strange)!r}, which is not measured here")
        if not 1970 <= event.timestamp.year < 2262:  # what pandas can count in nanoseconds
            raise ValueError(f"a scoring event is of the year {event.timestamp.year}")
        metrics: dict[str, dict[str, float]] = {}
        for column, (table, name, metric) in columns.items():
            if column in given or not metric.is_optional:
                metrics.setdefault(table, {})[name] = _number(given.get(column))
        counters["timestamp"] = f"{event.timestamp:%Y-%m-%d %H:%M:%S}"
        layers = tuple(
            LayerStats(**{name: _number(value) for name, value in asdict(layer).items()})._replace(n_dead=layer.n_dead)
            for layer in counters.pop("layers", ())
        )
        found.append(ScoringEvent(**counters, metrics=metrics, layers=layers))
    found[-1] = replace(found[-1], measured=measured or {})
    return found


def _number(value: Any) -> Any:
    """Return a figure as a float, and anything else as it is."""
    return math.nan if value is None else math.inf if value == "infinity" else value


def check_table(table: str, what: str, *, has_validation: bool) -> None:
    """Refuse what belongs to a table that was not scored. Raises ValueError."""
    if table not in TABLES or (table == "validation" and not has_validation):
        raise ValueError(f"there is {what} of {table[:60]!r}, a table that was not scored")


Matrix = tuple[tuple[Annotated[float, Meta(ge=0, le=1e300)], ...], ...]


def check_measured(measured: Mapping[str, MeasurementDocument], *, has_validation: bool) -> None:
    """Refuse measurements of tables that were not scored. Raises ValueError."""
    for table in measured:
        check_table(table, "a measurement", has_validation=has_validation)


def measured_of(
    documents: Mapping[str, MeasurementDocument],
    confusion: Mapping[str, Matrix],
    arrays: Mapping[str, NDArray[Any]],
    prefix: str,
    n_classes: int,
    where: str,
) -> dict[str, Measurement]:
    """Measurements of an event by table; of early files those that a confusion matrix allows.

    Parameters
    ----------
    documents : mapping of str to MeasurementDocument
        By table.
    confusion : mapping of str to Matrix
        Confusion matrices by table, of early files.
    arrays : mapping of str to ndarray
        Arrays of the file.
    prefix : str
        Beginning of the names of these arrays.
    n_classes : int
        Classes of the problem, 0 for numbers.
    where : str
        Path of the file, for errors.

    Returns
    -------
    dict of str to Measurement

    Raises
    ------
    ArchiveError
        When arrays do not fit.
    """
    found = {table: measurement_of_confusion(np.asarray(matrix, np.float64)) for table, matrix in confusion.items()}
    for table, document in documents.items():
        begin = f"{prefix}{table}/"
        own = {name.removeprefix(begin): array for name, array in arrays.items() if name.startswith(begin)}
        found[table] = measurement_of(document, own, n_classes, f"{where}: {begin[:-1]}")
    return found


def measured_arrays(measured: Mapping[str, Measurement], prefix: str) -> dict[str, NDArray[Any]]:
    """Arrays of measurements by table, by name after the prefix."""
    return {f"{prefix}{table}/{name}": a for table, m in measured.items() for name, a in arrays_of(m).items()}


def check_confusion(confusion: Mapping[str, Matrix], n_classes: int, *, has_validation: bool) -> None:
    """Refuse matrices of tables that were not scored, or not of a row and a column for each class. Raises ValueError."""
    for table, matrix in confusion.items():
        check_table(table, "a confusion matrix", has_validation=has_validation)
        if n_classes > MAX_CONFUSION_CLASSES or {n_classes} != {len(matrix), *map(len, matrix)}:
            raise ValueError(f"the confusion matrix of the {table} table does not have {n_classes} rows and columns")
