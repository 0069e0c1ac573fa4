"""Metrics of the user's own (algorithm.md#custom-metrics)."""

from __future__ import annotations

import contextlib
import inspect
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

from dask_dl.errors import ParameterError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

#: Bytes of answers that are kept at most for a scorer, which has to see all scored rows together.
MAX_KEPT_BYTES = 2**28


@runtime_checkable
class CustomMetric(Protocol):
    """A metric that parts of a table are measured by, each where it lies."""

    @property
    def greater_is_better(self) -> bool:
        """Direction."""

    def measure(self, y_true: NDArray[Any], y_pred: NDArray[Any], sample_weight: NDArray[Any] | None, /) -> Any:
        """State of some rows, of a size that should not grow with them.

        Parameters
        ----------
        y_true : (n,) ndarray
            Labels in their original type, or numbers.
        y_pred : ndarray
            (n, K) probabilities of the classes, sorted, or (n,) predicted numbers.
        sample_weight : (n,) ndarray or None
            Weights of the rows; None: all 1.

        Returns
        -------
        object
            Anything that can be pickled.
        """

    def merge(self, state: Any, other: Any, /) -> Any:
        """State of both sets of rows together."""

    def value(self, state: Any, /) -> float:
        """Value of the metric."""


class CustomValue(NamedTuple):
    """Rows that a user's metric has measured."""

    metric: CustomMetric
    state: Any

    @classmethod
    def of(
        cls, metric: CustomMetric, truth: NDArray[Any], answers: NDArray[Any], weights: NDArray[np.floating] | None
    ) -> CustomValue:
        """Rows, measured by a metric.

        Parameters
        ----------
        metric : CustomMetric
        truth, answers, weights : object
            See `CustomMetric.measure`.

        Returns
        -------
        CustomValue

        Raises
        ------
        ParameterError
            When the metric fails, from its error.
        """
        with _blamed(metric, "measure"):
            return cls(metric, metric.measure(truth, answers, weights))

    def merge(self, other: CustomValue) -> CustomValue:
        """Both sets of rows together."""
        with _blamed(self.metric, "merge"):
            return self._replace(state=self.metric.merge(self.state, other.state))

    @property
    def value(self) -> float:
        """Value of the metric."""
        with _blamed(self.metric, "value"):
            return float(self.metric.value(self.state))


@contextlib.contextmanager
def _blamed(metric: CustomMetric, method: str) -> Iterator[None]:
    """Name the metric whose method fails in the body: raises ParameterError from the error, whose text a worker keeps."""
    try:
        yield
    except (ParameterError, MemoryError):
        raise
    except Exception as error:
        found = f"{type(error).__name__}: {error}"
        if isinstance(metric, ScorerMetric):
            name = getattr(metric.scorer, "__qualname__", None) or repr(metric.scorer)
            raise ParameterError(
                f"custom_metric: the scorer {name} failed with {found}. It is called as scorer(estimator, X, y), where the "
                f"estimator knows the answers to the scored rows, and X has no columns of use; it returns a number."
            ) from error
        raise ParameterError(
            f"custom_metric: {type(metric).__qualname__}.{method} failed with {found}. See `CustomMetric` for what it is "
            f"given, and returns."
        ) from error


def custom_metric(given: Any, classes: NDArray[Any] | None = None) -> CustomMetric | None:
    """Metric of what a user may give: a mergeable one, a scorer, or the name of one of scikit-learn's.

    Parameters
    ----------
    given : CustomMetric, callable, str or None
    classes : (K,) ndarray, optional
        Labels of a classification, sorted.

    Returns
    -------
    CustomMetric or None
        None of None.

    Raises
    ------
    ParameterError
        When it is nothing of the kind, or scikit-learn knows no such scorer.
    """
    if given is None or isinstance(given, CustomMetric):
        return given
    if isinstance(given, str):
        from sklearn.metrics import get_scorer, get_scorer_names

        if given not in get_scorer_names():
            like = get_close_matches(given, get_scorer_names(), 5)
            hint = f"the nearest are {like}" if like else "sklearn.metrics.get_scorer_names() lists them"
            raise ParameterError(f"custom_metric: scikit-learn has no scorer {given!r}; {hint}.")
        return ScorerMetric(get_scorer(given), classes)
    if callable(given):
        return ScorerMetric(given, classes)
    raise ParameterError(
        f"custom_metric is {given!r}: give a scorer, the name of one, or an object with methods measure, merge and value, and "
        f"an attribute greater_is_better."
    )


@dataclass(frozen=True)
class ScorerMetric:
    """A scorer of scikit-learn, `scorer(estimator, X, y, sample_weight=...)`, which sees all scored rows at once.

    The estimator that it is given knows the answers to these rows, so that nothing is predicted again; X has no columns of
    use. A callable without a parameter `sample_weight` is told no weights.
    """

    scorer: Callable[..., float]
    classes: NDArray[Any] | None = None  #: labels of a classification

    @property
    def greater_is_better(self) -> bool:
        """True, as of all scorers."""
        return True

    def measure(self, y_true: Any, y_pred: Any, sample_weight: Any) -> tuple[Any, ...]:
        """Keep the rows. See `CustomMetric.measure`."""
        return y_true, y_pred, sample_weight

    def merge(self, state: tuple[Any, ...], other: tuple[Any, ...]) -> tuple[Any, ...]:
        """Keep the rows of both. Raises ParameterError for more than MAX_KEPT_BYTES of answers."""
        size = state[1].nbytes + other[1].nbytes
        if size > MAX_KEPT_BYTES:
            raise ParameterError(
                f"custom_metric: a scorer sees all scored rows at once, and their answers take {size:,} bytes, more than "
                f"{MAX_KEPT_BYTES:,}. Lower score_training_samples and score_validation_samples, or give an object with "
                f"methods measure, merge and value."
            )
        return tuple(None if a is None else np.concatenate([a, b]) for a, b in zip(state, other, strict=True))

    def value(self, state: tuple[Any, ...]) -> float:
        """Score of the rows."""
        y_true, y_pred, weight = state
        weights = {"sample_weight": weight} if weight is not None and self._takes_weights else {}
        answered = _AnsweredRegressor(y_pred) if self.classes is None else _AnsweredClassifier(y_pred, self.classes)
        return float(self.scorer(answered, np.zeros((len(y_true), 1)), y_true, **weights))

    @property
    def _takes_weights(self) -> bool:
        known = inspect.signature(self.scorer).parameters.values()
        return any(p.name == "sample_weight" or p.kind is p.VAR_KEYWORD for p in known)


class _AnsweredRegressor(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Estimator whose predictions are known."""

    def __init__(self, answers: NDArray[Any]) -> None:
        self.answers = answers

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def predict(self, X: Any) -> NDArray[Any]:  # noqa: ARG002  # scikit-learn's signature
        """The answers."""
        return self.answers


class _AnsweredClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Estimator whose probabilities are known."""

    def __init__(self, answers: NDArray[Any], classes: NDArray[Any]) -> None:
        self.answers = answers
        self.classes_ = classes

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def predict(self, X: Any) -> NDArray[Any]:  # noqa: ARG002  # scikit-learn's signature
        """The most probable classes."""
        found: NDArray[Any] = self.classes_[self.answers.argmax(axis=1)]
        return found

    def predict_proba(self, X: Any) -> NDArray[Any]:  # noqa: ARG002  # scikit-learn's signature
        """The answers."""
        return self.answers
