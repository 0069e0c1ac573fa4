"""Evaluation of a model on a table: its figures, the tables behind them, and pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from dask_dl.errors import ParameterError
from dask_dl.metrics.classes import ClassErrors
from dask_dl.metrics.table import METRICS, figures_of
from dask_dl.metrics.thresholds import Curve

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence

    import pandas as pd

    from dask_dl.metrics.measurement import Measurement
    from dask_dl.model import Model


#: Columns of the table of gains that have room on a page.
GAINS = (
    "group", "cumulative_data_fraction", "lower_threshold", "lift", "cumulative_lift", "response_rate",
    "cumulative_capture_rate", "kolmogorov_smirnov",
)  # fmt: skip
_NO_FIGURES: Mapping[str, float] = MappingProxyType({})


class Evaluation(Mapping[str, float]):
    """Figures of a model on the rows of a table: a mapping of the metrics by name, with tables and pictures.

    Parameters
    ----------
    kind : str
        Kind of the problem: a key of `metrics.table.TASK_OF`.
    measured : Measurement or None
        What the rows were measured to; None where only figures are known.
    figures : mapping of str to float
        Figures that are known beside those that follow from `measured`.
    classes : sequence
        Labels of a classification, sorted.
    label : str
        Name of the table, for titles and errors.
    n_rows : int or None
        Rows that were scored; None where it is not known.
    threshold : float or None
        Probability of the second of two classes from which on it is predicted; None: the more probable one is.
    n_groups : int
        Groups of the gains table; -1: automatic.
    """

    def __init__(
        self,
        kind: str,
        measured: Measurement | None,
        figures: Mapping[str, float],
        classes: Sequence[Any] = (),
        *,
        label: str = "the table",
        n_rows: int | None = None,
        threshold: float | None = None,
        n_groups: int = -1,
    ) -> None:
        self.kind, self.classes, self.label, self.n_rows, self.threshold = (
            kind,
            tuple(classes),
            label,
            n_rows,
            threshold,
        )
        self._measured, self._n_groups = measured, n_groups
        known = figures_of(kind)
        values = {} if measured is None else {name: measured.metric(name) for name in known if measured.has(name)}
        if threshold is not None and measured is not None and measured.curve is not None:
            values |= measured.curve.errors(threshold)
        values |= {name: value for name, value in figures.items() if math.isnan(values.get(name, math.nan))}
        self._figures = {
            name: values[name]
            for name, metric in known.items()
            if name in values and (metric.in_history or not math.isnan(values[name]))
        }

    @classmethod
    def of(
        cls, model: Model, measured: Measurement | None, figures: Mapping[str, float] = _NO_FIGURES, **more: Any
    ) -> Self:
        """Evaluation of a model.

        Parameters
        ----------
        model : Model
        measured : Measurement or None
            What the rows were measured to; None where only figures are known.
        figures : mapping of str to float
            Other figures that are known.
        **more : object
            As of the constructor.

        Returns
        -------
        Evaluation
        """
        n_groups, threshold = model.record.n_groups, getattr(model.head, "threshold", None)
        return cls(
            model.head.kind, measured, figures, model.head.classes, n_groups=n_groups, threshold=threshold, **more
        )

    # ---- a mapping --------------------------------------------------------------------------------------------------

    def __getitem__(self, name: str) -> float:
        """Value of a metric; raises KeyError for one that was not measured."""
        return self._figures[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the metrics."""
        return iter(self._figures)

    def __len__(self) -> int:
        """Count the metrics."""
        return len(self._figures)

    def to_pandas(self) -> pd.Series[float]:
        """Figures as a Series, by metric."""
        import pandas as pd

        return pd.Series(self._figures, name=self.label, dtype=float).rename_axis("metric")

    def __repr__(self) -> str:
        """Return the figures in lines."""
        rows = "" if self.n_rows is None else f" of {self.n_rows:,} rows"
        return f"{self.kind} metrics{rows} of {self.label}\n" + "\n".join(f"{n:24}{v:.6g}" for n, v in self.items())

    def _repr_html_(self) -> str:
        return self._html("")

    def report(self, path: str | os.PathLike[str]) -> None:
        """Write one page of HTML, which needs nothing else: figures, tables and pictures.

        Parameters
        ----------
        path : str or path-like
            A local file; one that exists is replaced.
        """
        Path(path).write_text(self._html(f"Evaluation on {self.label}"), encoding="utf-8")

    def tables(self) -> dict[str, pd.DataFrame]:
        """Tables of a page, by their headings: criteria, gains, hit ratios and areas, as far as the problem has them."""
        tables: dict[str, pd.DataFrame] = {}
        if self.has("curve"):
            tables = {"Largest criteria": self.max_criteria(), "Gains and lift": self.gains_lift()[list(GAINS)]}
        if self.has("ranks"):
            tables["Hit ratios"] = self.hit_ratios().to_frame()
        if self.has("class_scores"):
            areas = self.areas()
            rest = areas[areas["second"].isna()].drop(columns="second").rename(columns={"first": "class"})
            tables["Areas of each class against the rest"] = rest.set_index("class")
        return tables

    def _html(self, title: str) -> str:
        """A whole document under `title`, with pictures, or without one a fragment for a notebook."""
        from dask_dl.show.evaluation_page import PICTURES, page

        pictures = {
            heading: (getattr(self, draw), size)
            for heading, draw, needed, size in (PICTURES if title else ())
            if self.has(needed)
        }
        rows = "" if self.n_rows is None else f" of {self.n_rows:,} rows"
        heading = f"{self.kind} metrics{rows} of {self.label}"
        confusion = self.confusion_matrix() if self.has("confusion") else None
        return page(title, heading, self._figures, confusion, self.tables(), pictures)

    # ---- classes ----------------------------------------------------------------------------------------------------

    def confusion_matrix(self, threshold: float | str | None = None) -> pd.DataFrame:
        """Weights of rows by class (down) and prediction (across).

        Parameters
        ----------
        threshold : float, "max_f1" or the name of another criterion after "max_", optional
            Of two classes the probability of the second from which on it is predicted; by default the model's, or the more
            probable class.

        Returns
        -------
        pandas.DataFrame
            (K, K), in the order of the classes.

        Raises
        ------
        ParameterError
            When the problem has no classes, too many of them, or there is no such threshold.
        """
        import pandas as pd

        threshold = self.threshold if threshold is None else threshold
        if threshold is not None:
            counts = self.curve.confusion(self.resolve(threshold))
        else:
            counts = self._part("confusion", "a confusion matrix is kept for 50 classes at most").matrix
        whole = counts.astype(np.int64)
        return pd.DataFrame(
            whole if (whole == counts).all() else counts,
            index=pd.Index(self.classes, name="actual"),
            columns=pd.Index(self.classes, name="predicted"),
        )

    def class_errors(self) -> pd.DataFrame:
        """Weight of the rows of every class, and the share of them for which another class is predicted."""
        import pandas as pd

        errors = self._part("errors", "errors by class are of classifications")
        if self.threshold is not None:
            counts = self.curve.confusion(self.threshold)
            errors = ClassErrors(counts.sum(axis=1), counts.sum(axis=1) - np.diagonal(counts))
        share = np.divide(errors.wrong, errors.weight, out=np.full(len(errors.weight), np.nan), where=errors.weight > 0)
        return pd.DataFrame({"rows": errors.weight, "error": share}, index=pd.Index(self.classes, name="actual"))

    def hit_ratios(self) -> pd.Series[float]:
        """Share of the rows whose class is among the k most probable ones, for k up to 10."""
        import pandas as pd

        ratios = self._part("ranks", "hit ratios are of three classes or more").ratios
        return pd.Series(ratios, index=pd.RangeIndex(1, len(ratios) + 1, name="k"), name="hit_ratio")

    def areas(self) -> pd.DataFrame:
        """Areas under the curves of every class against the rest, and of every pair of classes, a row each.

        Returns
        -------
        pandas.DataFrame
            Columns `first` and `second` (labels; `second` is missing for the rest), `auc`, `aucpr` and `weight`.
        """
        scores = self._part(
            "class_scores", "areas by class are of 3 to 50 classes, where auc_type asks for them, or `evaluate`"
        )
        found: pd.DataFrame = scores.areas()
        names = dict(enumerate(self.classes))
        return found.assign(first=found["first"].map(names), second=found["second"].map(names))

    # ---- two classes ------------------------------------------------------------------------------------------------

    @property
    def curve(self) -> Curve:
        """Curve over all thresholds of the probability of the second class. Raises ParameterError without two classes."""
        found: Curve = self._part("curve", "thresholds are of two classes")
        return found

    def resolve(self, threshold: float | str) -> float:
        """A threshold as a number: "max_f1" is that of the largest F1. Raises ParameterError for what is none."""
        return self.curve.resolve(threshold)

    def thresholds(self) -> pd.DataFrame:
        """Criteria at every threshold, a row each, the highest first: f1, f2, f0point5, accuracy, precision, recall, ..."""
        return self.curve.table()

    def max_criteria(self) -> pd.DataFrame:
        """Largest value of each criterion, with its threshold."""
        return self.curve.largest()

    def at(self, threshold: float | str) -> pd.Series[float]:
        """Criteria where the second class is predicted from a probability of `threshold` on, or "max_f1", "max_f2", ..."""
        import pandas as pd

        value = self.resolve(threshold)
        confusion = self.curve.confusion(value)
        point = Curve(np.array([value]), confusion[1:, 1], confusion[:1, 1])
        whole = Curve(
            *(np.append(a, b) for a, b in zip(point, (0.0, confusion[1].sum(), confusion[0].sum()), strict=True))
        )
        found = {name: float(values[0]) for name, values in whole.criteria().items()}
        return pd.Series({"threshold": value, **found}, name="value")

    def gains_lift(self, n_groups: int | None = None) -> pd.DataFrame:
        """Table of gains, lift and Kolmogorov-Smirnov by groups of rows, the highest probabilities first.

        Parameters
        ----------
        n_groups : int, optional
            Groups of equal size; -1: of 1 % of the rows up to 5 %, then larger; by default the parameter `gainslift_bins`.

        Returns
        -------
        pandas.DataFrame
            A row for each group, with the columns of H2O's table.
        """
        return self.curve.gains_lift(self._n_groups if n_groups is None else n_groups)

    def calibration(self, n_bins: int = 10) -> pd.DataFrame:
        """Mean probability and share of the second class, of bins of rows with about equal weight; `rows` is their weight."""
        found = self.curve.gains_lift(n_bins)
        rows = np.diff(found["cumulative_data_fraction"], prepend=0.0) * (self.curve.n_positive + self.curve.n_negative)
        bins = found[["score", "response_rate"]].set_axis(["predicted", "observed"], axis=1).assign(rows=rows)
        there: pd.DataFrame = bins[bins["rows"] > 0][::-1].reset_index(drop=True)
        return there

    # ---- numbers ----------------------------------------------------------------------------------------------------

    def residuals(self) -> pd.DataFrame:
        """Random rows, 2,000 at most: `actual`, `predicted` and `residual`, which is actual less predicted."""
        import pandas as pd

        sample = self._part("sample", "residuals are of regressions")
        return pd.DataFrame(
            {"actual": sample.truth, "predicted": sample.predicted, "residual": sample.truth - sample.predicted}
        )

    # ---- pictures ---------------------------------------------------------------------------------------------------

    def plot_roc(self, ax: Any = None) -> Any:
        """Draw true against false positives, of two classes or of each of several; returns the matplotlib axes."""
        from dask_dl.show.evaluation_plots import plot_roc

        return plot_roc(self.class_curves(), ax)

    def plot_pr(self, ax: Any = None) -> Any:
        """Draw precision against recall, of two classes or of each of several; returns the matplotlib axes."""
        from dask_dl.show.evaluation_plots import plot_pr

        return plot_pr(self.class_curves(), ax)

    def plot_lift(self, ax: Any = None) -> Any:
        """Draw lift and captured responses by share of the rows; returns the matplotlib axes."""
        from dask_dl.show.evaluation_plots import plot_lift

        return plot_lift(self.gains_lift(), ax)

    def plot_confusion(self, ax: Any = None, threshold: float | str | None = None) -> Any:
        """Draw the confusion matrix, as shares of each class; returns the matplotlib axes."""
        from dask_dl.show.evaluation_plots import plot_confusion

        return plot_confusion(self.confusion_matrix(threshold), ax)

    def plot_thresholds(
        self, ax: Any = None, criteria: Sequence[str] = ("f1", "precision", "recall", "accuracy")
    ) -> Any:
        """Draw criteria against the threshold, the best F1 marked; returns the matplotlib axes."""
        from dask_dl.show.evaluation_plots import plot_thresholds

        marks = {"largest F1": self.resolve("max_f1")}
        if self.threshold is not None:
            marks["of the model"] = self.threshold
        return plot_thresholds(self.thresholds(), criteria, marks, str(self.classes[1]), ax)

    def plot_calibration(self, ax: Any = None, n_bins: int = 10) -> Any:
        """Draw observed against predicted probability; returns the matplotlib axes."""
        from dask_dl.show.evaluation_plots import plot_calibration

        return plot_calibration(self.calibration(n_bins), str(self.classes[1]), ax)

    def plot_residuals(self, ax: Any = None) -> Any:
        """Draw residuals against predictions, of a sample of the rows; returns the matplotlib axes."""
        from dask_dl.show.evaluation_plots import plot_residuals

        return plot_residuals(self.residuals(), ax)

    def class_curves(self) -> dict[str, Curve]:
        """Curves by label: of the second of two classes, or of each of several against the rest."""
        if self.kind == "binomial":
            return {str(self.classes[1]): self.curve}
        scores = self._part(
            "class_scores", "curves are of two classes, or of 3 to 50 where `evaluate` or auc_type asks for them"
        )
        return {
            str(name): Curve.of(s, k)
            for k, (name, s) in enumerate(zip(self.classes, scores.distributions, strict=True))
        }

    def has(self, part: str) -> bool:
        """Whether an accumulator of `Measurement` is there."""
        return self._measured is not None and getattr(self._measured, part) is not None

    def _part(self, name: str, otherwise: str) -> Any:
        found = None if self._measured is None else getattr(self._measured, name)
        if found is None:
            # Early files have figures, and at most a confusion matrix.
            if self._measured is None or "mse" not in self._measured.means.values:
                otherwise = "the file of this model is of an early version, which kept figures only: use `evaluate`"
            raise ParameterError(f"{self.label} ({self.kind}): {otherwise}.")
        return found


class Evaluations(dict[str, Evaluation]):
    """Evaluations by table: "training" and, where there was one, "validation"."""

    @classmethod
    def of(cls, model: Model) -> Evaluations:
        """Evaluations at the last scoring of a training; where the best network was put back, of that one."""
        history, found = model.record.history, cls()
        event = history.events[-1]
        for table in history.tables:
            known = [name for name, metric in figures_of(history.kind).items() if metric.in_history]
            columns = event.metrics.get(table, {})
            figures = {n: event.value(n, table) for n in known if (METRICS[n].column or n) in columns}
            found[table] = Evaluation.of(model, event.measured.get(table), figures, label=f"the {table} table")
        if model.record.folds is not None:
            found["cross_validation"] = Evaluation.of(model, model.record.folds.combined, label="the rows held out")
        return found

    def to_pandas(self) -> pd.DataFrame:
        """Figures: a row for each metric, a column for each table."""
        import pandas as pd

        return pd.DataFrame({table: evaluation.to_pandas() for table, evaluation in self.items()})

    def __repr__(self) -> str:
        """Return the figures as a table."""
        return repr(self.to_pandas())

    def _repr_html_(self) -> str:
        html: str = self.to_pandas().to_html()
        return html
