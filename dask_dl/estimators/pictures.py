"""Pictures that an autoencoder draws of rows of a table, of any kind and size."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dask_dl.errors import ParameterError
from dask_dl.estimators.predicting import Predicting

if TYPE_CHECKING:
    from dask_dl.answer_sample import SampledAnswers
    from dask_dl.predictor import Predictor

#: Rows in a picture: of larger tables they are random ones.
MAX_ROWS = 10_000


class Pictures(Predicting):
    """Methods of an autoencoder that draw rows with matplotlib.

    Of a table of more than 10,000 rows they draw a random sample of that many, the same one every time; tables of Dask are
    read in one pass, and only answers to the sample leave their partitions.
    """

    def plot_anomaly(self, X: Any, quantile: float = 0.99, ax: Any = None) -> Any:
        """Draw `anomaly` of the rows, sorted, with a threshold; returns the matplotlib axes.

        Parameters
        ----------
        X : dask.dataframe.DataFrame, dask.array.Array, pandas.DataFrame, sparse matrix or array-like
            As in `transform`; 10,000 random rows of a larger table.
        quantile : float
            Share of the rows that lie below the threshold.
        ax : matplotlib.axes.Axes, optional
            Axes to draw on; by default those of a new figure.

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        ParameterError, SchemaError
            When `quantile` is no share, or `X` has no rows.
        """
        from dask_dl.predictor import InputErrors
        from dask_dl.show.reconstruction_plots import check_quantile, plot_anomaly

        check_quantile(quantile)
        sample = self._sampled(X, self._input_errors(), InputErrors.means)
        return plot_anomaly(sample.answers, quantile, sample.title, ax)

    def plot_anomaly_by_feature(self, X: Any, ax: Any = None) -> Any:
        """Draw the mean squared error of each input, the 20 largest from the top; returns the matplotlib axes.

        Parameters
        ----------
        X : dask.dataframe.DataFrame, dask.array.Array, pandas.DataFrame, sparse matrix or array-like
            As in `transform`; 10,000 random rows of a larger table. Rows that `anomaly` found say why it did.
        ax : matplotlib.axes.Axes, optional
            Axes to draw on; by default those of a new figure.

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        SchemaError
            When `X` has no rows.
        """
        from dask_dl.predictor import InputErrors
        from dask_dl.show.reconstruction_plots import plot_anomaly_by_feature

        sample = self._sampled(X, self._input_errors(), InputErrors.each)
        return plot_anomaly_by_feature(sample.answers.mean(axis=0), self.encoder_.input_names, sample.title, ax)

    def plot_codes(self, X: Any, color: Any = None, layer: int | str | None = None, ax: Any = None) -> Any:
        """Draw the codes of rows in two dimensions; returns the matplotlib axes.

        The dimensions are the units of the layer; of more than two, their first two principal components; of one, its code
        and the share of the rows with a smaller one.

        Parameters
        ----------
        X : dask.dataframe.DataFrame, dask.array.Array, pandas.DataFrame, sparse matrix or array-like
            As in `transform`; 10,000 random rows of a larger table.
        color : str, int, or aligned collection of n values, optional
            What the rows are colored by: the name of a column of `X`, learned or not, or values beside it, as `y` of a
            classifier's `fit`. Numbers get a scale, the 18 most frequent levels a color each.
        layer : int or str, optional
            As in `transform`.
        ax : matplotlib.axes.Axes, optional
            Axes to draw on; by default those of a new figure.

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        ParameterError, SchemaError
            When there is no such layer or column, or `X` has no rows.
        """
        from dask_dl.predictor import Predictor
        from dask_dl.show.reconstruction_plots import plot_codes

        names = [str(name) for name in getattr(X, "columns", ())]
        if isinstance(color, str) and color not in names:
            raise ParameterError(f"color={color!r} is no column of the table; there are {names[:30] or 'no names'}.")
        middle = len(self._fitted.network.topology.hidden) // 2
        predictor = replace(self._fitted.predictor, layer=self._layer_of(middle if layer is None else layer))
        sample = self._sampled(X, predictor, Predictor.activations, color)
        return plot_codes(sample.answers, predictor.column_names, sample.column, sample.title, ax)

    def _input_errors(self) -> Predictor:
        from dask_dl.predictor import InputErrors

        whole = self._fitted.predictor
        return InputErrors(whole.encoder, whole.head, whole.topology, whole.flat)

    def _sampled(self, X: Any, predictor: Predictor, answer: Any, column: Any = None) -> SampledAnswers:
        from dask_dl.answer_sample import sample_answers

        return sample_answers(self._fitted, X, column, predictor, answer, MAX_ROWS, type(self).__name__)
