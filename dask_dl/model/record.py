"""Record of a training: what a model knows of it beside the network that came out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dask_dl import parameters

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dask_dl.metrics.history import History


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

    @property
    def n_epochs(self) -> float:
        """Epochs learned."""
        return self.n_seen / self.n_rows

    @property
    def changed_parameters(self) -> dict[str, Any]:
        """Defaults of the parameters for which another value was asked."""
        return {
            name: parameters.TABLE[name].default
            for name, value in self.requested.items()
            if name in parameters.TABLE and not parameters.TABLE[name].is_default(value)
        }
