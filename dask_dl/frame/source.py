"""The user's table as one frame: predictors, target, weight and offset side by side, read partition by partition.

Everything downstream (scan, encoding, scoring) uses this one object, so that row i of one thing is row i of the other.
Taking the partitions of X and of y separately would not promise that: Dask may fuse the two graphs differently.
"""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from sklearn.exceptions import DataConversionWarning

from dask_dl.errors import ParameterError, SchemaError, Warn, warn
from dask_dl.frame import arrays, sparse
from dask_dl.frame.dask_frames import by_name, is_dask_frame, joined, reader
from dask_dl.frame.dtypes import check_unicode
from dask_dl.frame.interchange import as_column, as_table
from dask_dl.wording import closest, listed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

#: A local table is read in slices, so that the scan and the encoder need memory for one slice and not for a second table.
ROWS_PER_SLICE = 131_072

TARGET, WEIGHT, OFFSET, FOLD = "target", "weight", "offset", "fold"


@dataclass(frozen=True)
class Schema:
    """The columns of a table and the parts they play: what has to be known of it to understand one of its partitions."""

    predictors: tuple[str, ...]
    roles: Mapping[str, str]  #: TARGET, WEIGHT, OFFSET, FOLD -> name of the column that plays it, where there is one
    label: str  #: what errors call the table


@dataclass(frozen=True)
class Source:
    """A table in partitions, with the parts that its columns play."""

    schema: Schema
    n_partitions: int
    read: Callable[[int], pd.DataFrame | sparse.SparsePart]  #: partition k, predictors and roles only
    is_named: bool = True  #: whether its columns had names; an array's are called x0, x1, ...
    has_text_names: bool = True  #: whether all of them were texts
    lazy: Sequence[Any] | None = None  #: the partitions as Dask's Delayed; None: the table is in this process
    is_sparse: bool = False  #: whether its partitions are sparse matrices

    @property
    def predictors(self) -> tuple[str, ...]:
        """Columns to learn from."""
        return self.schema.predictors

    @property
    def roles(self) -> Mapping[str, str]:
        """Columns that play another part."""
        return self.schema.roles

    @property
    def label(self) -> str:
        """Name of the table in errors."""
        return self.schema.label


def first_rows(part: pd.DataFrame | sparse.SparsePart, n: int) -> pd.DataFrame | sparse.SparsePart:
    """The first n rows of a partition, without the memory of the others."""
    return part.take(slice(0, n)) if isinstance(part, sparse.SparsePart) else part.iloc[:n].copy()


