"""The validation table: what `eval_set` may be, and the parts that its columns play."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dask_dl.errors import ParameterError, SchemaError, Warn, warn
from dask_dl.frame.dask_frames import is_dask_frame
from dask_dl.frame.interchange import as_column, as_table, is_foreign_table, kind_of
from dask_dl.frame.source import OFFSET, TARGET, WEIGHT, Source, is_column, labels_of, open_source

if TYPE_CHECKING:
    from collections.abc import Mapping

LABEL = "the validation table"
FORMS = "Give one table: (X, y), (X, y, weight) or (X, y, weight, offset)"


def open_validation(eval_set: Any, source: Source, given: Mapping[str, Any], warn: Warn = warn) -> Source | None:
    """The table to score on while training, if there is one.

    Parameters
    ----------
    eval_set : tuple, list, table or None
        As `fit` takes it: (X, y), also alone in a list; or a table, when the target is a column of the training table, or when
        there is none.
    source : Source
        The training table.
    given : mapping
        TARGET, WEIGHT, OFFSET -> what `fit` was given for it.
    warn : callable
        See `open_source`.

    Returns
    -------
    Source or None

    Raises
    ------
    ParameterError
        When it has another form, or an offset where training has none.
    SchemaError
        As for a training table.
    """
    if eval_set is None:
        return None
    if isinstance(eval_set, dict):
        raise ParameterError(f"eval_set is a dict of {len(eval_set)}; names are not taken. {FORMS}.")
    if given[TARGET] is None:
        X, roles = _without_target(eval_set, source)
    else:
        X, roles = _parts(eval_set) if isinstance(eval_set, (tuple, list)) else _columns(eval_set, source, given)
    if (given[OFFSET] is None) != (roles[OFFSET] is None):
        raise ParameterError(
            "eval_set needs an offset exactly when the training table has one: (X, y, weight, offset)."
        )
    X = as_table(X, LABEL)
    n, n_trained = np.shape(X)[-1:], len(source.predictors)
    is_beside = not any(role in labels_of(X, LABEL).values() for role in source.roles.values())
    if not (source.is_named or source.is_sparse) and is_beside and n != (n_trained,):
        raise SchemaError(f"{LABEL} has {n[0]} features, and {source.label} {n_trained}. They must be the same.")
    return open_source(X, roles[TARGET], roles[WEIGHT], roles[OFFSET], label=LABEL, keep=source.predictors, warn=warn)


def _parts(eval_set: tuple[Any, ...] | list[Any]) -> tuple[Any, dict[str, Any]]:
    """(X, y), (X, y, weight) or (X, y, weight, offset), also as the only member of a list."""
    pairs = [member for member in eval_set if _is_pair(member)]
    if len(pairs) > 1:
        raise ParameterError(
            f"eval_set holds {len(pairs)} tables; training is scored on one, by which it may stop early. {FORMS}, and score "
            f"on others afterwards, with `score`."
        )
    if len(eval_set) == 1 and pairs:
        (eval_set,) = pairs
    if not 2 <= len(eval_set) <= 4:
        raise ParameterError(f"eval_set has {len(eval_set)} parts. {FORMS}.")
    X, y, *more = eval_set
    weight, offset = [*more, None, None][:2]
    if y is None:
        raise ParameterError(f"eval_set has no target: its y is None. {FORMS}.")
    y = as_column(y, "eval_set: y")
    n_columns = y.shape[1] if getattr(y, "ndim", 1) == 2 else 1
    if n_columns != 1:
        raise ParameterError(
            f"eval_set: y is {kind_of(y)} of {n_columns} columns, not one column of values. {FORMS}; a table that holds its "
            f"target goes alone, eval_set=table, where the y of fit is the name of a column."
        )
    return X, {TARGET: y, WEIGHT: weight, OFFSET: offset}


def _without_target(eval_set: Any, source: Source) -> tuple[Any, dict[str, Any]]:
    """A table, (X, None) or (X, None, weight), also as the only member of a list; the second part is not looked at."""
    if isinstance(eval_set, (tuple, list)) and len(eval_set) == 1 and (_is_pair(eval_set[0]) or _is_table(eval_set[0])):
        (eval_set,) = eval_set
    if not (isinstance(eval_set, (tuple, list)) and eval_set and _is_table(eval_set[0])):
        table = as_table(eval_set, LABEL)
        weight, labels = source.roles.get(WEIGHT), labels_of(table, LABEL)
        return table, {TARGET: None, WEIGHT: weight if weight in labels.values() else None, OFFSET: None}
    if len(eval_set) > 3:
        raise ParameterError(f"eval_set has {len(eval_set)} parts. Give one table: X, or (X, None, weight).")
    return eval_set[0], {TARGET: None, WEIGHT: eval_set[2] if len(eval_set) == 3 else None, OFFSET: None}


def _is_pair(value: Any) -> bool:
    """Whether a value is a table with what stands beside it, and no row and no column of values."""
    return isinstance(value, (tuple, list)) and 2 <= len(value) <= 4 and _is_table(value[0])


def _is_table(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return bool(value) and isinstance(value[0], (list, tuple, np.ndarray))
    has_shape = hasattr(type(value), "shape")  # a Delayed has whatever it is asked for
    return is_dask_frame(value) or (has_shape and len(value.shape) == 2) or is_foreign_table(value)


def _columns(table: Any, source: Source, given: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """A table of which a column is the target: what was a column of the training table is the column of that name."""
    table = as_table(table, LABEL)
    labels = labels_of(table, LABEL)
    roles: dict[str, Any] = {
        role: source.roles[role] if value is not None and is_column(value, labels) else None
        for role, value in given.items()
    }
    if roles[TARGET] is None:
        raise ParameterError(f"eval_set is a table alone, and y is not the name of one of its columns. {FORMS}.")
    if roles[WEIGHT] not in labels.values():
        roles[WEIGHT] = None  # without its column every row counts 1
    return table, roles
