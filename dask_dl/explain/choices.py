"""Columns and metrics that are asked for, as a model knows them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dask_dl.errors import ParameterError
from dask_dl.metrics.table import METRICS, figures_of
from dask_dl.wording import closest, listed

if TYPE_CHECKING:
    from dask_dl.metrics.measurement import MetricSettings
    from dask_dl.model import Model


def named_column(model: Model, column: Any) -> str:
    """Name of a column that the model learned from, given by name or position. Raises ParameterError."""
    record, names = model.record, model.record.feature_names
    if isinstance(column, (int, np.integer)) and not isinstance(column, bool) and str(column) not in names:
        if not -len(names) <= column < len(names):
            raise ParameterError(f"columns: there are {len(names)} columns, and none at {column}.")
        column = names[column]
    name = str(column)
    if name in (parts := {record.target_name: "target", record.offset_name: "offset"}) and name not in names:
        raise ParameterError(f"columns: {name!r} is the {parts[name]} of the training, and no predictor.")
    if name not in names:
        near = closest(name, names)
        guess = f" Did you mean {near!r}?" if near else ""
        raise ParameterError(f"columns: the model has no column {name!r}.{guess} Its columns are {listed(names)}.")
    if name not in model.encoder.columns:
        raise ParameterError(
            f"columns: {name!r} was left out of the training, as it held one value at most, so that no answer depends on it."
        )
    return name


def groups_of(model: Model, columns: Any) -> dict[str, tuple[str, ...]]:
    """Columns by the name of their group. Raises ParameterError."""
    if columns is None:
        return {name: (name,) for name in model.record.feature_names if name in model.encoder.columns}
    if hasattr(columns, "items"):
        found = {
            str(name): tuple(named_column(model, c) for c in ([group] if isinstance(group, (str, int)) else group))
            for name, group in columns.items()
        }
    else:
        asked = [columns] if isinstance(columns, (str, int, np.integer)) else list(columns)
        names = [named_column(model, column) for column in asked]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise ParameterError(f"columns: {listed(repeated)} is there twice.")
        found = {name: (name,) for name in names}
    empty = [name for name, group in found.items() if not group]
    if empty or not found:
        raise ParameterError(
            f"columns: {f'the group {empty[0]!r} is empty' if empty else 'none are given'}; name some."
        )
    for name, group in found.items():
        if len(set(group)) < len(group):
            raise ParameterError(f"columns: the group {name!r} has a column twice: {listed(group)}.")
    return found


def metric_of(model: Model, asked: Any) -> tuple[str, MetricSettings]:
    """Name of a metric, and how it is measured. Raises ParameterError."""
    head, record = model.head, model.record
    known = figures_of(head.kind)
    name = record.history.loss if asked is None else asked
    if isinstance(name, str) and name in known and name != "custom":
        settings = record.metric_settings(head)._replace(custom=None)
    else:
        try:
            settings = record.metric_settings(head, None if name == "custom" else name)
        except ParameterError as error:
            near = closest(name, known) if isinstance(name, str) else None
            guess = f" Did you mean {near!r}?" if near else ""
            raise ParameterError(
                f"metric={asked!r}: give a metric of {head.kind} problems ({', '.join(known)}), a scorer of scikit-learn or "
                f"its name, or a CustomMetric.{guess}"
            ) from error
        if settings.custom is None:
            raise ParameterError("metric='custom': the model was trained without a metric of its own; pass the scorer.")
        name = "custom_increasing" if settings.custom.greater_is_better else "custom"
    needs_curves = any("class_scores" in need for need in METRICS[name].needs)
    return name, settings if needs_curves else settings._replace(average="none")
