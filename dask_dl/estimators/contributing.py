"""Contributions of columns to the answers of classifiers and regressors, row by row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dask_dl.estimators.measuring import check_table
from dask_dl.estimators.predicting import Predicting

if TYPE_CHECKING:
    from dask_dl.explain.contributions import Contributions

#: Rows in a picture: of larger tables they are random ones.
MAX_ROWS = 1_000


class Contributing(Predicting):
    """Methods by which classifiers and regressors explain their answers to single rows."""

    def contributions(
        self,
        X: Any,
        background: Any,
        *,
        offset: Any = None,
        background_offset: Any = None,
        output: str = "margin",
        label: Any = None,
        per_input: bool = False,
        n_background: int | None = 100,
    ) -> Any:
        """Contributions of every column to the answer to every row, beside background rows: DeepSHAP.

        They are SHAP values in DeepLIFT's approximation: those of a row and `BiasTerm`, the mean answer to the background
        rows, add up to the answer to the row. They tell how the model gets from what is usual to its answer, and not what
        would happen in the world.

        Parameters
        ----------
        X : dask.dataframe.DataFrame, dask.array.Array, pandas.DataFrame, sparse matrix or array-like
            As in `predict`.
        background : dask.dataframe.DataFrame, dask.array.Array, pandas.DataFrame, sparse matrix or array-like
            Rows that stand for what is usual, of training for example. It is read at once, a Dask collection in one pass.
        offset, background_offset : str, int, aligned collection or None
            Offsets of either table as in `predict`, of a model that was trained with offsets. What they contribute has a column
            of their name.
        output : str
            "margin", XGBoost's word for what the last layer makes, in which contributions add up by nature: of two classes the
            logarithm of the odds, of several the logarithm of the probability less its mean over the classes, of a log link
            the logarithm of the number. Or "response", the word of linear models for what `predict_proba` and `predict` give.
        label : object, optional
            Class whose answer is explained; by default the second of two, and all of several.
        per_input : bool
            Whether each input of the network (`encoder_.input_names`) has a column, instead of each column of the table.
        n_background : int or None
            Background rows that count, random ones where the table has more, the same ones every time; None: all of them.
            The work is proportional to it.

        Returns
        -------
        dask.dataframe.DataFrame, pandas.DataFrame, dask.array.Array or ndarray
            float64, n rows: a column for each of the training table, in its order, then `BiasTerm`. Of several classes frames
            have these for one class after the other, named `class.column`, and arrays are (n, columns, classes), as
            SHAP's are. A frame where `X` is one, with its index; lazy for Dask, with its divisions or chunks.

        Raises
        ------
        ParameterError, SchemaError
            When an argument is wrong, or a table does not fit the model.

        Examples
        --------
        >>> import numpy as np
        >>> import pandas as pd
        >>> from dask_dl import DeepLearningRegressor
        >>> table = pd.DataFrame({"a": np.arange(50.0), "b": np.arange(50.0) % 7})
        >>> model = DeepLearningRegressor(hidden=(8,), epochs=2, random_state=1).fit(table, 2 * table["a"])
        >>> found = model.contributions(table.head(3), background=table)
        >>> list(found.columns)
        ['a', 'b', 'BiasTerm']
        >>> bool(np.allclose(found.sum(axis=1), model.predict(table.head(3)), atol=1e-3))
        True
        """
        from dask_dl.explain.contributions import Contributions
        from dask_dl.predict import predict_rows

        check_table(X)
        explained = self._explained(
            background, background_offset, output=output, label=label, per_input=per_input, n=n_background
        )
        called = type(self).__name__
        return predict_rows(
            self._fitted, X, offset, Contributions.each, called, self._threads, predictor=explained, frames=True
        )

    def shap_explanation(
        self,
        X: Any,
        background: Any,
        *,
        offset: Any = None,
        background_offset: Any = None,
        output: str = "margin",
        label: Any = None,
        per_input: bool = False,
        n_background: int | None = 100,
    ) -> Any:
        """`contributions` as a `shap.Explanation`, of which the package shap draws its pictures.

        Parameters
        ----------
        X : dask.dataframe.DataFrame, dask.array.Array, pandas.DataFrame, sparse matrix or array-like
            As in `contributions`; a Dask collection is computed.
        background, offset, background_offset, output, label, per_input, n_background : object
            As in `contributions`.

        Returns
        -------
        shap.Explanation
            With `values`, `base_values`, `data` (the columns, or the network's inputs), and names: what `shap.plots.beeswarm`,
            `bar` and `waterfall` take. Of several classes choose one of the last axis, or give `label`.

        Raises
        ------
        ParameterError, SchemaError
            As in `contributions`, and when shap is not installed.

        Examples
        --------
        With the package shap, `pip install "dask_dl[shap]"`::

            explanation = model.shap_explanation(table.head(100), background=table)
            shap.plots.beeswarm(explanation)
            shap.plots.waterfall(explanation[0])
        """
        from dask_dl.explain.contributions import Contributions
        from dask_dl.explain.inputs import InputValues, table_values
        from dask_dl.predict import predict_rows
        from dask_dl.show.shap_explanation import shap_explanation

        check_table(X)
        explained = self._explained(
            background, background_offset, output=output, label=label, per_input=per_input, n=n_background
        )
        X, offset = (each.compute() if hasattr(each, "dask") else each for each in (X, offset))
        model, called = self._fitted, type(self).__name__
        found = predict_rows(model, X, offset, Contributions.each, called, self._threads, predictor=explained)
        data: Any = table_values(model, X, explained.names)
        if per_input:
            inputs = InputValues.of(model.predictor)
            data = predict_rows(model, X, offset, InputValues.each, called, self._threads, predictor=inputs)
        return shap_explanation(found, data, explained.names, explained.space.labels)

    def plot_contributions(
        self,
        X: Any,
        background: Any,
        *,
        offset: Any = None,
        background_offset: Any = None,
        output: str = "margin",
        label: Any = None,
        n_background: int | None = 100,
        ax: Any = None,
    ) -> Any:
        """Draw `contributions`: of one row as bars that lead from the background to its answer; of several their mean sizes.

        Parameters
        ----------
        X : dask.dataframe.DataFrame, dask.array.Array, pandas.DataFrame, sparse matrix or array-like
            A row, `table.iloc[[0]]`, or several, of which 1,000 random ones are drawn at most.
        background, offset, background_offset, output, label, n_background : object
            As in `contributions`. Of one row and several classes that of the largest answer is drawn by default.
        ax : matplotlib.axes.Axes, optional
            Axes to draw on; by default those of a new figure.

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        ParameterError, SchemaError
            As in `contributions`, and when `X` has no rows.
        """
        from dask_dl.answer_sample import sample_answers
        from dask_dl.explain.contributions import Contributions
        from dask_dl.explain.inputs import table_values
        from dask_dl.predict import predict_rows
        from dask_dl.show.contribution_plots import plot_means, plot_row

        check_table(X)
        explained = self._explained(
            background, background_offset, output=output, label=label, per_input=False, n=n_background
        )
        model, called, space = self._fitted, type(self).__name__, explained.space
        if hasattr(X, "dask") or np.shape(X)[0] != 1:
            sample = sample_answers(model, X, None, explained, Contributions.each, MAX_ROWS, called, offset=offset)
            means = abs(sample.answers[:, :-1]).mean(axis=(0, *range(2, sample.answers.ndim)))
            return plot_means(means, explained.names, space.title(), sample.title, ax)
        found = predict_rows(model, X, offset, Contributions.each, called, self._threads, predictor=explained)
        found = found[0].reshape(len(explained.names) + 1, -1)
        k = int(found.sum(axis=0).argmax())
        values = table_values(model, X, explained.names).iloc[0]
        labels = [f"{name} = {_shown(value)}" for name, value in zip(explained.names, values, strict=True)]
        return plot_row(found[:-1, k], found[-1, k], labels, space.title(k), ax=ax)

    def _explained(
        self, background: Any, offset: Any, *, output: str, label: Any, per_input: bool, n: int | None
    ) -> Contributions:
        """Contributions beside a background table."""
        from dask_dl.explain.contributions import Contributions

        check_table(background)
        return Contributions.beside(
            self._fitted, background, offset=offset, n=n, output=output, label=label, per_input=per_input,
            called=type(self).__name__,
        )  # fmt: skip


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, (float, np.floating)) else str(value)
