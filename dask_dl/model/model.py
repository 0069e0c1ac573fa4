"""The fitted value: encoder, network, head, history."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from dask_dl import parameters
from dask_dl.errors import warn
from dask_dl.predictor import Predictor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from dask_dl.frame.encoder import Encoder
    from dask_dl.kernels.layout import Topology
    from dask_dl.metrics.history import History
    from dask_dl.tasks.head import Head


@dataclass(frozen=True, eq=False)
class Model:
    """A trained network and what is known of its training. Read-only to everybody."""

    task: str  #: "classification" or "regression"
    encoder: Encoder
    head: Head
    topology: Topology
    flat: NDArray[np.float32]  #: weights and biases, as `topology` lays them out
    states: tuple[NDArray[np.float32], ...]  #: optimizer state, each like `flat`
    requested: Mapping[str, Any]  #: constructor parameters as given
    effective: Mapping[str, Any]  #: the same, automatic choices resolved
    history: History
    n_seen: int  #: rows learned
    n_rounds: int  #: rounds trained
    n_rows: int  #: rows of an epoch
    feature_names: tuple[str, ...]  #: predictors of the training table in its order, dropped ones included
    is_named: bool  #: whether the table had names; an array's columns are x0, x1, ...
    stopped_by: str | None = None  #: why training ended, in words
    offset_name: str | None = None  #: column of offsets, "" when they came beside the table, None when there were none
    # Early files know none of these.
    table_rows: Mapping[str, tuple[int, int]] = field(default_factory=dict)  #: in each table; trained on or scored
    versions: Mapping[str, str] = field(default_factory=dict)  #: of the packages that trained it
    target_name: str | None = None  #: column of the target, None when it came beside the table

    # ---- prediction -------------------------------------------------------------------------------------------------

    @cached_property
    def predictor(self) -> Predictor:
        """Predictor of the model."""
        return Predictor(self.encoder, self.head, self.topology, self.flat)

    def missing_columns(self, names: Sequence[str], label: str) -> list[str]:
        """Columns of training that a table lacks: warned of, and filled with missing values.

        The rule: algorithm.md#columns-of-other-tables.
        """
        missing = self.encoder.match(names, label)
        if missing:
            text = f"{label} lacks {len(missing)} columns of training, taken as missing: {missing[:20]}."
            warn(text)
        return missing

    def confusion_matrix(self) -> pd.DataFrame | None:
        """(K, K) rows by class and prediction, of the table that is watched; None where it was not kept."""
        found = self.history.confusion.get(self.history.table)
        if found is None:
            return None
        counts, labels = np.asarray(found, np.float64), self.head.labels
        whole = counts.astype(np.int64)
        return pd.DataFrame(
            whole if (whole == counts).all() else counts,
            index=pd.Index(labels, name=f"actual ({self.history.table})"),
            columns=pd.Index(labels, name="predicted"),
        )

    @property
    def changed_parameters(self) -> dict[str, Any]:
        """Defaults of the parameters for which another value was asked."""
        return {
            name: parameters.TABLE[name].default
            for name, value in self.requested.items()
            if name in parameters.TABLE and not parameters.TABLE[name].is_default(value)
        }
