"""Distributions of a target: their links, the numbers that they allow, their deviances (specification, sections 3.6 and 4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

#: The largest mean that a log link gives.
MOST = 1e19
#: The least mean that a deviance is computed for: it divides by it, and takes its logarithm.
LEAST = np.finfo(np.float64).tiny
#: Distributions of which a mean is the exponential of the network's sum, and the least target that each allows.
LOG_LINKS = {"poisson": 0.0, "tweedie": 0.0, "gamma": 1 / MOST}


@dataclass(frozen=True)
class Distribution:
    """A distribution with its parameter: quantile_alpha, huber_alpha or tweedie_power; 0 for the others."""

    name: str  #: as the parameter `distribution` has it, resolved
    shape: float = 0.0

    @classmethod
    def of(cls, effective: Mapping[str, Any]) -> Distribution:
        """From effective parameters."""
        name = effective["distribution"]
        shapes = {"quantile": "quantile_alpha", "huber": "huber_alpha", "tweedie": "tweedie_power"}
        return cls(name, effective[shapes[name]] if name in shapes else 0.0)

    @property
    def link(self) -> str:
        """`log` or `identity`."""
        return "log" if self.name in LOG_LINKS else "identity"

    def forbids(self, least: float | None, mean: float) -> str | None:
        """What is wrong with a target of this least value and this mean, if anything."""
        if least is None or self.name not in LOG_LINKS:
            return None
        if mean > MOST:
            return f"has a mean of {mean:g}; distribution {self.name!r} allows none above {MOST:g}. Divide it."
        if least >= LOG_LINKS[self.name]:
            return None
        what = f"is as low as {least:g}; distribution {self.name!r} allows no"
        if least > 0:
            return f"{what} values below {LOG_LINKS[self.name]:g}. Multiply it, or use another distribution."
        zero = "zero or " if self.name == "gamma" else ""
        return f"{what} {zero}negative values. Leave these rows out, or use another distribution."

    def deviance(
        self, truth: NDArray[np.float64], predicted: NDArray[np.float64], weights: NDArray[np.floating] | None
    ) -> float:
        """Mean deviance of predictions; of huber see `Residuals`."""
        from sklearn import metrics

        if self.name == "gaussian":
            return float(metrics.mean_squared_error(truth, predicted, sample_weight=weights))
        if self.name == "laplace":
            return float(metrics.mean_absolute_error(truth, predicted, sample_weight=weights))
        if self.name == "quantile":
            return float(metrics.mean_pinball_loss(truth, predicted, sample_weight=weights, alpha=self.shape))
        power = {"poisson": 1.0, "gamma": 2.0, "tweedie": self.shape}[self.name]
        means = np.maximum(predicted, LEAST)
        return float(metrics.mean_tweedie_deviance(truth, means, sample_weight=weights, power=power))


#: Residuals that are kept one by one; of more, neighbours become one.
MOST_RESIDUALS = 2**16


@dataclass(frozen=True)
class Residuals:
    """Absolute residuals of some rows, ascending, from which huber's quantile and deviance follow.

    Beyond MOST_RESIDUALS they are thinned out, neighbours in pairs: then the quantile's rank is off by 2**-16 at most for
    each time that they were.
    """

    values: NDArray[np.float64]
    weights: NDArray[np.float64]

    @classmethod
    def of(
        cls, truth: NDArray[np.float64], predicted: NDArray[np.float64], weights: NDArray[np.floating] | None
    ) -> Residuals:
        """Of rows."""
        values = np.abs(truth - predicted)
        return cls._sorted(values, np.ones(len(values)) if weights is None else weights.astype(np.float64))

    @classmethod
    def _sorted(cls, values: NDArray[np.float64], weights: NDArray[np.float64]) -> Residuals:
        order = np.argsort(values, kind="stable")
        values, weights = values[order], weights[order]
        while len(values) > MOST_RESIDUALS:
            edges = np.arange(0, len(values), 2)
            total = np.add.reduceat(weights, edges)
            values, weights = np.add.reduceat(values * weights, edges) / total, total
        return cls(values, weights)

    def merge(self, other: Residuals) -> Residuals:
        """Of both sets of rows."""
        return self._sorted(np.concatenate([self.values, other.values]), np.concatenate([self.weights, other.weights]))

    def quantile(self, q: float) -> float:
        """The q quantile: linear between ranks where all weights are equal, else of the weighted distribution itself."""
        if np.ptp(self.weights) == 0:
            return float(np.quantile(self.values, q))
        return float(np.quantile(self.values, q, weights=self.weights, method="inverted_cdf"))

    def deviance(self, alpha: float) -> float:
        """Mean huber deviance: squared residuals up to their `alpha` quantile, beyond it linear."""
        delta = self.quantile(alpha)
        r = self.values
        return float(np.average(np.where(r <= delta, r * r, (2 * r - delta) * delta), weights=self.weights))
