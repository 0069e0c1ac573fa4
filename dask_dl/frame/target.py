"""Task of a target, interface of what makes numbers of it, and the order of labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

import numpy as np

from dask_dl.frame.dtypes import is_label
from dask_dl.frame.interchange import as_column, as_table
from dask_dl.frame.source import is_column, labels_of, local_table, named

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from dask_dl.frame.row_roles import RowRoles, TargetKind


class TargetEncoder(Protocol):
    """Encoder of the targets and offsets of a table: a head, as far as it concerns rows (algorithm.md#targets)."""

    target_kind: ClassVar[TargetKind]

    def encode(self, roles: RowRoles) -> NDArray[np.float64]:
        """Targets of n rows in the units of the network: (n,), NaN for a label that was never seen."""

    def offsets(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Offsets in the units of the output's pre-activation: algorithm.md#offsets."""

    def has_unseen(self, labels: Mapping[Any, int]) -> bool:
        """Whether any of these labels was never seen in training."""


def task_of(X: Any, y: Any) -> Literal["classification", "regression"]:
    """Task of a target, by its dtype: texts, categories and booleans are classes. No partition of a Dask collection is read.

    Parameters
    ----------
    X : table
        The training table, as `open_source` takes it.
    y : str, int, or aligned collection
        The target: a column of it, or values.

    Returns
    -------
    {"classification", "regression"}

    Raises
    ------
    SchemaError
        When `X` is no table, or has no such column.
    """
    label = "the training table"
    table, column = as_table(X, label), as_column(y, f"the target of {label}")
    labels = labels_of(table, label)
    if is_column(column, labels):
        place = list(labels.values()).index(named(column, labels, "target", label))
        columns = table if hasattr(table, "dtype") or hasattr(table, "iloc") else local_table(table, label)
        column = columns.iloc[:, place] if hasattr(columns, "iloc") else columns[:, place]
    elif getattr(column, "ndim", 1) == 2 and hasattr(column, "iloc"):  # a frame of one column
        column = column.iloc[:, 0]
    dtype = column.dtype if hasattr(column, "dtype") else np.asarray(column).dtype
    return "classification" if is_label(dtype) else "regression"


def sorted_labels(classes: Mapping[Any, int]) -> list[Any]:
    """Labels in order; labels of mixed types by type first."""
    try:
        return sorted(classes)
    except TypeError:
        return sorted(classes, key=lambda label: (type(label).__name__, label))
