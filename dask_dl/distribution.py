"""Distributions of a target: their links, the numbers that they allow, their deviances."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

#: The largest mean that a log link gives.
MAX = 1e19
#: The least mean that a deviance is computed for: it divides by it, and takes its logarithm.
MIN = np.finfo(np.float64).tiny
#: Distributions of which a mean is the exponential of the network's sum, and the least target that each allows:
#: algorithm.md#links.
LOG_LINKS = {"poisson": 0.0, "tweedie": 0.0, "gamma": 1 / MAX}
#: Distributions of which the best constant is a quantile: the median, but for `quantile` itself.
QUANTILES = {"laplace", "quantile", "huber"}


@dataclass(frozen=True)
class Distribution:
    """A distribution with its parameter: quantile_alpha, huber_alpha or tweedie_power; 0 for the others."""

    name: str  #: as the parameter `distribution` has it, resolved
    shape: float = 0.0

    @classmethod
    def of(cls, effective: Mapping[str, Any]) -> Distribution:
        """Distribution of effective parameters."""
        name = effective["distribution"]
        shapes = {"quantile": "quantile_alpha", "huber": "huber_alpha", "tweedie": "tweedie_power"}
        return cls(name, effective[shapes[name]] if name in shapes else 0.0)

    @property
    def link(self) -> str:
        """`log` or `identity`."""
        return "log" if self.name in LOG_LINKS else "identity"

    @property
    def power(self) -> float:
        """Power of the mean that the variance is proportional to; of a log link only."""
        return {"poisson": 1.0, "gamma": 2.0, "tweedie": self.shape}[self.name]

    def forbids(self, minimum: float | None, mean: float) -> str | None:
        """Fault of a target with this minimum and this mean, if any."""
        if minimum is None or self.name not in LOG_LINKS:
            return None
        if mean > MAX:
            return f"has a mean of {mean:g}; distribution {self.name!r} allows none above {MAX:g}. Divide it."
        if minimum >= LOG_LINKS[self.name]:
            return None
        what = f"is as low as {minimum:g}; distribution {self.name!r} allows no"
        if minimum > 0:
            return f"{what} values below {LOG_LINKS[self.name]:g}. Multiply it, or use another distribution."
        zero = "zero or " if self.name == "gamma" else ""
        return f"{what} {zero}negative values. Leave these rows out, or use another distribution."

    def deviance(
        self, truth: NDArray[np.float64], predicted: NDArray[np.float64], weights: NDArray[np.floating] | None
    ) -> float:
        """Mean deviance of predictions (algorithm.md#deviances); of huber see `Residuals`."""
        from sklearn import metrics

        if self.name == "gaussian":
            return float(metrics.mean_squared_error(truth, predicted, sample_weight=weights))
        if self.name == "laplace":
            return float(metrics.mean_absolute_error(truth, predicted, sample_weight=weights))
        if self.name == "quantile":
            return float(metrics.mean_pinball_loss(truth, predicted, sample_weight=weights, alpha=self.shape))
        means = np.maximum(predicted, MIN)
        return float(metrics.mean_tweedie_deviance(truth, means, sample_weight=weights, power=self.power))


@dataclass(frozen=True)
class Quantiles:
    """Some weighted numbers, ascending, from which quantiles follow; they merge as a tree of pairs of equal size.

    Beyond `MAX` they are thinned out, neighbours in pairs: then the rank of a quantile is off by 1 / MAX at most for each
    time that they were.
    """

    values: NDArray[np.float64]
    weights: NDArray[np.float64]
    MAX: ClassVar[int] = 2**12

    @classmethod
    def of(cls, values: NDArray[np.float64], weights: NDArray[np.floating] | None) -> Self:
        """Sort and thin out numbers, with their weights."""
        order = np.argsort(values, kind="stable")
        values, w = values[order], np.ones(len(values)) if weights is None else weights[order].astype(np.float64)
        while len(values) > cls.MAX:
            edges = np.arange(0, len(values), 2)
            total = np.add.reduceat(w, edges)
            values, w = np.add.reduceat(values * w, edges) / total, total
        return cls(values, w)

    def merge(self, other: Self) -> Self:
        """Join both sets of numbers."""
        return self.of(np.concatenate([self.values, other.values]), np.concatenate([self.weights, other.weights]))

    def quantile(self, q: float) -> float:
        """The q quantile: linear between ranks where all weights are equal, else of the weighted distribution itself."""
        if np.ptp(self.weights) == 0:
            return float(np.quantile(self.values, q))
        return float(np.quantile(self.values, q, weights=self.weights, method="inverted_cdf"))


class Residuals(Quantiles):
    """Absolute residuals of some rows, from which huber's quantile and deviance follow."""

    MAX: ClassVar[int] = 2**16

    def deviance(self, alpha: float) -> float:
        """Mean huber deviance: squared residuals up to their `alpha` quantile, beyond it linear."""
        delta = self.quantile(alpha)
        r = self.values
        return float(np.average(np.where(r <= delta, r * r, (2 * r - delta) * delta), weights=self.weights))


@dataclass(frozen=True)
class Intercept:
    """The model without inputs: sums over rows from which the constant with the least deviance follows.

    The formulas: algorithm.md#start-of-biases.

    For the deviances of a log link, with means exp(b + offset), it is in closed form (set the derivative by b to 0):
    exp(b) = sum(w y exp((1 - p) offset)) / sum(w exp((2 - p) offset)) for power p, which is 1 for poisson and 2 for gamma.
    """

    distribution: Distribution
    numerator: float = 0.0  #: of the mean target less offset; of a log link the logarithm of the sum above the line
    denominator: float = 0.0  #: the weights' sum; of a log link the logarithm of the sum below the line
    quantiles: Quantiles | None = None  #: of targets less offsets, where the constant is one of them

    @classmethod
    def of(
        cls,
        distribution: Distribution,
        targets: NDArray[np.float64],
        offsets: NDArray[np.float64] | None,
        weights: NDArray[np.float64] | None,
    ) -> Intercept:
        """Sum over rows.

        Parameters
        ----------
        distribution : Distribution
            Distribution of the target.
        targets : (n,) float64
            Targets in the unit of the table.
        offsets : (n,) float64 or None
            Offsets in units of the network's sum; None: all 0.
        weights : (n,) float64 or None
            Weights of the rows; None: all 1.

        Returns
        -------
        Intercept
        """
        w = np.ones(len(targets)) if weights is None else weights
        o = np.zeros(1) if offsets is None else offsets
        if distribution.link == "log":
            power = distribution.power
            with np.errstate(divide="ignore", invalid="ignore"):  # targets of 0; of less, which are refused
                numerator = np.logaddexp.reduce(np.log(w * targets) + (1 - power) * o)
            denominator = np.logaddexp.reduce(np.log(w) + (2 - power) * o)
            return cls(distribution, float(numerator), float(denominator))
        if distribution.name in QUANTILES:
            return cls(distribution, quantiles=Quantiles.of(targets - o, w))
        return cls(distribution, float((w * (targets - o)).sum()), float(w.sum()))

    def merge(self, other: Intercept) -> Intercept:
        """Sum over both sets of rows."""
        quantiles = self.quantiles and other.quantiles and self.quantiles.merge(other.quantiles)
        add = np.logaddexp if self.distribution.link == "log" else np.add
        numerator, denominator = add(self.numerator, other.numerator), add(self.denominator, other.denominator)
        return Intercept(self.distribution, float(numerator), float(denominator), quantiles)

    @property
    def value(self) -> float:
        """The constant: a logarithm where the link is one, else in the target's unit; 0 where all targets or weights are 0."""
        if self.quantiles is not None:
            return self.quantiles.quantile(self.distribution.shape if self.distribution.name == "quantile" else 0.5)
        if self.distribution.link == "log":
            difference = self.numerator - self.denominator
            return difference if math.isfinite(difference) else 0.0
        return self.numerator / self.denominator if self.denominator else 0.0
