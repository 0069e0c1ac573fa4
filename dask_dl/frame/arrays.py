"""Dask Arrays as tables: blocks of whole rows, and what stands beside them cut at the same rows."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from sklearn.exceptions import DataConversionWarning

from dask_dl.errors import SchemaError, Warn, warn
from dask_dl.frame import sparse
from dask_dl.frame.interchange import kind_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


def is_dask_array(X: Any) -> bool:
    """Whether `X` is a Dask Array (without importing Dask for those who do not use it)."""
    return type(X).__module__.startswith("dask.array") and hasattr(X, "chunks")


def has_sparse_blocks(X: Any) -> bool:
    """Whether the blocks of a Dask Array are sparse matrices of SciPy."""
    return sparse.is_sparse(X._meta)  # noqa: SLF001  # Dask's name for what a block is


def whole_rows(X: Any, label: str) -> Any:
    """A Dask Array of shape (n, p) whose blocks hold whole rows; n and the lengths of blocks may be unknown.

    Raises
    ------
    SchemaError
        When it has not two dimensions, or holds no plain values.
    """
    kind = type(X._meta)  # noqa: SLF001  # Dask's name for what a block is
    if not issubclass(kind, np.ndarray) and not has_sparse_blocks(X):
        raise SchemaError(
            f"{label} is a Dask Array of {kind.__module__}.{kind.__name__}. Use blocks of NumPy arrays or of CSR matrices."
        )
    if X.ndim != 2:
        hint = " Reshape your data: one column with X[:, None]." if X.ndim == 1 else ""
        raise SchemaError(
            f"{label} must have two dimensions, rows and columns; found a Dask Array of shape {X.shape}.{hint}"
        )
    if X.dtype.names:
        raise SchemaError(f"{label} is a Dask Array of records, {X.dtype}. Make it a Dask DataFrame.")
    if math.isnan(X.shape[1]):
        raise SchemaError(
            f"{label} is a Dask Array whose number of columns is unknown. Call its compute_chunk_sizes() first."
        )
    return X.rechunk({1: -1}) if X.numblocks[1] != 1 else X


def partitions(X: Any, columns: Mapping[int, str], beside: Mapping[str, Any], label: str) -> list[Any]:
    """Blocks of whole rows as pandas frames, of the named columns and of what stands beside them.

    Parameters
    ----------
    X : dask.array.Array of shape (n, p)
        See `whole_rows`.
    columns : mapping of int to str
        Names of the columns, by place.
    beside : mapping of str to dask.array.Array of shape (n,)
        Values of each role, `aligned`, by name.
    label : str
        What errors call the table.

    Returns
    -------
    list of dask.delayed.Delayed
        The frames, of one graph.
    """
    import dask.array as da

    blocks = [part for values in beside.values() for part in (values, "i")]
    # One graph for all: what X and y are both made from is computed once.
    frames = da.blockwise(
        _frame_of, "i", X, "ij", _numbers(X), "i", *blocks, columns=dict(columns), n_columns=X.shape[1],
        names=tuple(beside), label=label, align_arrays=False, dtype=object, meta=np.zeros(0, object),
    )  # fmt: skip
    return list(frames.to_delayed())


def _numbers(X: Any) -> Any:
    """The number of every block of rows, for errors."""
    from dask.layers import ArrayBlockIdDep

    return ArrayBlockIdDep((X.chunks[0],))


def _whole(blocks: Sequence[Any], number: tuple[int], n_columns: int, label: str) -> Any:
    """The one block of a list, as large as the array says; a sparse one checked. Raises SchemaError."""
    (block,) = blocks  # of whole rows
    where = f"block {number[0]} of {label}"
    if sparse.is_sparse(block):
        block = sparse.as_csr(block, where)
    elif not isinstance(block, np.ndarray) or block.ndim != 2:
        raise SchemaError(
            f"{where} is {kind_of(block)}, not an array of two dimensions. Mend the function that makes it."
        )
    if block.shape[1] != n_columns:
        raise SchemaError(f"{where} has {block.shape[1]:,} columns, where the array says {n_columns:,}.")
    return block


def _frame_of(
    blocks: Any,
    number: tuple[int],
    *values: Any,
    columns: Mapping[int, str],
    n_columns: int,
    names: Sequence[str],
    label: str,
) -> Any:
    block = _whole(blocks, number, n_columns, label)
    n = block.shape[0]
    for name, column in zip(names, values, strict=True):
        role = name.strip("_")
        if np.ndim(column) != 1:
            raise SchemaError(f"block {number[0]} of {label}: its {role} is {kind_of(column)}, not one-dimensional.")
        if len(column) != n:
            raise SchemaError(
                f"block {number[0]} of {label} has {n:,} rows and its {role} {len(column):,}. Are they cut at the same rows?"
            )
    if sparse.is_sparse(block):
        beside = pd.DataFrame(dict(zip(names, values, strict=True)), index=range(n))
        kept = block if len(columns) == n_columns else block[:, list(columns)]
        return sparse.SparsePart(kept, tuple(columns.values()), beside)
    whole = len(columns) == n_columns
    frame = pd.DataFrame(block if whole else block[:, list(columns)]).set_axis(list(columns.values()), axis=1)
    # A frame holds bytes as objects only.
    values = tuple(v.astype(object) if getattr(v.dtype, "kind", "") in {"S", "V"} else v for v in values)
    return frame.assign(**dict(zip(names, values, strict=True)))


def aligned(values: Any, X: Any, role: str, label: str, warn: Warn = warn) -> Any:
    """Values beside the rows of a Dask Array, as one of a single dimension with blocks of the same rows.

    Parameters
    ----------
    values : dask.array.Array, Dask Series or array-like of shape (n,) or (n, 1)
        The values.
    X : dask.array.Array of shape (n, p)
        The table; its rows may be of unknown number.
    role : str
        Role of the values ("target", "weight" or "offset"), for errors.
    label : str
        What errors call the table.
    warn : callable
        Warns of a column-vector.

    Returns
    -------
    dask.array.Array of shape (n,)

    Raises
    ------
    SchemaError
        When their number differs, or it cannot be known which belong to which row.
    """
    import dask.array as da

    rows, n = X.chunks[0], X.shape[0]
    if type(values).__module__.startswith("dask.dataframe"):
        values = values.to_dask_array()
    if not is_dask_array(values):
        if math.isnan(n):
            raise SchemaError(
                f"{label} is a Dask Array of unknown length, so the {role} beside it must be a Dask Array cut at the same "
                f"rows; found {type(values).__name__}. Or call compute_chunk_sizes() of {label} first."
            )
        values = da.from_array(values, chunks=(rows,) if len(values) == n else -1)
    if values.ndim == 2 and values.shape[1] == 1:
        called = "y" if role == "target" else role
        warn(DataConversionWarning(f"A column-vector {called} was passed when a 1d array was expected."))
        values = values[:, 0]
    if values.ndim != 1:
        raise SchemaError(f"the {role} must have one dimension; found a Dask Array of shape {values.shape}.")
    if math.isnan(n) or math.isnan(values.shape[0]):
        if len(rows) != values.numblocks[0]:
            raise SchemaError(_unlike(X, f"one of {values.numblocks[0]} blocks", role, label))
        return values  # row by row where they are read
    if values.shape[0] != n:
        raise SchemaError(f"{label} has {n:,} rows and its {role} {values.shape[0]:,}. Their lengths must match.")
    return values.rechunk((rows,))


def _unlike(X: Any, other: str, role: str, label: str) -> str:
    return (
        f"{label} is a Dask Array of {X.numblocks[0]} blocks of rows and its {role} {other}, some of unknown length, so rows "
        f"cannot be matched. Call compute_chunk_sizes() of both first."
    )


def map_blocks(
    function: Callable[..., Any], X: Any, predictor: Any, offset: Any, empty: np.ndarray[Any, Any], label: str
) -> Any:
    """`function(block, predictor, offset)` over blocks of whole rows, as a lazy Dask Array.

    Parameters
    ----------
    function : callable
        Returns as many rows as its first argument has; sparse blocks are canonical.
    X : dask.array.Array of shape (n, p)
    predictor : object
        Travels once, as a task of its own.
    offset : dask.array.Array of shape (n,) or None
        Blocks of the same rows.
    empty : ndarray
        The answer for no rows, (0,), (0, K) or of more dimensions, with its dtype.
    label : str
        What errors call the array.

    Returns
    -------
    dask.array.Array of shape (n,), (n, K) or of more dimensions
    """
    import dask
    import dask.array as da

    beside = () if offset is None else (offset, "i")
    axes = dict(zip("klm", empty.shape[1:], strict=False))
    out = "".join(["i", *axes])
    shared = dask.delayed(predictor, pure=False, traverse=False)
    return da.blockwise(
        _of_block, out, X, "ij", _numbers(X), "i", *beside, function=function, predictor=shared, n_columns=X.shape[1],
        label=label, new_axes=axes, align_arrays=False, dtype=empty.dtype, meta=empty,
    )  # fmt: skip


def _of_block(
    blocks: Any,
    number: tuple[int],
    *offset: Any,
    function: Callable[..., Any],
    predictor: Any,
    n_columns: int,
    label: str,
) -> Any:
    return function(_whole(blocks, number, n_columns, label), *offset, predictor=predictor)
