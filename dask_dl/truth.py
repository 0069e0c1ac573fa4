"""Truth of the rows of a table, read by the rules of training, and measurements of answers beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from dask_dl.errors import SchemaError, warn
from dask_dl.frame.column_stats import added
from dask_dl.frame.row_roles import RowRoles, counting_rows, where_of
from dask_dl.frame.row_stats import count_labels
from dask_dl.frame.source import TARGET
from dask_dl.metrics.measurement import merged

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from dask_dl.frame.source import Schema
    from dask_dl.metrics.measurement import Measurement, MetricSettings
    from dask_dl.tasks.head import Head


class MeasuredTable(NamedTuple):
    """Measurement of the rows of a table."""

    label: str  #: name of the table
    measured: Measurement | None  #: None: no row could be measured
    n_rows: int  #: rows that were measured
    unseen: Mapping[Any, int]  #: labels that training never saw, and their rows, which were not

    def merge(self, other: MeasuredTable) -> MeasuredTable:
        """Both parts of a table together."""
        measured = merged((self.measured, other.measured))
        return self._replace(
            measured=measured, n_rows=self.n_rows + other.n_rows, unseen=added(self.unseen, other.unseen)
        )

    def warn_of_unseen(self, where: str) -> None:
        """Warn of the rows whose labels training never saw; `where` is the name of their column."""
        warn_of_unseen(self.unseen, sum(self.unseen.values()) + self.n_rows, where, "they are not scored")


class TableTruth(NamedTuple):
    """Truth of the rows of a partition that count."""

    roles: RowRoles
    truth: NDArray[Any]  #: as `Head.scored_truth` gives it
    unseen: Mapping[Any, int]
    label: str  #: name of the table

    def measure(self, answers: Iterable[NDArray[Any]], head: Head, settings: MetricSettings) -> MeasuredTable:
        """Measurement of answers to these rows, in their order, a chunk at a time."""
        parts, lo = [], 0
        for chunk in answers:
            parts.append(self.measure_chunk(lo, chunk, head, settings))
            lo += len(chunk)
        return MeasuredTable(self.label, merged(parts), len(self.truth) - sum(self.unseen.values()), self.unseen)

    def measure_chunk(self, lo: int, answers: NDArray[Any], head: Head, settings: MetricSettings) -> Measurement | None:
        """Measurement of answers to some of these rows.

        Parameters
        ----------
        lo : int
            Number of the first of them.
        answers : ndarray
            As `Predictor.answers` returns them.
        head : Head
        settings : MetricSettings

        Returns
        -------
        Measurement or None
            None: no truth of theirs is known.
        """
        rows = slice(lo, lo + len(answers))
        truth, weights = self.truth[rows], self.roles.weights
        known = head.is_known(truth)
        if not known.any():
            return None
        return head.measure(truth[known], answers[known], None if weights is None else weights[rows][known], settings)

    def measure_inputs(
        self, pairs: Iterable[tuple[NDArray[Any], NDArray[Any]]], head: Head, settings: MetricSettings
    ) -> MeasuredTable:
        """Measurement of these rows' inputs and the answers to them, in their order, a chunk at a time."""
        parts, lo = [], 0
        for truth, answers in pairs:
            weights = self.roles.weights
            weights = None if weights is None else weights[lo : lo + len(truth)]
            if len(truth):
                parts.append(head.measure(truth, answers, weights, settings))
            lo += len(truth)
        return MeasuredTable(self.label, merged(parts), lo, {})


def read_truth(part: Any, k: int, head: Head, schema: Schema, settings: MetricSettings) -> TableTruth:
    """Read the truth of the rows of a partition that count.

    Parameters
    ----------
    part : pandas.DataFrame, SparsePart or DensePart
        The partition.
    k : int
        Its number.
    head : Head
    schema : Schema
        Columns of the table and their roles.
    settings : MetricSettings

    Returns
    -------
    TableTruth

    Raises
    ------
    SchemaError
        For what no validation table may hold.
    """
    where = where_of(schema, TARGET)
    roles = RowRoles.of(part, schema, k, counting_rows(part, schema, k), head.target_kind)
    labels = {} if roles.labels is None else count_labels(roles.labels)
    unseen, truth = head.check_scored(labels, where), head.scored_truth(roles)
    wrong = settings.distribution.forbids(truth.min(), truth.mean()) if len(truth) else None
    if wrong is not None:
        raise SchemaError(f"{where} {wrong}")
    return TableTruth(roles, truth, unseen, schema.label)


def warn_of_unseen(unseen: Mapping[Any, int], n_rows: int, where: str, consequence: str) -> None:
    """Warn of labels that training never saw.

    Parameters
    ----------
    unseen : mapping of label to int
        Rows of each.
    n_rows : int
        Rows with a label.
    where : str
        Column of the labels, and its table.
    consequence : str
        Words on what becomes of the rows.
    """
    if not unseen:
        return
    shown, n = ", ".join(map(repr, list(unseen)[:5])), sum(unseen.values())
    text = f"{where}: {n:,} of {n_rows:,} rows have labels that the model has never seen, {shown}; {consequence}."
    warn(text)
