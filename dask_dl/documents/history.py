"""The JSON of scoring events and of confusion matrices."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from dask_dl.checkpoint.codec import Count, Document, Figure
from dask_dl.metrics.history import ScoringEvent
from dask_dl.metrics.measurement import MAX_CONFUSION_CLASSES
from dask_dl.metrics.table import TABLE, columns_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TABLES = ("training", "validation")


class EventDocument(Document):
    """Counters of a scoring event; `Event` has metrics too."""

    timestamp: datetime
    duration: Figure
    training_speed: Figure
    epochs: Figure
    iterations: Count
    samples: Count
    samples_per_iteration: Count | UnsetType = UNSET  #: early files know neither
    communication: Figure | UnsetType = UNSET


if TYPE_CHECKING:
    Event = EventDocument
else:  # with a column for every metric of both tables
    _METRICS = [metric.column or metric.name for metric in TABLE if metric.of_column is None]
    _COLUMNS = [(f"{table}_{name}", Figure | UnsetType, UNSET) for table in TABLES for name in _METRICS]
    Event = msgspec.defstruct("Event", _COLUMNS, bases=(EventDocument,), kw_only=True)
Events = Annotated[tuple[Event, ...], Meta(min_length=1)]


def events_of(
    events: Sequence[Event], task: str, *, has_validation: bool, confusion: Mapping[str, Matrix] | None = None
) -> list[ScoringEvent]:
    """Return the events of a history, with the confusion matrices of the last one.

    Parameters
    ----------
    events : sequence of Event
        One or more.
    task : str
        "classification" or "regression".
    has_validation : bool
        Whether a validation table was scored.
    confusion : mapping of str to Matrix, optional
        By table.

    Returns
    -------
    list of ScoringEvent

    Raises
    ------
    ValueError
        When they have other metrics than the task and its tables.
    """
    columns = [(table, name, f"{table}_{name}") for table in TABLES[: 1 + has_validation] for name in columns_of(task)]
    found = []
    for event in events:
        given = {name: value for name in event.__struct_fields__ if (value := getattr(event, name)) is not UNSET}
        counters = {name: _number(given.pop(name)) for name in EventDocument.__struct_fields__ if name in given}
        if strange := given.keys() - {column for *_, column in columns}:
            raise ValueError(f"a scoring event has {min(strange)!r}, which is not measured here")
        if not 1970 <= event.timestamp.year < 2262:  # what pandas can count in nanoseconds
            raise ValueError(f"a scoring event is of the year {event.timestamp.year}")
        metrics: dict[str, dict[str, float]] = {}
        for table, name, column in columns:
            metrics.setdefault(table, {})[name] = _number(given.get(column))
        counters["timestamp"] = f"{event.timestamp:%Y-%m-%d %H:%M:%S}"
        found.append(ScoringEvent(**counters, metrics=metrics))
    found[-1] = replace(found[-1], confusion=confusion or {})
    return found


def _number(value: Any) -> Any:
    """Return a figure as a float, and anything else as it is."""
    return math.nan if value is None else math.inf if value == "infinity" else value


def check_table(table: str, what: str, *, has_validation: bool) -> None:
    """Refuse what belongs to a table that was not scored. Raises ValueError."""
    if table not in TABLES or (table == "validation" and not has_validation):
        raise ValueError(f"there is {what} of {table[:60]!r}, a table that was not scored")


Matrix = tuple[tuple[Annotated[float, Meta(ge=0, le=1e300)], ...], ...]


def check_confusion(confusion: Mapping[str, Matrix], n_classes: int, *, has_validation: bool) -> None:
    """Refuse matrices of tables that were not scored, or not of a row and a column for each class. Raises ValueError."""
    for table, matrix in confusion.items():
        check_table(table, "a confusion matrix", has_validation=has_validation)
        if n_classes > MAX_CONFUSION_CLASSES or {n_classes} != {len(matrix), *map(len, matrix)}:
            raise ValueError(f"the confusion matrix of the {table} table does not have {n_classes} rows and columns")
