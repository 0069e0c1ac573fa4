"""The hyperbolic tangent and its derivative in float32, without branches and calls, so that loops over units are vectorised.

The formulas: algorithm.md#tanh. A saturated unit's gradient 1 - tanh(z)**2 is lost in the rounding of its activation. Here
it comes from exp(-2 |z|), and so keeps its digits: ADADELTA makes a step of a gradient however small it is.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from dask_dl.jit import inlined
from dask_dl.kernels.optimizers import ONE, TWO, ZERO

#: Below it exp(2 x) is less than half a unit in the last place of 1, squared.
MIN = np.float32(-40.0)


@intrinsic
def _as_float(_context, _bits):
    """The float32 with these 32 bits."""

    def codegen(_target, builder, _signature, arguments):
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.int32), codegen


@inlined
def tanh_and_gradient(z):
    """(tanh(z), 1 - tanh(z)**2), each to a few units in its own last place."""
    x = max(-TWO * abs(z), TWO * MIN)
    n = np.floor(x * np.float32(1.4426950408889634) + np.float32(0.5))
    # Reduced in float64: `fastmath` may add in any order, which undoes a constant in two parts.
    r = np.float32(np.float64(x) - np.float64(n) * 0.6931471805599453)
    p = np.float32(1 / 5040)
    p = p * r + np.float32(1 / 720)
    p = p * r + np.float32(1 / 120)
    p = p * r + np.float32(1 / 24)
    p = p * r + np.float32(1 / 6)
    p = p * r + np.float32(0.5)
    p = p * r * r + r  # exp(r) - 1
    scale = _as_float(np.int32((np.int32(n) + np.int32(127)) << 23))
    e = scale * p + scale
    less = p if n == ZERO else e - ONE  # exp(x) - 1, to the last digits where x is small
    positive = -less / (TWO + less)
    whole = ONE + e
    return (-positive if z < ZERO else positive), np.float32(4) * e / (whole * whole)
