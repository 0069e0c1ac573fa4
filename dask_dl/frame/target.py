"""Target of a network: labels and their numbers, or a number and the units in which the network learns it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from dask_dl.distribution import MAX

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from dask_dl.frame.scan import Scan


@dataclass(frozen=True)
class Target:
    """Labels (classification), or location and scale of a number (regression): algorithm.md#targets."""

    classes: tuple[Any, ...] = ()  #: sorted; empty for a number
    shift: float = 0.0  #: mean of training, when the response is standardised
    factor: float = 1.0  #: 1 / standard deviation of training
    is_standardized: bool = False
    link: str = "identity"  #: `log`: the network's output is the logarithm of the number
    correction: tuple[float, ...] = ()  #: of probabilities, where classes were balanced: a factor for each class

    @classmethod
    def fit(cls, found: Scan, *, task: str, standardize: bool, link: str = "identity") -> Target:
        """Target of a scanned table.

        Parameters
        ----------
        found : Scan
            Result of the scan.
        task : str
            "classification" or "regression".
        standardize : bool
            Whether numbers are learned less their mean, in units of their standard deviation.
        link : str
            "identity" or "log"; a log link learns numbers as they are.
        """
        if task == "classification":
            return cls(tuple(sorted_labels(found.classes)))
        if not standardize or link == "log":
            return cls(link=link)
        return cls((), found.target.mean, 1 / (found.target.deviation or 1.0), is_standardized=True)

    @cached_property
    def labels(self) -> NDArray[Any]:
        """The classes as an array: numbers and booleans by their type, texts as objects."""
        texts = any(isinstance(label, str) for label in self.classes)
        return np.array(self.classes, dtype=object if texts else None)

    def encode(self, labels: pd.Series[Any] | None, numbers: NDArray[np.float64] | None) -> NDArray[np.float64]:
        """Class index, NaN where never seen, or standardised number of every row."""
        if labels is None:
            assert numbers is not None
            return (numbers - self.shift) * self.factor
        codes = pd.Index(self.classes, dtype=object).get_indexer(pd.Index(labels.astype(object)))
        return np.where(codes < 0, np.nan, codes.astype(np.float64))

    def decode(self, outputs: NDArray[np.floating]) -> NDArray[np.float64]:
        """Numbers, in the unit of the target, from the network's outputs."""
        if self.link == "log":
            with np.errstate(over="ignore"):
                return np.minimum(np.exp(outputs.astype(np.float64)), MAX)
        return self.raw(outputs)

    def probabilities(self, outputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """The network's outputs, with probabilities for classes as they are (algorithm.md#corrected-probabilities)."""
        if not self.correction:
            return outputs
        corrected: NDArray[np.float32] = outputs * np.array(self.correction, np.float32)
        corrected /= corrected.sum(axis=1, keepdims=True)
        return corrected

    def raw(self, targets: NDArray[np.floating]) -> NDArray[np.float64]:
        """Encoded targets in their unit: `encode` undone."""
        return targets.astype(np.float64) / self.factor + self.shift

    def sum_of(self, constant: float, *, has_offset: bool) -> float:
        """Output of the network that predicts a constant, or a constant above the offset.

        The constant is a logarithm where the link is one, else in the target's unit. An offset holds the target's mean.
        """
        return (constant if has_offset else constant - self.shift) * self.factor

    def offsets(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Offsets in the units of the output's pre-activation: algorithm.md#offsets."""
        return (values - self.shift) * self.factor

    def to_json(self) -> dict[str, Any]:
        """Target as lists and dicts."""
        kinds = sorted({type(label).__name__ for label in self.classes})
        return {
            "classes": list(self.classes),
            "types": kinds,
            "shift": self.shift,
            "factor": self.factor,
            "is_standardized": self.is_standardized,
            "link": self.link,
            "correction": list(self.correction),
        }


def sorted_labels(classes: Mapping[Any, int]) -> list[Any]:
    """Labels in order; labels of mixed types by type first."""
    try:
        return sorted(classes)
    except TypeError:
        return sorted(classes, key=lambda label: (type(label).__name__, label))