def open_source(
    X: Any,
    target: Any = None,
    weight: Any = None,
    offset: Any = None,
    fold: Any = None,
    *,
    label: str = "the training table",
    keep: Sequence[str] | None = None,
    warn: Warn = warn,
) -> Source:
    """One frame of `X` and of what plays a part beside it.

    Parameters
    ----------
    X : dask.dataframe.DataFrame, dask.array.Array, pandas.DataFrame, table of another library or array-like of shape (n, p)
    target, weight, offset, fold : str, int, aligned collection, or None
        The name or position of a column of `X`, which is then no predictor; or as many values as `X` has rows: a Dask Series
        with a Dask frame (same partitions), a Dask or NumPy array with a Dask Array, any one-dimensional array with a local
        table.
    label : str
        What errors call the table.
    keep : sequence of str, optional
        The columns that are predictors, whatever else they are; by default all without another part.
    warn : callable
        Warns of what was changed or ignored: in a training by `Listeners.warn`.

    Returns
    -------
    Source

    Raises
    ------
    SchemaError
        When `X` is no table, a column is missing, names repeat, or lengths differ.
    """
    given = {TARGET: target, WEIGHT: weight, OFFSET: offset, FOLD: fold}
    given = {role: as_column(value, f"the {role} of {label}") for role, value in given.items() if value is not None}
    X = as_table(X, label)
    is_array, is_sparse = arrays.is_dask_array(X), sparse.is_sparse(X)
    if is_array:
        X = arrays.whole_rows(X, label)
        frame, rename, is_sparse = X, _array_names(X.shape[1], label), arrays.has_sparse_blocks(X)
    elif is_sparse:
        frame = sparse.as_csr(X, label)
        rename = _array_names(frame.shape[1], label)
    else:
        frame, rename = (X, _text_names(X.columns, label)) if is_dask_frame(X) else _local_frame(X, label)
    names = list(rename.values())
    roles: dict[str, str] = {}
    aligned: dict[str, Any] = {}
    for role, value in given.items():
        if is_column(value, rename) and is_sparse:
            raise SchemaError(
                f"{label} is a sparse matrix: give the {role} as an array beside it, and not as one of its columns, {value!r}."
            )
        if is_column(value, rename):
            roles[role] = named(value, rename, role, label)
        else:
            roles[role] = f"__{role}__"
            aligned[roles[role]] = value
    _each_role_its_own(roles, names, aligned)
    eligible = set(names).difference(roles.values()) if keep is None else set(keep)
    predictors = tuple(name for name in names if name in eligible)
    if not predictors:
        n = "" if is_array or is_dask_frame(X) else frame.shape[0]
        raise SchemaError(
            f"{label} has no column to learn from, 0 feature(s) (shape=({n}, 0)) while a minimum of 1 is required: its columns "
            f"are {listed(names) or 'none'}."
        )
    used = {*predictors, *roles.values()}
    check_unicode(list(used), f"{label} has a column")
    wanted = {old: new for old, new in rename.items() if new in used}
    cut: Callable[[Any, Mapping[Any, str], Mapping[str, Any], str], _Cut] = partial(_local_slices, warn=warn)
    if is_array or is_dask_frame(X):
        cut = partial(_array_partitions, warn=warn) if is_array else _dask_partitions
    elif is_sparse:
        cut = partial(_matrix_slices, warn=warn)
    n_partitions, read, lazy = cut(frame, wanted, aligned, label)
    is_named = hasattr(X, "columns")
    has_text_names = is_named and all(isinstance(name, str) for name in rename)
    return Source(Schema(predictors, roles, label), n_partitions, read, is_named, has_text_names, lazy, is_sparse)


def is_column(value: Any, labels: Mapping[Any, str]) -> bool:
    """Whether `value` says which column is meant, and not what it holds: a name, a position, or a label of several levels."""
    if isinstance(value, tuple):
        try:
            return value in labels
        except TypeError:  # of a tuple that holds lists
            return False
    return isinstance(value, str) or _is_position(value)


