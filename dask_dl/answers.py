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
    from dask_dl.predictor import Predictor

LABEL = "the table to predict"


def answers(model: Model, X: Any, offset: Any, answer: Any, keep: Sequence[str], called: str) -> Any:
    """`answer(predictor, part, outputs)` of every partition: lazy over Dask collections, a list over slices otherwise.

    Parameters
    ----------
    model : Model
    X : Dask or pandas DataFrame, Dask Array, sparse matrix or array-like
    offset : str, int, aligned collection or None
    answer : callable
        Of the predictor, a partition and the network's outputs for it.
    keep : sequence of str
        Columns of a frame that the answer needs beside the predictors.
    called : str
        Name of the estimator, for errors.
    """
    respond, predictor = functools.partial(_respond, answer=answer), model.predictor
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
        X = by_name(X, [name for name in names if name in used], LABEL, is_alone=offset is None)
        return map_rows(respond, X, predictor, offset, answer(predictor, X._meta, _nothing(model)))  # noqa: SLF001  # Dask's name
    if is_sparse(X):
        csr = as_csr(X, LABEL)
        check_n_features(model, csr.shape[1], called)
        matrix = SparsePart.of(csr, model.feature_names)
        return over_slices(respond, matrix, predictor, _offset_of(model, matrix, offset, []))
    table = local_table(X, LABEL)
    if not (model.is_named and hasattr(X, "columns")):
        check_n_features(model, table.shape[1], called)
        table = table.set_axis(list(model.feature_names), axis=1)
    model.missing_columns(list(table.columns), LABEL)
    return over_slices(respond, table, predictor, _offset_of(model, table, offset, list(table.columns)))


def _of_array(model: Model, X: Any, offset: Any, answer: Any, called: str) -> Any:
    """`answer` of every block of a Dask Array, as a lazy Dask Array."""
    X = whole_rows(X, LABEL)
    check_n_features(model, X.shape[1], called)
    offset = _offset_of(model, X, offset, list(model.feature_names))
    if offset is not None:
        offset = as_numbers(offset) if isinstance(offset, pd.Series) else offset
        offset = aligned(offset if hasattr(offset, "ndim") else np.asarray(offset), X, "offset", LABEL)
    names, predictor = model.feature_names, model.predictor
    empty = np.asarray(answer(predictor, _unnamed(np.zeros((0, X.shape[1]), X.dtype), names), _nothing(model)))
    respond = functools.partial(_respond_block, names=names, answer=answer)
    return map_blocks(respond, X, predictor, offset, empty, LABEL)


def _nothing(model: Model) -> Any:
    """Outputs for no rows."""
    return np.zeros((0, model.topology.n_outputs), np.float32)


def check_n_features(model: Model, n: int, called: str) -> None:
    """Columns without names must be as many as in training. Raises SchemaError."""
    wanted = len(model.feature_names)
    if n != wanted:
        raise SchemaError(f"X has {n} features, but {called} is expecting {wanted} features as input.")


def check_offset(model: Model, offset: Any) -> None:
    """Offsets are of use only to a model that was trained with some. Raises ParameterError."""
    if model.offset_name is None and offset is not None:
        raise ParameterError("offset: the model was trained without offsets; leave it out.")


def no_offset(name: str, names: Sequence[str]) -> ParameterError:
    """Error for a model with offsets and a table without the column of that name, "" for no name at all."""
    known = "none was given"
    if name:
        known = f"column {name!r} is {'a predictor' if name in names else 'not in the table'}"
    return ParameterError(f"offset: the model was trained with offsets and {known}; pass offset=.")


def _offset_of(model: Model, table: Any, offset: Any, names: Sequence[str]) -> Any:
    """The offsets that a prediction needs: given, or the column of that name in training."""
    check_offset(model, offset)
    if model.offset_name is None:
        return None
    labels = labels_of(table, LABEL)
    if offset is not None and not isinstance(offset, str) and is_column(offset, labels):
        offset = named(offset, labels, "offset", LABEL)
    elif not isinstance(offset, str) and np.ndim(getattr(offset, "_meta", offset)) == 0 and offset is not None:
        raise ParameterError(f"offset is {offset!r}: give the name or position of a column, or as many values as rows.")
    name = offset if isinstance(offset, str) else model.offset_name if offset is None else None
    if name is None:
        return offset
    if name not in names or not hasattr(table, "columns") or name in model.feature_names:
        raise no_offset(name, names)
    return table[next(key for key, text in labels.items() if text == name)]


def _respond(part: Any, predictor: Predictor, offset: Any = None, *, answer: Any) -> Any:
    """What a worker does with a partition."""
    if hasattr(offset, "index") and not part.index.equals(offset.index):
        raise SchemaError("a partition and its offsets have different indexes: put the offsets into the frame.")
    return answer(predictor, part, predictor.outputs(part, offset, LABEL))


def _respond_block(block: Any, offset: Any = None, *, predictor: Predictor, names: Sequence[str], answer: Any) -> Any:
    """What a worker does with a block of an array."""
    return np.asarray(_respond(_unnamed(block, names), predictor, offset, answer=answer))


def _unnamed(block: Any, names: Sequence[str]) -> pd.DataFrame | SparsePart:
    """Columns of an array under the names of training, in its order."""
    if is_sparse(block):
        return SparsePart.of(block, names)
    return pd.DataFrame(block, columns=list(names))
