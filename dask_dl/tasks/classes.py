"""Head of a classification: labels, their numbers, and probabilities."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from dask_dl.errors import SchemaError
from dask_dl.frame.target import sorted_labels
from dask_dl.kernels.losses import KINDS, Objective
from dask_dl.metrics.measurement import measure_classes
from dask_dl.metrics.stopping import Enough
from dask_dl.metrics.thresholds import check_threshold
from dask_dl.tasks.head import NOTHING, Head, Output

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from dask_dl.distribution import Distribution
    from dask_dl.frame.encoder import Encoder
    from dask_dl.frame.row_roles import RowRoles, TargetKind
    from dask_dl.frame.scan import Scan
    from dask_dl.kernels.layout import Topology
    from dask_dl.metrics.measurement import Measurement, MetricSettings
    from dask_dl.state import Rows

#: A target may have as many classes (algorithm.md#limits): as many as H2O allows a factor to have.
MAX_TARGET_CLASSES = 2**20


@dataclass(frozen=True)
class Classes(Head):
    """Labels of a target; a row's target is the index of its own. See `Head`."""

    task: ClassVar[str] = "classification"
    target_kind: ClassVar[TargetKind] = "labels"
    outputs: ClassVar[tuple[Output, ...]] = ("softmax",)
    enough: ClassVar[Enough | None] = Enough(
        "classification_stop", "misclassification", lambda error: error, "{:.3g} of the training rows are misclassified"
    )

    classes: tuple[Any, ...] = ()  #: sorted
    correction: tuple[float, ...] = ()  #: of probabilities, where classes were balanced: a factor for each class
    #: probability of the second of two classes from which on it is predicted; None: the more probable one is
    threshold: float | None = None

    @property
    def kind(self) -> str:
        """Two classes, or more."""
        return "binomial" if len(self.classes) == 2 else "multinomial"

    @classmethod
    def check(cls, found: Scan, name: str) -> None:
        """Refuse a single class, too many, and labels that are none. Raises SchemaError."""
        if len(found.classes) < 2:
            raise SchemaError(f"{name} has one class only, {next(iter(found.classes))!r}. Two or more are needed.")
        check_label_types(found.classes, name)
        if len(found.classes) > MAX_TARGET_CLASSES:
            raise SchemaError(
                f"{name} has {len(found.classes):,} classes, more than {MAX_TARGET_CLASSES:,}. Is it a number?"
            )

    @classmethod
    def fit(cls, found: Scan, *, standardize: bool, link: str) -> Classes:
        """Head with the labels of a scanned table. See `Head.fit`."""
        return cls(tuple(sorted_labels(found.classes)))

    def corrected(self, correction: Sequence[float]) -> Classes:
        """Head whose probabilities are multiplied by a factor for each class."""
        return replace(self, correction=tuple(correction))

    def with_threshold(self, threshold: float | None) -> Classes:
        """Head that predicts the second of two classes from a probability on. See `Head.with_threshold`."""
        if len(self.classes) != 2:
            super().with_threshold(threshold)
        return replace(self, threshold=None if threshold is None else check_threshold(threshold))

    def n_outputs(self, encoder: Encoder) -> int:
        """One unit for each class."""
        return len(self.classes)

    def objective(self, loss: str, distribution: Distribution) -> Objective:
        """Loss of the kernels."""
        return Objective(KINDS[loss], distribution.shape)

    @cached_property
    def labels(self) -> NDArray[Any]:
        """The classes as an array: numbers and booleans by their type, texts as objects."""
        texts = any(isinstance(label, str) for label in self.classes)
        return np.array(self.classes, dtype=object if texts else None)

    def encode(self, roles: RowRoles) -> NDArray[np.float64]:
        """Index of the class of every row, NaN where it was never seen."""
        assert roles.labels is not None, "a head of classes reads labels"
        codes = pd.Index(self.classes, dtype=object).get_indexer(pd.Index(roles.labels.astype(object)))
        return np.where(codes < 0, np.nan, codes.astype(np.float64))

    def has_unseen(self, labels: Mapping[Any, int]) -> bool:
        """Whether any of these labels was never seen in training."""
        return not set(labels).issubset(self.classes)

    @property
    def has_text_labels(self) -> bool:
        """Whether the labels are strings."""
        return isinstance(next(iter(self.classes), None), str)

    def answers(self, outputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities, (n, K) float32, for classes as they are (algorithm.md#corrected-probabilities)."""
        if not self.correction:
            return outputs
        corrected: NDArray[np.float32] = outputs * np.array(self.correction, np.float32)
        corrected /= corrected.sum(axis=1, keepdims=True)
        return corrected

    def predicted(self, answers: NDArray[np.float32]) -> NDArray[Any]:
        """Class of every row in its original type: see `scored_as`."""
        labels: NDArray[Any] = self.labels[self.scored_as(answers)]
        return labels

    def table(
        self, answers: NDArray[np.float32], index: pd.Index[Any], kept: Mapping[str, Any], encoder: Encoder
    ) -> pd.DataFrame:
        """Table of kept columns, `predict`, and one probability for each class; every name once.

        See `Head.table`.
        """
        columns = {
            **kept,
            "predict": pd.Series(self.predicted(answers), index=index, dtype=pd.Index(self.labels).dtype),
        }
        for label, values in zip(self.classes, answers.T, strict=True):
            # H2O puts a p before what reads as a whole number; here also before a name that is taken.
            name = f"p{label}" if str(label).lstrip("-").isdecimal() else str(label)
            while name in columns:
                name = f"p{name}"
            columns[name] = values
        return pd.DataFrame(columns, index=index)

    def answers_in(self, table: pd.DataFrame) -> NDArray[Any]:
        """The probabilities, which are the last columns of a table by `table`."""
        return table.iloc[:, -len(self.classes) :].to_numpy()

    def truth(self, rows: Rows, topology: Topology) -> NDArray[np.int64]:
        """Index of the class of every row, (n,) int64."""
        return rows.target.astype(np.int64)

    def measure(
        self,
        truth: NDArray[np.int64],
        answers: NDArray[np.float32],
        weights: NDArray[np.floating] | None,
        settings: MetricSettings,
    ) -> Measurement:
        """Measurement of probabilities.

        See `Head.measure`.
        """
        found = measure_classes(truth, answers, weights, settings)
        return found.with_custom(settings.custom, self.labels[truth], answers, weights) if settings.custom else found

    def check_scored(self, found: Mapping[Any, int], where: str) -> dict[Any, int]:
        """Labels, and their rows, that training never saw. Raises SchemaError where they are of another type."""
        check_label_types(found, where)
        known = set(self.classes)
        unseen = {label: n for label, n in found.items() if label not in known}
        if unseen and not any(isinstance(label, str) == isinstance(self.classes[0], str) for label in unseen):
            shown, kind = ", ".join(map(repr, list(unseen)[:5])), type(next(iter(unseen))).__name__
            raise SchemaError(
                f"{where} has labels of type {kind}, for example {shown}, and the model learned labels of type "
                f"{type(self.classes[0]).__name__}, for example {self.classes[0]!r}. Convert them to the type of `classes_`."
            )
        return unseen

    def scored_truth(self, roles: RowRoles) -> NDArray[np.intp]:
        """Index of the class of every row, -1 where it was never seen."""
        return np.nan_to_num(self.encode(roles), nan=-1).astype(np.intp)

    def is_known(self, truth: NDArray[Any]) -> NDArray[np.bool_]:
        """Whether training has seen the class of each row."""
        known: NDArray[np.bool_] = truth >= 0
        return known

    def scored_as(self, answers: NDArray[np.float32]) -> NDArray[np.intp]:
        """Index of the most probable class of every row, the first of equals; of two classes as the threshold says."""
        if self.threshold is not None:
            return (answers[:, 1] >= np.float64(self.threshold)).astype(np.intp)
        return answers.argmax(axis=1) if len(answers) else np.zeros(0, np.intp)

    def to_json(self) -> dict[str, Any]:
        """Head as lists and dicts."""
        kinds = sorted({type(label).__name__ for label in self.classes})
        return NOTHING | {
            "classes": list(self.classes),
            "types": kinds,
            "correction": list(self.correction),
            "threshold": self.threshold,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Classes:
        """Head of what `to_json` returned. See `Head.from_json`."""
        return cls(tuple(document["classes"]), tuple(document["correction"]), document["threshold"])


def check_label_types(labels: Mapping[Any, int], name: str) -> None:
    """Whether labels can be classes: raises SchemaError when they cannot."""
    fraction = next((lab for lab in labels if isinstance(lab, float) and not lab.is_integer()), None)
    if fraction is not None:
        raise SchemaError(
            f"{name} is continuous, for example {fraction!r} (Unknown label type: continuous): use "
            f"DeepLearningRegressor, or make it a text or category."
        )
    texts = [label for label in labels if isinstance(label, str)]
    if texts and len(texts) < len(labels):
        other = next(label for label in labels if not isinstance(label, str))
        raise SchemaError(
            f"{name} has labels of different types, {texts[0]!r} of type str and {other!r} of type "
            f"{type(other).__name__}. Convert it to one type, in all partitions."
        )
    odd = next((label for label in labels if not isinstance(label, (str, int, float))), None)
    if odd is not None:
        raise SchemaError(
            f"{name} has labels of type {type(odd).__name__}, for example {odd!r}. Make them texts, whole numbers or "
            f"booleans."
        )