def _is_position(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def named(value: Any, labels: Mapping[Any, str], role: str, label: str) -> str:
    """Name of the column that is meant; a label comes before a position of the same number.

    Parameters
    ----------
    value : str, int or tuple
        See `is_column`.
    labels : mapping
        The table's own labels, in order, and the strings by which columns are known.
    role : str
        Role of the column, for errors.
    label : str
        What errors call the table.

    Returns
    -------
    str

    Raises
    ------
    SchemaError
        When there is no such column.
    """
    names = list(labels.values())
    if isinstance(value, str):
        return _known(value, names, role, label)
    if value in labels:
        return labels[value]
    if any(map(_is_position, labels)) and list(labels) != list(range(len(labels))):
        raise SchemaError(
            f"{label} has columns that are named by numbers, and none is {value}, for the {role}: give the name of the column. "
            f"Its columns are {listed(names)}."
        )
    if not -len(names) <= value < len(names):
        raise SchemaError(
            f"{label} has {len(names)} columns, at the positions 0 to {len(names) - 1}, and none at {value} for the {role}. "
            f"Its columns are {listed(names)}."
        )
    return names[int(value)]


def labels_of(X: Any, label: str) -> dict[Any, str]:
    """The labels of a table's columns and the texts by which they are known; an array has x0, x1, ..."""
    if hasattr(X, "columns"):
        return _text_names(X.columns, label)
    shape = np.shape(X)
    return _array_names(shape[1], label) if len(shape) == 2 else {}


def _array_names(n: int, label: str) -> dict[Any, str]:
    sparse.check_n_columns(n, label)
    return {k: f"x{k}" for k in range(n)}


def _array_partitions(X: Any, wanted: Mapping[int, str], aligned: Mapping[str, Any], label: str, warn: Warn) -> _Cut:
    beside = {name: _beside_array(values, X, name.strip("_"), label, warn) for name, values in aligned.items()}
    partitions = arrays.partitions(X, wanted, beside, label)
    return len(partitions), reader(partitions, label), partitions


def _beside_array(values: Any, X: Any, role: str, label: str, warn: Warn) -> Any:
    """Values of a role as a Dask Array."""
    is_local = not type(values).__module__.startswith("dask")
    if is_local and not math.isnan(X.shape[0]):
        values = np.asarray(_one_dimensional(values, role, X.shape[0], label, warn))
    return arrays.aligned(values, X, role, label, warn)


def local_table(X: Any, label: str) -> pd.DataFrame:
    """`X` as a pandas frame with text names, uncopied where that is possible."""
    frame, rename = _local_frame(X, label)
    if all(type(old) is str for old in rename):
        return frame
    return frame.set_axis(pd.Index(rename.values(), dtype=object), axis=1)  # of which one may be no valid Unicode


def _local_frame(X: Any, label: str) -> tuple[pd.DataFrame, dict[Any, str]]:
    if isinstance(X, pd.DataFrame):
        return X, _text_names(X.columns, label)
    array = X if isinstance(X, np.ndarray) else np.asarray(X)  # a masked array keeps its mask: pandas knows it
    if array.dtype.kind == "U" and not isinstance(X, np.ndarray):
        array = np.asarray(X, dtype=object)  # numbers beside texts in a list of lists stay numbers
    check_two_dimensions(X, array.shape, label)
    names = _array_names(array.shape[1], label)
    return pd.DataFrame(array.astype(object), dtype=object) if array.dtype.kind in "OU" else pd.DataFrame(array), names


def check_two_dimensions(X: Any, shape: tuple[int, ...], label: str) -> None:
    """Refuse what is not rows of columns, by its shape as an array. Raises SchemaError."""
    if len(shape) != 2:
        kind = f"{type(X).__module__}.{type(X).__name__}"
        hint = " Reshape your data: one row with X.reshape(1, -1), one column with X.reshape(-1, 1)."
        raise SchemaError(
            f"{label} must have two dimensions, rows and columns; found {kind} of shape {shape}."
            f"{hint if len(shape) == 1 else ''}"
        )


def _text_names(columns: Any, label: str) -> dict[Any, str]:
    labels = columns.tolist() if isinstance(columns, pd.Index) else columns
    names = [str(name) for name in labels]
    repeated = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if repeated:
        raise SchemaError(f"{label} has several columns named {listed(repeated)}. Rename or drop all but one.")
    return dict(zip(labels, names, strict=True))


def _known(name: str, names: Sequence[str], role: str, label: str) -> str:
    if name in names:
        return name
    near = closest(name, names)
    guess = f" Did you mean {near!r}?" if near else ""
    raise SchemaError(f"{label} has no column {name!r} for the {role}.{guess} Its columns are {listed(names)}.")


def _each_role_its_own(roles: Mapping[str, str], names: Sequence[str], aligned: Mapping[str, Any]) -> None:
    if len(set(roles.values())) < len(roles):
        parts = ", ".join(f"{role} {name!r}" for role, name in roles.items())
        raise ParameterError(f"target, weight, offset and fold must be different columns; found {parts}.")
    taken = [name for name in aligned if name in names]
    if taken:
        raise SchemaError(f"columns named {listed(taken)} are reserved. Rename them.")


#: How many partitions, how to read one here, and all of them for Dask to read.
_Cut = tuple[int, "Callable[[int], pd.DataFrame | sparse.SparsePart]", "Sequence[Any] | None"]


def _local_slices(
    frame: pd.DataFrame, wanted: Mapping[Any, str], aligned: Mapping[str, Any], label: str, warn: Warn
) -> _Cut:
    columns = {name: _one_dimensional(value, name, len(frame), label, warn) for name, value in aligned.items()}
    whole = frame if len(wanted) == frame.shape[1] else frame[list(wanted)]

    def read(k: int) -> pd.DataFrame:
        rows = slice(k * ROWS_PER_SLICE, (k + 1) * ROWS_PER_SLICE)
        part = whole.iloc[rows].set_axis(list(wanted.values()), axis=1)
        if not columns:
            return part
        # `assign` warns of frames of many blocks, such as read_csv makes.
        return pd.concat([part, pd.DataFrame(_slices(columns, rows, part.index))], axis=1)

    return max(1, -(-len(frame) // ROWS_PER_SLICE)), read, None


def _slices(columns: Mapping[str, Any], rows: slice, index: pd.Index[Any]) -> dict[str, pd.Series[Any]]:
    """Some rows of columns beside a table. Objects stay objects: pandas would make strings of texts that cannot be one."""
    return {
        name: pd.Series(values[rows], index, dtype=object if _may_be_texts(values.dtype) else None)
        for name, values in columns.items()
    }


def _may_be_texts(dtype: Any) -> bool:
    return pd.api.types.is_object_dtype(dtype) or dtype.kind == "U"


def _matrix_slices(csr: Any, wanted: Mapping[int, str], aligned: Mapping[str, Any], label: str, warn: Warn) -> _Cut:
    n = csr.shape[0]
    csr = csr if len(wanted) == csr.shape[1] else csr[:, list(wanted)]
    columns = {name: _one_dimensional(value, name, n, label, warn) for name, value in aligned.items()}

    def read(k: int) -> sparse.SparsePart:
        rows = slice(k * ROWS_PER_SLICE, (k + 1) * ROWS_PER_SLICE)
        part = csr[rows]
        index = pd.RangeIndex(part.shape[0])
        beside = pd.DataFrame(_slices(columns, rows, index), index=index)
        return sparse.SparsePart(part, tuple(wanted.values()), beside)

    return max(1, -(-n // ROWS_PER_SLICE)), read, None


def _one_dimensional(values: Any, name: str, n: int, label: str, warn: Warn) -> Any:
    """Values of a role as something that slices by position, whatever its index."""
    role = name.strip("_")
    if is_dask_frame(values) or type(values).__module__.startswith("dask"):
        raise SchemaError(
            f"the {role} of a local table must be local too: pass {role}.compute(), or both as Dask collections."
        )
    if isinstance(values, (pd.Series, pd.Categorical, pd.api.extensions.ExtensionArray)):
        column: Any = values.array if isinstance(values, pd.Series) else values
    else:
        column = np.asarray(values)
        if column.dtype.kind == "U" and not isinstance(values, np.ndarray):
            column = np.asarray(values, dtype=object)  # a missing value of a list stays missing, and no text "nan"
        if column.ndim == 2 and column.shape[1] == 1:
            called = "y" if role == TARGET else role
            warn(DataConversionWarning(f"A column-vector {called} was passed when a 1d array was expected."))
            column = column.ravel()
        if column.ndim == 0:
            shown = repr(values)
            shown = shown if len(shown) <= 60 else f"{shown[:60]}..."
            raise SchemaError(
                f"the {role} is {shown}: give the name or position of a column, or as many values as rows."
            )
        if column.ndim != 1:
            raise SchemaError(f"the {role} must have one dimension; found shape {column.shape}.")
        if column.dtype.kind in "SV":  # bytes and records, which a frame holds as objects only
            column = column.astype(object)
    if len(column) != n:
        raise SchemaError(f"{label} has {n:,} rows and its {role} {len(column):,}. Their lengths must match.")
    return column


def _dask_partitions(frame: Any, wanted: Mapping[Any, str], aligned: Mapping[str, Any], label: str) -> _Cut:
    frame = by_name(frame, tuple(wanted.values()), label, is_alone=not aligned)
    if aligned:
        frame = joined(frame, aligned, label)
    partitions = frame.to_delayed()
    return len(partitions), reader(partitions, label), partitions
