"""Estimators for classes and for numbers, over pandas, NumPy and Dask."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Self

from sklearn.base import ClassifierMixin, RegressorMixin

from dask_dl.estimators.base import DeepLearning
from dask_dl.estimators.explaining import Explaining
from dask_dl.estimators.measuring import check_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from dask_dl.explain.residuals import SampledResiduals
    from dask_dl.parameters import Task


class DeepLearningClassifier(ClassifierMixin, Explaining, DeepLearning):  # type: ignore[misc]  # scikit-learn has no types
    """Multi-layer perceptron for classes, with H2O Deep Learning's parameters and numbers.

    {parameters}

    Attributes
    ----------
    classes_ : ndarray
        Labels, sorted, in their original type.
    history_, metrics_, confusion_matrix_, coefs_, intercepts_, n_iter_, parameters_, encoder_
        See the properties.
    n_features_in_, feature_names_in_
        As in scikit-learn.
    """

    _task: Task = "classification"

    def _set_names(self, *, has_names: bool) -> None:
        super()._set_names(has_names=has_names)
        self.classes_ = self.model_.head.labels.copy()

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Any:
        """Train one pass over a table, from where the last call or `fit` ended; scikit-learn's meaning.

        Parameters
        ----------
        X : dask.dataframe.DataFrame, dask.array.Array, pandas.DataFrame, sparse matrix or array-like of shape (n, p)
            As in `fit`. The first call decides by its rows how columns become inputs: give it many, and all levels.
        y : str, int, or aligned collection of n values
            As in `fit`.
        classes : array-like, optional
            All labels that there are, on the first call; None: those of its rows. Later calls need none.
        sample_weight : str, int or aligned collection, optional
            As in `fit`.

        Returns
        -------
        self

        Raises
        ------
        ParameterError, SchemaError
            As `fit` would raise them, and when there is a class that was not on the first call.

        Notes
        -----
        The last network is the model. Nothing but the end of its rows ends a call: stopping parameters, `epochs` and
        `overwrite_with_best_model` have no effect, and no checkpoints are written.
        """
        return self._partial_fit(X, y, sample_weight, classes=classes)

    def predict(self, X: Any, *, offset: Any = None, threshold: float | str | None = None) -> Any:
        """Class of every row in its original type: the most probable one, or as a threshold says.

        Parameters
        ----------
        X : dask.dataframe.DataFrame, dask.array.Array, pandas.DataFrame, sparse matrix or array-like
            Columns of training, in any order; others are ignored, missing ones are taken as missing values (warned).
        offset : None
            Classifiers have no offsets.
        threshold : float or str, optional
            Of two classes: probability of the second, `classes_[1]`, from which on it is predicted; or "max_f1" (or "max_f2",
            "max_accuracy", "max_absolute_mcc", ...): where F1 was largest at the last scoring, of the validation table if
            there was one. By default that of `set_threshold`, or else the most probable class is predicted.

        Returns
        -------
        dask.dataframe.Series, dask.array.Array or ndarray
            Lazy for Dask: with index, divisions and dtype for a DataFrame, with the chunks of its rows for an Array.

        Raises
        ------
        ParameterError
            When there are other than two classes, or no such threshold.
        """
        from dask_dl.predictor import Predictor

        model = self._fitted if threshold is None else self._fitted.at_threshold(threshold)
        return self._predict(X, offset, Predictor.predicted, model)

    def set_threshold(self, threshold: float | str | None) -> Self:
        """Choose from which probability on the second of two classes is predicted; `save` and exports keep it.

        Parameters
        ----------
        threshold : float, str or None
            As of `predict`; None: the more probable class is predicted, as after `fit`.

        Returns
        -------
        self

        Raises
        ------
        ParameterError
            When there are other than two classes, or no such threshold.
        """
        self.model_ = self._fitted.at_threshold(threshold)
        return self

    @property
    def threshold_(self) -> float | None:
        """Probability of the second of two classes from which on it is predicted, or None, where the most probable one is."""
        threshold: float | None = getattr(self._fitted.head, "threshold", None)
        return threshold

    @property
    def confusion_matrix_(self) -> pd.DataFrame | None:
        """Rows by class (down) and prediction (across) at the last scoring, in the order of `classes_`.

        Of the validation table if there was an eval_set, else of the scored training rows: the name of the frame's index
        says which, "actual (validation)" or "actual (training)".

        Returns
        -------
        pandas.DataFrame or None
            (K, K) numbers of rows; where rows have weights their sums, in units of the mean weight in training. None for more
            than 50 classes.
        """
        return self._fitted.confusion_matrix()

    def predict_proba(self, X: Any) -> Any:
        """Probability of every class: float32, one column per class, in the order of `classes_`.

        Returns
        -------
        dask.dataframe.DataFrame, dask.array.Array or ndarray of shape (n, K)
            The frame's columns are named by the classes.
        """
        from dask_dl.predictor import Predictor

        answers = self._predict(X, None, Predictor.probabilities)
        # Scorers of scikit-learn index what they are given as an array, which a lazy frame is not. The answers are gathered
        # for them; `evaluate` measures such tables where they lie.
        is_scored = sys._getframe(1).f_globals.get("__name__") == "sklearn.utils._response"  # noqa: SLF001
        return answers.compute().to_numpy() if is_scored and hasattr(answers, "columns") else answers

    def predict_log_proba(self, X: Any) -> Any:
        """Natural logarithm of `predict_proba`, in the same form; minus infinity where a probability is 0.

        Returns
        -------
        dask.dataframe.DataFrame, dask.array.Array or ndarray of shape (n, K)
            float32; the frame's columns are named by the classes.
        """
        from dask_dl.predictor import Predictor

        return self._predict(X, None, Predictor.log_probabilities)

    def score(self, X: Any, y: Any, sample_weight: Any = None, offset: Any = None) -> float:
        """Accuracy of `predict`. Rows without a label do not count; labels never seen in training count as wrong (warned).

        Parameters
        ----------
        X : dask.dataframe.DataFrame, dask.array.Array, pandas.DataFrame, sparse matrix or array-like
            As in `predict`.
        y : str, int, or aligned collection of n values
            Labels, of any type that `fit` takes.
        sample_weight : str, int or aligned collection, optional
            0 or more; rows of weight 0 do not count.
        offset : None
            Classifiers have no offsets.

        Returns
        -------
        float
            0 to 1.

        Raises
        ------
        ParameterError, SchemaError
            What `fit` would say of such values, and when no row has a known label.
        """
        from sklearn.metrics import accuracy_score

        return float(accuracy_score(**self._scored_rows(X, y, sample_weight, offset)._asdict()))


class DeepLearningRegressor(RegressorMixin, Explaining, DeepLearning):  # type: ignore[misc]  # scikit-learn has no types
    """Multi-layer perceptron for a number, with H2O Deep Learning's parameters and numbers.

    {parameters}

    Attributes
    ----------
    history_, metrics_, coefs_, intercepts_, n_iter_, parameters_, encoder_
        See the properties.
    n_features_in_, feature_names_in_
        As in scikit-learn.
    """

    _task: Task = "regression"

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, *, offset: Any = None) -> Any:
        """Train one pass over a table, from where the last call or `fit` ended; scikit-learn's meaning.

        Parameters
        ----------
        X : dask.dataframe.DataFrame, dask.array.Array, pandas.DataFrame, sparse matrix or array-like of shape (n, p)
            As in `fit`. The first call decides by its rows how columns become inputs, and the scale of the target.
        y : str, int, or aligned collection of n values
            As in `fit`.
        sample_weight, offset : str, int or aligned collection, optional
            As in `fit`.

        Returns
        -------
        self

        Raises
        ------
        ParameterError, SchemaError
            As `fit` would raise them.

        Notes
        -----
        The last network is the model. Nothing but the end of its rows ends a call: stopping parameters, `epochs` and
        `overwrite_with_best_model` have no effect, and no checkpoints are written.
        """
        return self._partial_fit(X, y, sample_weight, offset)

    def predict(self, X: Any, *, offset: Any = None, threshold: Any = None) -> Any:
        """Predicted target of every row, float64, in the unit of the training target.

        Parameters
        ----------
        X : dask.dataframe.DataFrame, dask.array.Array, pandas.DataFrame, sparse matrix or array-like
            Columns of training, in any order; others are ignored, missing ones are taken as missing values (warned).
        offset : str, int, aligned collection or None
            Needed when the model was trained with offsets; None takes the column of that name.
        threshold : None
            Numbers have none.

        Returns
        -------
        dask.dataframe.Series, dask.array.Array or ndarray
            Lazy for Dask: with index, divisions and dtype for a DataFrame, with the chunks of its rows for an Array.

        Raises
        ------
        ParameterError
            When a threshold is given.
        """
        from dask_dl.predictor import Predictor

        model = self._fitted if threshold is None else self._fitted.at_threshold(threshold)
        return self._predict(X, offset, Predictor.predicted, model)

    def score(self, X: Any, y: Any, sample_weight: Any = None, offset: Any = None) -> float:
        """Coefficient of determination (R2) of `predict`. Rows without a target do not count.

        Parameters
        ----------
        X : dask.dataframe.DataFrame, dask.array.Array, pandas.DataFrame, sparse matrix or array-like
            As in `predict`.
        y : str, int, or aligned collection of n values
            Targets, of any type that `fit` takes.
        sample_weight : str, int or aligned collection, optional
            0 or more; rows of weight 0 do not count.
        offset : str, int, aligned collection or None
            As in `predict`.

        Returns
        -------
        float
            1 at most.

        Raises
        ------
        ParameterError, SchemaError
            What `fit` would say of such values, and when no row has a known target.
        """
        from sklearn.metrics import r2_score

        return float(r2_score(**self._scored_rows(X, y, sample_weight, offset)._asdict()))

    def residuals(
        self,
        X: Any,
        y: Any = None,
        *,
        columns: Sequence[Any] = (),
        sample_weight: Any = None,
        offset: Any = None,
        n: int = 10_000,
    ) -> pd.DataFrame:
        """Residuals of random rows of a table, beside columns of it; read in one pass, of Dask where the rows lie.

        Parameters
        ----------
        X : dask.dataframe.DataFrame, dask.array.Array, pandas.DataFrame, sparse matrix or array-like
            As in `predict`.
        y : str, int, or aligned collection of n values, optional
            The target; by default the column of that name in training.
        columns : sequence of (str or int)
            Columns of `X` to put beside the residuals, learned or not.
        sample_weight : str, int or aligned collection, optional
            0 or more; rows of weight 0 are left out.
        offset : str, int, aligned collection or None
            As in `predict`.
        n : int
            Rows of the sample at most, the same ones every time.

        Returns
        -------
        pandas.DataFrame
            `actual`, `predicted`, `residual` (actual less predicted), `weight` where rows have some, and the columns; with the
            index of the table. Rows without a target are left out.

        Raises
        ------
        ParameterError, SchemaError
            When there is no such column, or no row has a known target.
        """
        found: pd.DataFrame = self._residuals(X, y, columns, sample_weight, offset, n).rows
        return found

    def plot_residuals(
        self,
        X: Any,
        y: Any = None,
        *,
        against: Any = None,
        sample_weight: Any = None,
        offset: Any = None,
        ax: Any = None,
    ) -> Any:
        """Draw `residuals` against the prediction or a column, with their mean and deviation in bins; returns the axes.

        Parameters
        ----------
        X : dask.dataframe.DataFrame, dask.array.Array, pandas.DataFrame, sparse matrix or array-like
            As in `predict`; 10,000 random rows of a larger table.
        y : str, int, or aligned collection of n values, optional
            As in `residuals`.
        against : str or int, optional
            Column of `X`, learned or not; by default the prediction. Numbers are cut into bins of equal weight, the 20 most
            frequent levels stand side by side.
        sample_weight, offset : str, int, aligned collection or None
            As in `residuals`.
        ax : matplotlib.axes.Axes, optional
            Axes to draw on; by default those of a new figure.

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        ParameterError, SchemaError
            As `residuals`.
        """
        from dask_dl.show.residual_plots import plot_residuals

        found = self._residuals(X, y, [] if against is None else [against], sample_weight, offset, 10_000)
        return plot_residuals(found.rows, "predicted" if against is None else found.rows.columns[-1], found.title, ax)

    def _residuals(self, X: Any, y: Any, columns: Sequence[Any], weight: Any, offset: Any, n: int) -> SampledResiduals:
        from dask_dl.explain.residuals import sample_residuals

        check_table(X)
        columns = [columns] if isinstance(columns, (str, int)) else list(columns)
        return sample_residuals(self._fitted, X, y, columns, weight, offset, n, type(self).__name__, self._threads)
