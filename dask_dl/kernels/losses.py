"""Loss of one row, and its gradients with respect to the output's pre-activations.

The formulas: algorithm.md#losses-of-classes, algorithm.md#losses-of-numbers, algorithm.md#loss-of-reconstructions. The
gradient is the derivative of the loss, but for squared errors of probabilities, where it takes only the diagonal of
softmax's Jacobian, and of activated outputs, where it leaves out their function's derivative unless that is asked for, both
as H2O's does. A weight multiplies loss and gradient.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dask_dl.jit import inlined
from dask_dl.kernels.optimizers import ONE, TWO, ZERO

(
    CROSS_ENTROPY,
    SQUARED_PROBABILITIES,
    GAUSSIAN,
    LAPLACE,
    QUANTILE,
    HUBER,
    POISSON,
    GAMMA,
    TWEEDIE,
) = range(9)
#: Losses by the names of parameters: the loss of classes, and the distribution of numbers.
KINDS = {
    "cross_entropy": CROSS_ENTROPY,
    "quadratic": SQUARED_PROBABILITIES,
    "gaussian": GAUSSIAN,
    "laplace": LAPLACE,
    "quantile": QUANTILE,
    "huber": HUBER,
    "poisson": POISSON,
    "gamma": GAMMA,
    "tweedie": TWEEDIE,
}
#: The largest value of the exponential function, and the least of the logarithm.
MAX, MIN = np.float32(1e19), np.float32(-19)


class Objective(NamedTuple):
    """A loss."""

    kind: int  #: a value of KINDS
    #: Quantile: which one. Huber: delta, the residual from which it is linear. Tweedie: the power of the variance. Else unused.
    shape: float = 0.0
    of_inputs: bool = False  #: whether the targets are the row's own inputs, one for each output
    derives: bool = False  #: whether the gradients by activated outputs are multiplied by the function's derivative


@inlined
def safe_exp(x):
    """The exponential function, bounded above."""
    return min(np.exp(x), MAX)  # in this order a NaN stays one


@inlined
def safe_log(x):
    """The logarithm, bounded below."""
    return max(MIN, np.log(x)) if x > ZERO else MIN


@inlined
def number_loss(objective, z, y):
    """(loss, gradient) of a sum z of the output, offset included, against a target y in the same units."""
    kind, shape, residual = objective.kind, np.float32(objective.shape), z - y
    if kind == LAPLACE:
        return abs(residual), (ONE if residual > ZERO else -ONE)
    if kind == QUANTILE:
        return (shape * -residual, -shape) if residual < ZERO else ((ONE - shape) * residual, ONE - shape)
    if kind == HUBER:
        if abs(residual) <= shape:
            return residual * residual, TWO * residual
        return (TWO * abs(residual) - shape) * shape, (TWO * shape if residual > ZERO else -TWO * shape)
    if kind == POISSON:
        mean = safe_exp(z)
        return TWO * (y * (safe_log(y) - z) - y + mean), TWO * (mean - y)
    if kind == GAMMA:
        ratio = y * safe_exp(-z)
        return TWO * (z - safe_log(y) + ratio - ONE), TWO * (ONE - ratio)
    if kind == TWEEDIE:
        below, above = ONE - shape, TWO - shape
        part, whole = y * safe_exp(z * below), safe_exp(z * above)
        constant = y**above / (below * above) if y > ZERO else ZERO
        return TWO * (constant - part / below + whole / above), TWO * (whole - part)
    return residual * residual, TWO * residual
