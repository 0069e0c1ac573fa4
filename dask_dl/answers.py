"""What a fitted model answers to a table of whatever kind: lazily over Dask collections, at once over local ones."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from dask_dl.errors import ParameterError, SchemaError
from dask_dl.frame.arrays import aligned, is_dask_array, map_blocks, whole_rows
from dask_dl.frame.columns import as_numbers
from dask_dl.frame.dask_frames import by_name, is_dask_frame
from dask_dl.frame.interchange import as_column, as_table
from dask_dl.frame.matrix import SparsePart, as_csr, is_sparse
from dask_dl.frame.prediction import map_rows, over_slices
from dask_dl.frame.source import is_column, labels_of, local_table, named

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dask_dl.model import Model

LABEL = "the table to predict"


def answers(model: Model, X: Any, offset: Any, answer: Any, keep: Sequence[str], called: str) -> Any:
    """`answer(model, part, outputs)` of every partition: lazy over Dask collections, a list over slices otherwise.

    Parameters
    ----------
    model : Model
    X : Dask or pandas DataFrame, Dask Array, sparse matrix or array-like
    offset : str, int, aligned collection or None
    answer : callable
        Of the model, a partition and the network's outputs for it.
    keep : sequence of str
        Columns of a frame that the answer needs beside the predictors.
    called : str
        Name of the estimator, for errors.
    """
    respond = functools.partial(_respond, answer=answer)
    X, offset = as_table(X, LABEL), as_column(offset, "the offset")
    if is_dask_array(X):
        return _of_array(model, X, offset, answer, called)
    if is_dask_frame(X):
        if not model.is_named:
            raise SchemaError(
                "the model was trained on an array without column names; pass an array, or train on a frame."
            )
        names = list(labels_of(X, LABEL).values())
        model.missing_columns(names, LABEL)
        offset = _offset_of(model, X, offset, names)
        used = {*model.encoder.columns, *keep}
        X = by_name(X, [name for name in names if name in used], LABEL)
        return map_rows(respond, X, model, offset, answer(model, X._meta, _nothing(model)))  # noqa: SLF001  # Dask's name
    if is_sparse(X):
        _check_n_features(model, X.shape[1], called)
        matrix = SparsePart.of(as_csr(X, LABEL), model.feature_names)
        return over_slices(respond, matrix, model, _offset_of(model, matrix, offset, []))
    table = local_table(X, LABEL)
    if not (model.is_named and hasattr(X, "columns")):
        _check_n_features(model, table.shape[1], called)
        table = table.set_axis(list(model.feature_names), axis=1)
    model.missing_columns(list(table.columns), LABEL)
    return over_slices(respond, table, model, _offset_of(model, table, offset, list(table.columns)))


def _of_array(model: Model, X: Any, offset: Any, answer: Any, called: str) -> Any:
    """`answer` of every block of a Dask Array, as a lazy Dask Array."""
    X = whole_rows(X, LABEL)
    _check_n_features(model, X.shape[1], called)
    offset = _offset_of(model, X, offset, list(model.feature_names))
    if offset is not None:
        offset = as_numbers(offset) if isinstance(offset, pd.Series) else offset
        offset = aligned(offset if hasattr(offset, "ndim") else np.asarray(offset), X, "offset", LABEL)
    empty = np.asarray(answer(model, _unnamed(np.zeros((0, X.shape[1]), X.dtype), model), _nothing(model)))
    return map_blocks(functools.partial(_respond_block, answer=answer), X, model, offset, empty, LABEL)


def _nothing(model: Model) -> Any:
    """Outputs for no rows."""
    return np.zeros((0, model.topology.n_outputs), np.float32)


def _check_n_features(model: Model, n: int, called: str) -> None:
    wanted = len(model.feature_names)
    if n != wanted:
        raise SchemaError(f"X has {n} features, but {called} is expecting {wanted} features as input.")


def _offset_of(model: Model, table: Any, offset: Any, names: Sequence[str]) -> Any:
    """The offsets that a prediction needs: given, or the column of that name in training."""
    trained = model.offset_name
    if trained is None:
        if offset is not None:
            raise ParameterError("offset: the model was trained without offsets; leave it out.")
        return None
    labels = labels_of(table, LABEL)
    if offset is not None and not isinstance(offset, str) and is_column(offset, labels):
        offset = named(offset, labels, "offset", LABEL)
    elif not isinstance(offset, str) and np.ndim(getattr(offset, "_meta", offset)) == 0 and offset is not None:
        raise ParameterError(f"offset is {offset!r}: give the name or position of a column, or as many values as rows.")
    name = offset if isinstance(offset, str) else trained if offset is None else None
    if name is None:
        return offset
    if name not in names or not hasattr(table, "columns") or name in model.feature_names:
        known = "none was given"
        if name:
            known = f"column {name!r} is {'a predictor' if name in names else 'not in the table'}"
        raise ParameterError(f"offset: the model was trained with offsets and {known}; pass offset=.")
    return table[next(key for key, text in labels.items() if text == name)]


def _respond(part: Any, model: Model, offset: Any = None, *, answer: Any) -> Any:
    """What a worker does with a partition."""
    if hasattr(offset, "index") and not part.index.equals(offset.index):
        raise SchemaError("a partition and its offsets have different indexes: put the offsets into the frame.")
    return answer(model, part, model.outputs(part, offset, LABEL))


def _respond_block(block: Any, offset: Any = None, *, model: Model, answer: Any) -> Any:
    """What a worker does with a block of an array."""
    return np.asarray(_respond(_unnamed(block, model), model, offset, answer=answer))


def _unnamed(block: Any, model: Model) -> pd.DataFrame | SparsePart:
    """Columns of an array under the names of training, in its order."""
    if is_sparse(block):
        return SparsePart.of(block, model.feature_names)
    return pd.DataFrame(block, columns=list(model.feature_names))
