"""Metrics of a predicted table whose target is known, from one partition after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dask_dl.distribution import Distribution
from dask_dl.errors import SchemaError, warn
from dask_dl.frame.row_roles import RowRoles, counting_rows, where_of
from dask_dl.frame.source import TARGET, Schema
from dask_dl.metrics.measurement import MetricSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from dask_dl.metrics.measurement import Measurement
    from dask_dl.model import Model


class TableMetrics:
    """Metrics of the rows with a known target, by the rules and names of a validation table.

    Parameters
    ----------
    model : Model
    roles : mapping
        Columns of the partitions that hold the target and, perhaps, the weights, by role.
    label : str
        What errors call the table.
    """

    def __init__(self, model: Model, roles: Mapping[str, str], label: str) -> None:
        self._model = model
        self._schema = Schema((), roles, label)
        self._distribution = Distribution.of(model.record.effective)
        self._settings = MetricSettings(self._distribution)
        self._n_partitions = 0
        self._total: Measurement | None = None
        self.n_rows = 0  #: rows that were measured
        self._n_unseen = 0

    def add(self, truth: pd.DataFrame, answers: Any) -> None:
        """Measure the next partition.

        Parameters
        ----------
        truth : pandas.DataFrame
            The columns of the roles.
        answers : ndarray
            (n, K) probabilities, or (n,) predicted numbers.

        Raises
        ------
        SchemaError
            Targets or weights that no validation table may hold.
        """
        k, schema, head = self._n_partitions, self._schema, self._model.head
        self._n_partitions += 1
        counts = counting_rows(truth, schema, k)
        roles = RowRoles.of(truth, schema, k, counts, head.target_kind)
        targets = head.scored_truth(roles)
        known = head.is_known(targets)
        self._n_unseen += int(np.count_nonzero(~known))
        self._check_range(targets)
        weights = None if roles.weights is None else roles.weights[known]
        self._merge(targets[known], answers[counts][known], weights)

    def _check_range(self, truth: Any) -> None:
        wrong = self._distribution.forbids(truth.min(), truth.mean()) if len(truth) else None
        if wrong is not None:
            raise SchemaError(f"{where_of(self._schema, TARGET)} {wrong}")

    def _merge(self, truth: Any, answers: Any, weights: Any) -> None:
        if not len(truth):
            return
        found = self._model.head.measure(truth, answers, weights, self._settings)
        self.n_rows += len(truth)
        self._total = found if self._total is None else self._total.merge(found)

    def result(self) -> dict[str, float]:
        """Metrics by name, as the history has them; none where no target is known. Warns of labels never seen in training."""
        if self._n_unseen:
            text = f"{self._n_unseen:,} rows of {self._schema.label} have labels that training never saw: not scored."
            warn(text)
        if self._total is None:
            return {}
        return self._total.metrics(self._model.head.kind)
