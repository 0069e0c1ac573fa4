"""Record of a training: what a model knows of it beside the network that came out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from dask_dl import parameters
from dask_dl.distribution import Distribution
from dask_dl.metrics.custom import custom_metric
from dask_dl.metrics.measurement import MetricSettings
from dask_dl.metrics.table import AVERAGES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from dask_dl.metrics.history import History
    from dask_dl.metrics.measurement import Measurement
    from dask_dl.tasks.head import Head


class FoldMetrics(NamedTuple):
    """Measurements of a cross-validation: of rows by a model that has not seen them."""

    combined: Measurement  #: of all rows
    names: tuple[str, ...]  #: of the folds
    metrics: Mapping[str, Sequence[float]]  #: by name, in the order of the folds

    def to_pandas(self) -> pd.DataFrame:
        """A row for each metric; columns `mean` and `sd` (with n - 1 below), and one for each fold."""
        import pandas as pd

        columns = [f"fold {name}" for name in self.names]
        table = pd.DataFrame.from_dict(dict(self.metrics), orient="index", columns=columns)
        figures = {"mean": table.mean(axis=1), "sd": table.std(axis=1)}
        return pd.concat([pd.DataFrame(figures), table], axis=1).rename_axis("metric")


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingRecord:
    """Parameters, counters, history and tables of a training."""

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
    target_name: str | None = None  #: column of the target, None when it came beside the table
    table_rows: Mapping[str, tuple[int, int]] = field(default_factory=dict)  #: in each table; trained on or scored
    versions: Mapping[str, str] = field(default_factory=dict)  #: of the packages that trained it
    complete_columns: frozenset[str] = frozenset()  #: categorical ones of which no value was missing in training
    folds: FoldMetrics | None = None  #: of a cross-validation

    def metric_settings(self, head: Head, custom: Any = None) -> MetricSettings:
        """Settings of an evaluation, which measures curves of several classes in any case.

        `custom` is a user's metric instead of that of the training. Raises ParameterError for one that is none.
        """
        own = custom or self.effective.get("custom_metric") or self.effective.get("custom_metric_func")
        asked = self.effective.get("auc_type", "auto")
        average = AVERAGES[0] if asked in {"auto", "none"} else asked
        metric = custom_metric(own, head.scorer_labels)
        return MetricSettings(Distribution.of(self.effective), average, metric)

    @property
    def n_groups(self) -> int:
        """Groups of a table of gains; -1: automatic. Early files do not know it."""
        return int(self.effective.get("gainslift_bins", -1))

    @property
    def n_epochs(self) -> float:
        """Epochs learned."""
        last = self.history.events[-1]
        return last.epochs + (self.n_seen - last.samples) / self.n_rows

    @property
    def changed_parameters(self) -> dict[str, Any]:
        """Defaults of the parameters for which another value was asked."""
        return {
            name: parameters.TABLE[name].default
            for name, value in self.requested.items()
            if name in parameters.TABLE and not parameters.TABLE[name].is_default(value)
        }
