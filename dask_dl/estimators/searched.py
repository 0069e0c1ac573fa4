"""Outcome of a search: its table, its models and its pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sklearn.base import BaseEstimator, clone

from dask_dl.errors import ParameterError
from dask_dl.metrics.table import METRICS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from dask_dl.tuning.candidates import Tried


class Searched(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Attributes and methods of a search that is over."""

    estimator: Any
    leaderboard_: pd.DataFrame
    metric_: str
    ended_by_: str | None

    def _set(self, tried: Sequence[Tried], metric: str, ended_by: str | None, *, has_names: bool) -> None:
        """Take the outcome of a search."""
        from dask_dl.tuning.leaderboard import leaderboard

        self._has_names, self._tried = has_names, {one.candidate.number: one for one in tried}
        self.metric_, self.ended_by_ = metric, ended_by
        self.leaderboard_ = leaderboard(tried, metric)

    def model(self, candidate: int) -> Any:
        """Fitted estimator of a candidate, by its number. Raises ParameterError when there is none."""
        one = self._outcome.get(candidate)
        if one is None or one.model is None:
            why = "was not tried" if one is None else f"{one.status}: {one.error}"
            raise ParameterError(f"candidate {candidate!r} has no model: it {why}.")
        found = clone(self.estimator).set_params(**one.candidate.chosen)
        found.model_ = one.model
        found._set_names(has_names=self._has_names)  # noqa: SLF001  # as its own `fit`
        return found

    @property
    def _outcome(self) -> Mapping[int, Tried]:
        """Candidates that were tried, by number. Raises NotFittedError."""
        from sklearn.utils.validation import check_is_fitted

        check_is_fitted(self, "leaderboard_")
        return self._tried

    @property
    def _best(self) -> Tried:
        tried = self._outcome
        best = next((n for n in self.leaderboard_.index if tried[n].status != "failed"), None)
        if best is None or tried[best].model is None:
            raise ParameterError("no candidate was trained: see the column error of leaderboard_.")
        return tried[best]

    @property
    def best_params_(self) -> dict[str, Any]:
        """Parameters of the best candidate, as the space has them."""
        return dict(self._best.candidate.chosen)

    @property
    def best_score_(self) -> float:
        """Value of the metric of the best candidate, on the rows that judge."""
        return self._best.value(self.metric_)

    @property
    def best_model_(self) -> Any:
        """Fitted estimator of the best candidate."""
        return self.model(self._best.candidate.number)

    def predict(self, X: Any, **given: Any) -> Any:
        """Answers of the best model. See its `predict`."""
        return self.best_model_.predict(X, **given)

    def predict_proba(self, X: Any, **given: Any) -> Any:
        """Probabilities by the best model, a classifier. See its `predict_proba`."""
        return self.best_model_.predict_proba(X, **given)

    def score(self, X: Any, y: Any = None, **given: Any) -> float:
        """Score of the best model. See its `score`."""
        return float(self.best_model_.score(X, y, **given))

    def plot_parameters(self, metric: str | None = None) -> Any:
        """Draw a metric of all candidates against each parameter; returns the matplotlib figure.

        Parameters
        ----------
        metric : str, optional
            A column of `leaderboard_`; by default the one that judges.

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        ParameterError
            When `leaderboard_` has no such metric.
        """
        from dask_dl.show.search_plots import plot_parameters

        return plot_parameters(*self._drawn(metric))

    def plot_parallel_coordinates(self, metric: str | None = None, ax: Any = None) -> Any:
        """Draw a line through the parameters of each candidate to a metric, the best ones dark; returns the matplotlib axes.

        Parameters
        ----------
        metric : str, optional
            A column of `leaderboard_`; by default the one that judges.
        ax : matplotlib.axes.Axes, optional
            Axes to draw on; by default those of a new figure.

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        ParameterError
            When `leaderboard_` has no such metric.
        """
        from dask_dl.show.search_plots import plot_parallel_coordinates

        return plot_parallel_coordinates(*self._drawn(metric), ax=ax)

    def plot_curves(self, metric: str | None = None, ax: Any = None) -> Any:
        """Draw a metric of all candidates over their epochs, the best one thick; returns the matplotlib axes.

        Parameters
        ----------
        metric : str, optional
            A metric of the histories; by default the one that judges.
        ax : matplotlib.axes.Axes, optional
            Axes to draw on; by default those of a new figure.

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        ParameterError
            When no history has such a metric.
        """
        from dask_dl.show.search_plots import plot_curves

        models = {n: one.model.record.history for n, one in self._outcome.items() if one.model is not None}
        return plot_curves(models, list(self.leaderboard_.index), self.metric_ if metric is None else metric, ax=ax)

    def _drawn(self, metric: str | None) -> tuple[pd.DataFrame, list[str], str]:
        """Candidates with a value of a metric, their parameters, and the metric. Raises ParameterError."""
        names = list(dict.fromkeys(name for one in self._outcome.values() for name in one.candidate.chosen))
        metric = self.metric_ if metric is None else metric
        if metric not in METRICS or metric not in self.leaderboard_:
            known = [name for name in self.leaderboard_ if name in METRICS and name not in names]
            raise ParameterError(f"metric={metric!r}: the leaderboard has {', '.join(map(str, known))}.")
        return self.leaderboard_[self.leaderboard_[metric].notna()], names, metric

    def __repr__(self, **given: Any) -> str:
        """Parameters, or the best five candidates once there are some."""
        if not hasattr(self, "leaderboard_"):
            return str(super().__repr__(**given))
        ended = f", ended by {self.ended_by_}" if self.ended_by_ else ""
        n = len(self.leaderboard_)
        return f"<GridSearch: {n:,} candidates by {self.metric_}{ended}>\n{self.leaderboard_.head(5).to_string()}"
