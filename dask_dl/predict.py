"""Answers of a fitted model to a table of whatever kind: lazily over Dask collections, at once over local ones."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from dask_dl.errors import ParameterError, SchemaError
from dask_dl.frame.arrays import aligned, is_dask_array, map_blocks, whole_rows
from dask_dl.frame.dask_frames import by_name, is_dask_frame
from dask_dl.frame.dense import DensePart, is_numeric_array
from dask_dl.frame.interchange import as_column, as_table
from dask_dl.frame.prediction import map_rows, n_slices, offset_numbers, offsets_of, slices_of
from dask_dl.frame.source import check_two_dimensions, is_column, labels_of, local_table, named
from dask_dl.frame.sparse import SparsePart, as_csr, is_sparse
from dask_dl.node.threads import map_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from dask_dl.model import Model
    from dask_dl.predictor import Predictor

LABEL = "the table to predict"


def predict_rows(
    model: Model,
    X: Any,
    offset: Any,
    answer: Callable[[Any, NDArray[Any]], NDArray[Any]],
    called: str,
    threads: Callable[[], int],
    *,
    predictor: Predictor | None = None,
    frames: bool = False,
) -> Any:
    """`answer(predictor, answers)` of every row: lazy over Dask collections, with the index of a frame; else an array.

    Parameters
    ----------
    model : Model
    X : Dask or pandas DataFrame, Dask Array, sparse matrix or array-like
    offset : str, int, aligned collection or None
    answer : callable
        Makes an array of what `Predictor.answers` returns: a method of `Predictor`.
    called : str
        Name of the estimator, for errors.
    threads : callable
        Threads for a local table; not called for a few rows.
    predictor : Predictor, optional
        Answers to rows; by default that of the model.
    frames : bool
        Whether the answers to a local frame have its index.

    Returns
    -------
    dask.array.Array, dask.dataframe.Series, dask.dataframe.DataFrame, ndarray, or with `frames` what pandas has of these
    """
    X, offset = as_table(X, LABEL), as_column(offset, "the offset")
    predictor = model.predictor if predictor is None else predictor
    if is_dask_array(X):
        return _of_array(model, predictor, X, offset, answer, called)
    framed = functools.partial(_framed, answer=answer)
    if is_dask_frame(X):
        return _of_frame(model, predictor, X, offset, framed)
    of_part = framed if frames and hasattr(X, "columns") else functools.partial(_values, answer=answer)
    return _of_local(model, predictor, X, offset, of_part, called, threads)


def table_of_answers(
    model: Model,
    X: Any,
    offset: Any,
    keep: Sequence[str],
    called: str,
    threads: Callable[[], int],
    *,
    predictor: Predictor | None = None,
) -> Any:
    """`Predictor.table` of every row: lazy over a Dask DataFrame, else at once.

    Parameters
    ----------
    model : Model
    X : Dask or pandas DataFrame, sparse matrix or array-like
        No Dask Array.
    offset : str, int, aligned collection or None
    keep : sequence of str
        Columns of `X` to put before the answers.
    called : str
        Name of the estimator, for errors.
    threads : callable
        See `predict_rows`.
    predictor : Predictor, optional
        Answers to rows; by default that of the model.

    Returns
    -------
    dask.dataframe.DataFrame or pandas.DataFrame
    """
    X, offset = as_table(X, LABEL), as_column(offset, "the offset")
    predictor = model.predictor if predictor is None else predictor
    answer = functools.partial(type(predictor).table, keep=tuple(keep))
    if is_dask_frame(X):
        return _of_frame(model, predictor, X, offset, answer, keep)
    return _of_local(model, predictor, X, offset, answer, called, threads)


def _values(predictor: Predictor, _part: Any, answers: Any, *, answer: Any) -> Any:
    """`answer` of a partition, as it is."""
    return answer(predictor, answers)


def _framed(predictor: Predictor, part: Any, answers: Any, *, answer: Any) -> pd.Series[Any] | pd.DataFrame:
    """`answer` of a partition, with its index."""
    return predictor.framed(answer(predictor, answers), part.index)


def _of_frame(model: Model, predictor: Predictor, X: Any, offset: Any, answer: Any, keep: Sequence[str] = ()) -> Any:
    """`answer(predictor, part, answers)` of every partition of a Dask DataFrame, lazily."""
    if not model.record.is_named:
        raise SchemaError("the model was trained on an array without column names; pass an array, or train on a frame.")
    names = list(labels_of(X, LABEL).values())
    model.missing_columns(names, LABEL)
    offset = _offset_of(model, predictor, X, offset, names)
    used = {*model.encoder.columns, *keep}
    X = by_name(X, [name for name in names if name in used], LABEL, is_alone=offset is None)
    meta = answer(predictor, X._meta, predictor.no_answers)  # noqa: SLF001  # Dask's name
    return map_rows(functools.partial(respond, answer=answer), X, predictor, offset, meta)


def _of_local(
    model: Model, predictor: Predictor, X: Any, offset: Any, answer: Any, called: str, threads: Callable[[], int]
) -> Any:
    """`answer(predictor, part, answers)` of a table in this process."""
    if is_sparse(X):
        X = as_csr(X, LABEL)
    elif not is_numeric_array(X):
        table = local_table(X, LABEL)
        if model.record.is_named and hasattr(X, "columns"):
            names = table.columns.tolist()
            model.missing_columns(names, LABEL)
            offset = offsets_of(table, _offset_of(model, predictor, table, offset, names))
            return respond(table, predictor, offset, answer=answer, threads=threads)
        X = table
    check_two_dimensions(X, X.shape, LABEL)
    check_n_features(model, X.shape[1], called)
    part = _named(X, model.record.feature_names)
    offset = offsets_of(part, _offset_of(model, predictor, part, offset, model.record.feature_names))
    return respond(part, predictor, offset, answer=answer, threads=threads)


def _of_array(model: Model, predictor: Predictor, X: Any, offset: Any, answer: Any, called: str) -> Any:
    """`answer` of every block of a Dask Array, as a lazy Dask Array."""
    X = whole_rows(X, LABEL)
    check_n_features(model, X.shape[1], called)
    offset = _offset_of(model, predictor, X, offset, list(model.record.feature_names))
    if offset is not None:
        offset = offset_numbers(offset, LABEL) if isinstance(offset, pd.Series) else offset
        offset = aligned(offset if hasattr(offset, "ndim") else np.asarray(offset), X, "offset", LABEL)
    names = model.record.feature_names
    answered = functools.partial(_respond_block, names=names, answer=functools.partial(_values, answer=answer))
    return map_blocks(answered, X, predictor, offset, answer(predictor, predictor.no_answers), LABEL)


def check_n_features(model: Model, n: int, called: str) -> None:
    """The number of columns without names must be that of training. Raises SchemaError."""
    wanted = len(model.record.feature_names)
    if n != wanted:
        raise SchemaError(f"X has {n} features, but {called} is expecting {wanted} features as input.")


def check_offset(model: Model, offset: Any) -> None:
    """Offsets are of use only to a model that was trained with some. Raises ParameterError."""
    if model.record.offset_name is None and offset is not None:
        raise ParameterError("offset: the model was trained without offsets; leave it out.")


def no_offset(name: str, names: Sequence[str]) -> ParameterError:
    """Error for a model with offsets and a table without the column of that name, "" for no name at all."""
    known = "none was given"
    if name:
        known = f"column {name!r} is {'a predictor' if name in names else 'not in the table'}"
    return ParameterError(f"offset: the model was trained with offsets and {known}; pass offset=.")


def _offset_of(model: Model, predictor: Predictor, table: Any, offset: Any, names: Sequence[str]) -> Any:
    """The offsets that a prediction needs: given, or the column of that name in training. Hidden layers need none."""
    check_offset(model, offset)
    if model.record.offset_name is None or predictor.layer is not None:
        return None
    labels = labels_of(table, LABEL)
    if offset is not None and not isinstance(offset, str) and is_column(offset, labels):
        offset = named(offset, labels, "offset", LABEL)
    elif not isinstance(offset, str) and np.ndim(getattr(offset, "_meta", offset)) == 0 and offset is not None:
        raise ParameterError(f"offset is {offset!r}: give the name or position of a column, or as many values as rows.")
    name = offset if isinstance(offset, str) else model.record.offset_name if offset is None else None
    if name is None:
        return offset
    if name not in names or not hasattr(table, "columns") or name in model.record.feature_names:
        raise no_offset(name, names)
    return table[next(key for key, text in labels.items() if text == name)]


def respond(
    part: Any,
    predictor: Predictor,
    offset: Any = None,
    *,
    answer: Any,
    label: str = LABEL,
    threads: Callable[[], int] | None = None,
) -> Any:
    """Answer to a partition: slice by slice, so that many rows or classes take no more memory than few.

    Parameters
    ----------
    part : pandas.DataFrame, SparsePart or DensePart
        n rows, under the names of training.
    predictor : Predictor
    offset : array-like of shape (n,), optional
    answer : callable
        Called as `answer(predictor, rows, answers)`; returns an array, a Series or a frame with a row for each.
    label : str, default "the table to predict"
        Name of the table, for errors.
    threads : callable, optional
        Threads that answer slices side by side, where there are several; None: the calling one, as a task of Dask has its own.

    Returns
    -------
    ndarray, pandas.Series or pandas.DataFrame
        As `answer` returns it, n rows.

    Raises
    ------
    SchemaError
        When the partition does not fit the model, or its offsets have another index.
    """
    if hasattr(offset, "index") and not part.index.equals(offset.index):
        raise SchemaError("a partition and its offsets have different indexes: put the offsets into the frame.")

    def answered(slice_: Any, control: NDArray[np.int64] | None = None) -> Any:
        rows, shifts = slice_
        return answer(predictor, rows, predictor.answers(rows, shifts, label, control))

    is_one_slice = n_slices(len(part), predictor.rows_per_chunk()) == 1
    n_threads = 1 if threads is None or is_one_slice else threads()
    maximum = predictor.rows_per_chunk(n_threads)
    slices, n_threads = slices_of(part, offset, maximum), min(n_threads, n_slices(len(part), maximum))
    answers = list(map(answered, slices)) if n_threads == 1 else map_threads(n_threads, answered, slices)
    if len(answers) == 1:
        return answers[0]
    return np.concatenate(answers) if isinstance(answers[0], np.ndarray) else pd.concat(answers)


def _respond_block(block: Any, offset: Any = None, *, predictor: Predictor, names: Sequence[str], answer: Any) -> Any:
    """Answer to a block of an array, on a worker."""
    return respond(_named(block, names), predictor, offset, answer=answer)


def _named(table: Any, names: Sequence[str]) -> pd.DataFrame | SparsePart | DensePart:
    """Columns of an array, or of a frame whose names do not count, under the names of training, in its order."""
    if is_sparse(table):
        return SparsePart.of(table, names)
    if is_numeric_array(table):
        return DensePart.of(table, names)
    return pd.DataFrame(table).set_axis(list(names), axis=1)
