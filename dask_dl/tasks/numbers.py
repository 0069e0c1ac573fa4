"""Head of a regression: a number, and the units in which the network learns it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from dask_dl.distribution import MAX
from dask_dl.errors import SchemaError
from dask_dl.kernels.losses import KINDS, Objective
from dask_dl.metrics.measurement import measure_numbers
from dask_dl.metrics.stopping import Enough
from dask_dl.tasks.head import NOTHING, Head, Output

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from dask_dl.distribution import Distribution
    from dask_dl.frame.encoder import Encoder
    from dask_dl.frame.row_roles import RowRoles, TargetKind
    from dask_dl.frame.scan import Scan
    from dask_dl.kernels.layout import Topology
    from dask_dl.metrics.measurement import Measurement, MetricSettings
    from dask_dl.state import Rows


@dataclass(frozen=True)
class Numbers(Head):
    """Location and scale of a number. See `Head`."""

    task: ClassVar[str] = "regression"
    target_kind: ClassVar[TargetKind] = "numbers"
    outputs: ClassVar[tuple[Output, ...]] = ("linear",)
    takes_offsets: ClassVar[bool] = True
    starts_at_constant: ClassVar[bool] = True
    #: Relative to the variance of the target, so that it does not depend on its unit (H2O: squared target units).
    enough: ClassVar[Enough | None] = Enough(
        "regression_stop", "r2", lambda r2: 1 - r2, "the squared error is {:.3g} of the target's variance"
    )

    shift: float = 0.0  #: mean of training, when the response is standardised
    factor: float = 1.0  #: 1 / standard deviation of training
    is_standardized: bool = False
    link: str = "identity"  #: `log`: the network's output is the logarithm of the number

    @classmethod
    def check(cls, found: Scan, name: str) -> None:
        """Refuse a constant, and numbers without a mean. Raises SchemaError."""
        if not math.isfinite(found.target.m2):
            raise SchemaError(f"{name} holds values that are too large for a mean. Make them missing or scale them.")
        if found.target.m2 == 0 and found.n_used > 1:
            raise SchemaError(f"{name} is constant ({found.target.mean:g}): there is nothing to learn.")

    @classmethod
    def fit(cls, found: Scan, *, standardize: bool, link: str) -> Numbers:
        """Head with the moments of a scanned target. See `Head.fit`."""
        if not standardize or link == "log":
            return cls(link=link)
        return cls(found.target.mean, 1 / (found.target.deviation or 1.0), is_standardized=True)

    def rescaled(self, mean: float, deviation: float) -> Numbers:
        """Head of some rows whose encoded targets have this mean and deviation. See `Head.rescaled`."""
        if not self.is_standardized:
            return self
        return replace(self, shift=self.shift + mean / self.factor, factor=self.factor / (deviation or 1.0))

    @property
    def numbers(self) -> Numbers:
        """Location and scale."""
        return self

    def n_outputs(self, encoder: Encoder) -> int:
        """One unit."""
        return 1

    def objective(self, loss: str, distribution: Distribution) -> Objective:
        """Loss of the kernels; huber's begins to be linear at 1, in standardised units."""
        return Objective(KINDS[distribution.name], 1.0 if distribution.name == "huber" else distribution.shape)

    def start_of_bias(self, constant: float, *, has_offset: bool) -> float:
        """Bias for which the network predicts a constant, or a constant above the offset. See `Head.start_of_bias`."""
        return (constant if has_offset else constant - self.shift) * self.factor

    def encoded_residual(self, residual: float) -> float:
        """A residual in the target's unit as one of the network's output."""
        return residual * self.factor

    def encode(self, roles: RowRoles) -> NDArray[np.float64]:
        """Standardised number of every row."""
        assert roles.targets is not None, "a head of numbers reads numbers"
        return (roles.targets - self.shift) * self.factor

    def offsets(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Offsets in the units of the output's pre-activation: algorithm.md#offsets."""
        return (values - self.shift) * self.factor

    def answers(self, outputs: NDArray[np.float32]) -> NDArray[np.float64]:
        """Numbers, (n,) float64, in the unit of the target."""
        if self.link == "log":
            with np.errstate(over="ignore"):
                return np.minimum(np.exp(outputs[:, 0].astype(np.float64)), MAX)
        return self._raw(outputs[:, 0])

    def table(
        self, answers: NDArray[np.float64], index: pd.Index[Any], kept: Mapping[str, Any], encoder: Encoder
    ) -> pd.DataFrame:
        """Table of kept columns and `predict`.

        See `Head.table`.
        """
        return pd.DataFrame({**kept, "predict": answers}, index=index)

    def truth(self, rows: Rows, topology: Topology) -> NDArray[np.float64]:
        """Targets of encoded rows in their unit, (n,) float64: `encode` undone."""
        return self._raw(rows.target)

    def _raw(self, encoded: NDArray[np.float32]) -> NDArray[np.float64]:
        return encoded.astype(np.float64) / self.factor + self.shift

    def measure(
        self,
        truth: NDArray[np.float64],
        answers: NDArray[np.float64],
        weights: NDArray[np.floating] | None,
        settings: MetricSettings,
    ) -> Measurement:
        """Measurement of predicted numbers.

        See `Head.measure`.
        """
        found = measure_numbers(truth, answers, weights, settings)
        return found.with_custom(settings.custom, truth, answers, weights) if settings.custom else found

    def scored_truth(self, roles: RowRoles) -> NDArray[np.float64]:
        """Targets of a table, in their unit."""
        assert roles.targets is not None, "a head of numbers reads numbers"
        return roles.targets

    def to_json(self) -> dict[str, Any]:
        """Head as lists and dicts."""
        mine = {"shift": self.shift, "factor": self.factor, "is_standardized": self.is_standardized, "link": self.link}
        return NOTHING | mine

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Numbers:
        """Head of what `to_json` returned. See `Head.from_json`."""
        return cls(document["shift"], document["factor"], document["is_standardized"], document["link"])
