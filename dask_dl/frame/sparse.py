"""Sparse tables (algorithm.md#sparse-tables): rows of a SciPy CSR matrix, of which only the non-zeros are ever touched.

What is not stored is 0; a stored NaN is a missing value.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from dask_dl.errors import SchemaError
from dask_dl.frame.column_stats import Moments

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


#: Columns that a table may have: each takes about a kilobyte of names and figures before its weights are made.
MAX_COLUMNS = 2**24


def is_sparse(X: Any) -> bool:
    """Whether `X` is a matrix or array of SciPy (without importing it for those who do not use it)."""
    return any(kind.__module__.startswith("scipy.sparse") for kind in type(X).__mro__)


def check_n_columns(n: int, label: str) -> None:
    """Refuse a table of more columns than names fit into memory, before any is made. Raises SchemaError."""
    if n > MAX_COLUMNS:
        raise SchemaError(
            f"{label} has {n:,} columns, more than {MAX_COLUMNS:,}. Keep those that hold something, or hash them into fewer: "
            f"sklearn.feature_extraction.FeatureHasher(n_features=2**20), say."
        )


def as_csr(X: Any, label: str) -> Any:
    """Matrix in canonical CSR, whose every index was checked: ascending columns, none twice in a row.

    SciPy does not look at the indices that it is given; it reads and writes wherever they point to, and so do kernels.

    Raises
    ------
    SchemaError
        When it is no matrix of real numbers, has too many columns, or points beyond its shape.
    """
    try:
        return _as_csr(X, label)
    except SchemaError:
        raise
    except (AttributeError, IndexError, MemoryError, OverflowError, TypeError, ValueError) as error:
        raise SchemaError(
            f"{label} is a sparse matrix of shape {X.shape} in format {X.format!r} that is not sound: {error}. "
            f"Was it put together from arrays that do not belong together?"
        ) from error


def _as_csr(X: Any, label: str) -> Any:
    if X.ndim != 2:
        raise SchemaError(
            f"{label} must have two dimensions, rows and columns; found a sparse array of shape {X.shape}."
        )
    check_n_columns(X.shape[1], label)
    if X.dtype.kind not in "biuf":
        what = "Complex data not supported: " if X.dtype.kind == "c" else ""
        raise SchemaError(f"{what}{label} is a sparse matrix of {X.dtype}. Make it one of real numbers.")
    checked = _checked(X.tocoo() if X.format == "dok" else X)
    csr = checked if X.format == "csr" else _checked(checked.tocsr())
    if csr.dtype == np.float16:  # which SciPy stores, and does not calculate with
        csr = csr.astype(np.float32)
    if not csr.has_canonical_format:
        csr = csr.copy() if np.may_share_memory(csr.data, X.data) else csr
        csr.sum_duplicates()
    return csr


def _checked(X: Any) -> Any:
    """A matrix over the same arrays, which were checked, and which knows nothing yet of their order. Raises ValueError."""
    from scipy import sparse  # imported by then: X is of it

    if X.format in {"csr", "csc", "bsr"}:
        for name in ("indices", "indptr"):
            _check_indices(getattr(X, name), name)
        if (X.indptr[1:] < X.indptr[:-1]).any():  # SciPy trusts the last one
            raise ValueError("indptr decreases")
        # SciPy's own: a subclass may check and convert in another way.
        kind = {"csr": sparse.csr_array, "csc": sparse.csc_array, "bsr": sparse.bsr_array}[X.format]
        fresh = kind((X.data, X.indices, X.indptr), shape=X.shape)
        fresh.check_format(full_check=True)
        return fresh
    if X.format == "coo":
        for name, places, n in zip(("row", "col"), (X.row, X.col), X.shape, strict=True):
            _check_indices(places, name)
            if len(places) != len(X.data):
                raise ValueError(f"{len(places):,} entries of {name} for {len(X.data):,} of data")
            if len(places) and not (places.min() >= 0 and places.max() < n):
                raise ValueError(f"{name} holds {places.min()} to {places.max()}, beyond the shape")
    elif X.format == "dia":
        _check_indices(X.offsets, "offsets")
        if X.data.ndim != 2 or len(X.offsets) != len(X.data):
            raise ValueError(f"{len(X.offsets):,} offsets for diagonals of shape {X.data.shape}")
    elif X.format == "lil" and [*map(len, X.rows)] != [*map(len, X.data)]:
        raise ValueError("rows and data have entries in different numbers")
    return X


def _check_indices(indices: Any, name: str) -> None:
    if not isinstance(indices, np.ndarray) or indices.ndim != 1 or indices.dtype.kind not in "iu":
        raise ValueError(
            f"{name} is not a one-dimensional array of whole numbers: {getattr(indices, 'dtype', type(indices))}"
        )


@dataclass(frozen=True, eq=False)
class SparsePart:
    """Rows of a sparse matrix, all of whose columns are numbers, and what stands beside them.

    A partition like a DataFrame, as far as roles are concerned.
    """

    matrix: Any  #: canonical CSR, (n, p)
    names: tuple[str, ...]  #: of its columns
    frame: pd.DataFrame  #: (n, roles)

    @classmethod
    def of(cls, csr: Any, names: Sequence[str]) -> SparsePart:
        """Rows of `as_csr` with nothing beside them."""
        return cls(csr, tuple(names), pd.DataFrame(index=range(csr.shape[0])))

    def take(self, rows: slice | NDArray[np.int64]) -> SparsePart:
        """Some rows."""
        return SparsePart(self.matrix[rows], self.names, self.frame.iloc[rows])

    def __len__(self) -> int:
        return int(self.matrix.shape[0])

    def __getitem__(self, name: str) -> pd.Series[Any]:
        return self.frame[name]

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of all columns."""
        return (*self.names, *self.frame.columns)

    @property
    def index(self) -> pd.Index[Any]:
        """Index of the rows."""
        return self.frame.index

    @property
    def nbytes(self) -> int:
        """Memory of the matrix and of what stands beside it."""
        csr = self.matrix
        beside = int(self.frame.memory_usage(index=False, deep=True).sum())
        return int(csr.data.nbytes + csr.indices.nbytes + csr.indptr.nbytes) + beside

    def __sizeof__(self) -> int:
        """Bytes of the partition, by which Dask accounts for it."""
        return self.nbytes

    @cached_property
    def _by_column(self) -> tuple[NDArray[np.float64], NDArray[np.integer], NDArray[np.integer]]:
        """(numbers, their rows, their columns), column by column."""
        csc = self.matrix.tocsc()
        return csc.data.astype(np.float64), csc.indices, np.repeat(np.arange(csc.shape[1]), np.diff(csc.indptr))

    def infinite(self) -> dict[str, int]:
        """How many infinite numbers a column holds, where there are any."""
        numbers, _, column = self._by_column
        columns, counts = np.unique(column[np.isinf(numbers)], return_counts=True)
        return {self.names[c]: int(n) for c, n in zip(columns, counts, strict=True)}

    def bare(self) -> SparsePart:
        """Rows without the columns of the matrix, but with what stands beside them."""
        return SparsePart(self.matrix[:, :0], (), self.frame)

    def without_numbers_beyond(self, maximum: float) -> SparsePart:
        """Rows in which numbers beyond a size are missing."""
        csr = self.matrix.astype(np.float64)
        csr.data[np.abs(csr.data) > maximum] = np.nan
        return SparsePart(csr, self.names, self.frame)

    def lacks(self, columns: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Which rows miss one of these columns, (p,) bool."""
        numbers, row, column = self._by_column
        rows = np.zeros(len(self), bool)
        rows[row[np.isnan(numbers) & columns[column]]] = True
        return rows

    def extremes(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Least and largest number of every column, zeros included; NaN where all are missing."""
        numbers, _, column = self._by_column
        low, high = np.full(len(self.names), np.nan), np.full(len(self.names), np.nan)
        np.fmin.at(low, column, numbers)
        np.fmax.at(high, column, numbers)
        has_zeros = np.bincount(column, minlength=len(self.names)) < len(self)
        return np.where(has_zeros, np.fmin(low, 0), low), np.where(has_zeros, np.fmax(high, 0), high)

    def moments(self, weights: NDArray[np.float64] | None) -> Moments:
        """Moments of every column, with weights (n,), as `Moments.of` finds them in the table written out."""
        numbers, row, column = self._by_column
        p = len(self.names)

        def added(values: NDArray[Any]) -> NDArray[np.float64]:
            return np.bincount(column, values, p).astype(np.float64)

        w_row = np.ones(len(self)) if weights is None else weights
        present = ~np.isnan(numbers)
        numbers = np.where(present, numbers, 0.0)
        w = present * w_row[row]
        n = np.bincount(column[w > 0], minlength=p)
        n_zero = np.count_nonzero(w_row) - np.bincount(column[w_row[row] > 0], minlength=p)
        w_zero = np.where(n_zero > 0, w_row.sum() - added(w_row[row]), 0.0)
        # Where there are no zeros it is counted from one of the values, as in `Moments.of`.
        origin = np.zeros(p)
        origin[column[::-1][w[::-1] > 0]] = numbers[::-1][w[::-1] > 0]
        origin = np.where(n_zero > 0, 0.0, origin)
        total = added(w) + w_zero
        with np.errstate(over="ignore", invalid="ignore"):  # values near the end of float64: seen in the result
            shift = added(w * (numbers - origin[column]))
            mean = origin + np.divide(shift, total, out=np.zeros(p), where=total > 0)
            m2 = added(w * (numbers - mean[column]) ** 2) + w_zero * mean**2
        return Moments(n + n_zero, total, mean, m2)

    def entries(
        self, slots: NDArray[np.int32], fill: NDArray[np.float64], factor: NDArray[np.float64]
    ) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]:
        """Inputs that are not zero: how many each row has, which, and what they count.

        slots (p,): input of every column, ascending, -1 = none; fill, factor (p,): what missing numbers become, and by which
        all are multiplied.
        """
        csr = self.matrix
        column = csr.indices
        row = np.repeat(np.arange(len(self)), np.diff(csr.indptr))
        numbers = csr.data.astype(np.float64)
        numbers = np.where(np.isnan(numbers), fill[column], numbers) * factor[column]
        with np.errstate(over="ignore"):
            values = numbers.astype(np.float32)
        kept = (slots[column] >= 0) & (values != 0)
        return np.bincount(row[kept], minlength=len(self)).astype(np.int32), slots[column[kept]], values[kept]
