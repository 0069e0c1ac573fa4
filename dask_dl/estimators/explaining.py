"""Reasons of the answers of classifiers and regressors: by row, by column, by level."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dask_dl.estimators.contributing import MAX_ROWS, Contributing
from dask_dl.estimators.dependence import Dependence
from dask_dl.estimators.permuting import Permuting

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from dask_dl.show.explanation import Explanation

#: Columns that are permuted where none are named: of more the most important ones by the weights.
MAX_PERMUTED = 50


class Explaining(Contributing, Dependence, Permuting):
    """Methods by which classifiers and regressors explain their answers to tables."""

    def explain(
        self,
        X: Any,
        y: Any = None,
        *,
        columns: Sequence[Any] | None = None,
        n_columns: int = 6,
        metric: Any = None,
        sample_weight: Any = None,
        offset: Any = None,
        n_repeats: int = 3,
        label: str = "the table",
    ) -> Explanation:
        """Say in one go which columns matter to the answers to a table, and how answers move with them.

        Parameters
        ----------
        X : dask.dataframe.DataFrame, dask.array.Array, pandas.DataFrame, sparse matrix or array-like
            As in `predict`; it is read a few times.
        y : str, int, or aligned collection of n values, optional
            The target; by default the column of that name in training. Without one nothing is permuted, and there are no
            residuals.
        columns : sequence of (str or int), optional
            Columns with which answers are moved; by default the `n_columns` most important ones.
        n_columns : int, default 6
            Their number where `columns` does not name them.
        metric : str, scorer or CustomMetric, optional
            Metric of `permutation_importance`.
        sample_weight, offset : str, int, aligned collection or None
            As in `evaluate`.
        n_repeats : int, default 3
            Permutations of each column. Of more than 50 columns the most important ones by the weights are permuted.
        label : str, default "the table"
            Name of the table, for headings.

        Returns
        -------
        Explanation
            With frames, pictures in a notebook, and `report(path)`.

        Raises
        ------
        ParameterError, SchemaError
            When a column or the table does not fit the model.
        """
        from dask_dl.show.explanation import Explanation

        model = self._fitted
        y = self._target_in(X, y)
        by_weights = self.importances()
        ranking, permutation = by_weights.index, None
        if y is not None:
            permutation = self.permutation_importance(
                X, y, metric=metric, columns=list(ranking[:MAX_PERMUTED]), n_repeats=n_repeats,
                sample_weight=sample_weight, offset=offset,
            )  # fmt: skip
            ranking = permutation.index
        moved = list(ranking[:n_columns]) if columns is None else list(columns)
        dependence = self.partial_dependence(X, moved, sample_weight=sample_weight, offset=offset) if moved else []
        residuals = None
        if y is not None and model.task == "regression":
            residuals = self.residuals(X, y, sample_weight=sample_weight, offset=offset)
        contributions, sample = self._mean_contributions(X, offset)
        return Explanation(
            label, by_weights, permutation, contributions, sample, dependence, residuals, self.layer_summary_,
            self.layer_warnings_,
        )  # fmt: skip

    def _target_in(self, X: Any, y: Any) -> Any:
        """The target: what was given, or the column of that name in training where the table has it."""
        name = self._fitted.record.target_name
        if y is not None or name is None:
            return y
        return name if name in [str(column) for column in getattr(X, "columns", ())] else None

    def _mean_contributions(self, X: Any, offset: Any) -> tuple[pd.Series[Any], str]:
        """Mean size of each column's contribution to answers to random rows, beside others of them; words on which rows."""
        import pandas as pd

        from dask_dl.answer_sample import sample_answers
        from dask_dl.explain.contributions import Contributions

        explained = self._explained(X, offset, output="margin", label=None, per_input=False, n=100)
        sample = sample_answers(
            self._fitted, X, None, explained, Contributions.each, MAX_ROWS, type(self).__name__, offset=offset
        )
        means = abs(sample.answers[:, :-1]).mean(axis=(0, *range(2, sample.answers.ndim)))
        found = pd.Series(means, index=pd.Index(explained.names, name="column"), name="contribution")
        return found.sort_values(ascending=False, kind="stable"), sample.title
