"""Parameters of a training that goes on from a model: what may change, by the column of the table (see `RESTART`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from dask_dl.parameters.checks import effective, refuse
from dask_dl.parameters.kinds import show
from dask_dl.parameters.table import TABLE, Parameter, Task

if TYPE_CHECKING:
    from collections.abc import Mapping


class Restarted(NamedTuple):
    """Parameters of a training that goes on."""

    values: dict[str, Any]  #: all of the constructor, as they are in force
    warnings: tuple[str, ...]  #: of those that were given and are not


def restarted(
    before: Mapping[str, Any], now: Mapping[str, Any], *, task: Task, n_classes: int | None = None
) -> Restarted:
    """Parameters with which a training goes on from a model.

    Parameters
    ----------
    before : mapping
        Those with which the model was trained, as they were asked for; a file may have those of another version.
    now : mapping
        Those that are asked for, as `validate` returns them.
    task : {"classification", "regression", "autoencoder"}
        What is learned.
    n_classes : int or None
        Number of classes of the model.

    Returns
    -------
    Restarted

    Raises
    ------
    ParameterError
        For every parameter that may not change and does.
    """
    rows = [row for row in TABLE.values() if row.scope == "constructor"]
    old = {row.name: _read(row, before.get(row.name, row.default)) for row in rows}
    old_effect, new_effect = (_in_effect(values, task, n_classes) for values in (old, now))
    mistakes, warnings, values = [], [], dict(now)
    for row in rows:
        was, wanted = old[row.name], now[row.name]
        if row.restart in {"no", "equal"}:
            same = was == wanted
            if row.restart == "equal" and old_effect is not None and new_effect is not None:
                same = old_effect[row.name] == new_effect[row.name]
            if not same:
                mistakes.append(
                    f"{row.name}={show(wanted)}: the model was trained with {row.name}={show(was)}, which cannot change; write "
                    f"{row.name}={show(was)}, or train anew, without the model"
                )
        elif row.restart == "ignored" and was is not wanted and was != wanted:
            values[row.name] = was
            if not row.is_default(wanted):
                warnings.append(
                    f"{row.name}={show(wanted)} has no effect: training goes on with that of the model, {show(was)}."
                )
    refuse(mistakes)
    return Restarted(values, tuple(warnings))


def _read(row: Parameter, value: Any) -> Any:
    """A value in its canonical form; one that this version does not know stays as it is."""
    try:
        return row.read(value)
    except (ValueError, OverflowError):
        return value


def _in_effect(values: Mapping[str, Any], task: Task, n_classes: int | None) -> dict[str, Any] | None:
    """Values in effect; None where another version had other values."""
    try:
        return effective(values, task=task, n_classes=n_classes)
    except (KeyError, TypeError, AttributeError):
        return None
