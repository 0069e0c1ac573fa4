"""Multipliers of what a unit or an output answers by its sums, for pairs of rows: DeepLIFT's rescale rule.

The rules: algorithm.md#multipliers. A pair is a row with a background row; pairs are numbered row by row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dask_dl.jit import inlined, kernel
from dask_dl.kernels.layers import width_of
from dask_dl.kernels.layout import MAXOUT, RECTIFIER
from dask_dl.kernels.optimizers import ONE, TWO, ZERO
from dask_dl.kernels.spans import span

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dask_dl.state import Rows

#: Sums that are as near as this have no quotient of differences: the derivative takes its place, as in H2O.
NEAR = np.float32(1e-6)


class Passed(NamedTuple):
    """Rows and what they left behind in the network. Vectors of a layer lie row by row, a block for each layer."""

    rows: Rows
    n: int
    sums: NDArray[np.float32]  #: (n total,): sums of all units, by channel
    acts: NDArray[np.float32]  #: (n total,): their activations
    logits: NDArray[np.float64]  #: (n, classes): sums of the output, where softmax is explained; else (n, 0)
    margins: NDArray[np.float64]  #: (n, O): linear functions of the output's sums
    values: NDArray[np.float64]  #: (n, O): what is explained
    slopes: NDArray[np.float64]  #: (n, O): derivatives of the values by the margins


class Explained(NamedTuple):
    """The O values that are explained, each by the margin of the same number."""

    directions: NDArray[np.float32]  #: (O, padded outputs): margins by the output's sums
    classes: NDArray[np.int64]  #: (O,): class of each value, where softmax is explained
    nodes: NDArray[np.float64]  #: (T,): places, from 0 to 1, on the way from one row to the other; empty: no softmax
    parts: NDArray[np.float64]  #: (T,): parts of the way that they stand for


@kernel
def gains_of_functions(kind, factor, here, there, acts_here, acts_there, gains):
    """Compute multipliers of activations by their sums: quotients of differences, or derivatives where sums are near.

    Parameters
    ----------
    kind : int
        RECTIFIER or TANH.
    factor : float32
        Factor of all activations.
    here, there : (n,) float32
        Sums of the row and of the background row.
    acts_here, acts_there : (n,) float32
        Their activations.
    gains : (n,) float32
        Receives the multipliers.
    """
    for j in range(gains.shape[0]):
        apart = here[j] - there[j]
        if kind == RECTIFIER:
            derivative = factor if there[j] > ZERO else ZERO
        else:
            derivative = factor - acts_there[j] * acts_there[j] / factor
        is_near = abs(apart) < NEAR
        quotient = (acts_here[j] - acts_there[j]) / (ONE if is_near else apart)
        gains[j] = derivative if is_near else quotient


@kernel
def gains_of_channels(factor, here, there, gains):
    """Compute multipliers of maxout's activations by the sums of both channels: exact Shapley values of two players.

    Parameters
    ----------
    factor : float32
        Factor of all activations.
    here, there : (2 n,) float32
        Sums of the row and of the background row.
    gains : (2 n,) float32
        Receives the multipliers.
    """
    n, half = gains.shape[0] // 2, factor / TWO
    for channel in range(2):
        own, other = channel * n, n - channel * n
        for j in range(n):
            x, b, of_row, of_other = here[own + j], there[own + j], here[other + j], there[other + j]
            apart = x - b
            is_near = abs(apart) < NEAR
            change = (max(x, of_row) - max(b, of_row)) + (max(x, of_other) - max(b, of_other))
            derivative = (ONE if b > of_row else ZERO) + (ONE if b > of_other else ZERO)
            gains[own + j] = half * (derivative if is_near else change / (ONE if is_near else apart))


@inlined
def gains_of_pairs(network, begin, t, here, there, buffers):
    """Compute the multipliers of all hidden units for pairs [begin, begin + t).

    Parameters
    ----------
    network : Network
    begin, t : int
        First pair, and their number.
    here, there : Passed
        Rows and background rows.
    buffers : PairBuffers
        Its gains receive the multipliers.
    """
    layers, kind = network.layers, network.activation
    block = 0
    for k in range(layers.shape[0] - 1):
        width, factor = width_of(layers[k]), network.kept[k]
        for i in range(t):
            r, b = (begin + i) // there.n, (begin + i) % there.n
            mine = span(here.sums, here.n * block + r * width, width)
            other = span(there.sums, there.n * block + b * width, width)
            gains = span(buffers.gains, buffers.tile * block + i * width, width)
            if kind == MAXOUT:
                gains_of_channels(factor, mine, other, gains)
            else:
                acts = span(here.acts, here.n * block + r * width, width)
                acts_there = span(there.acts, there.n * block + b * width, width)
                gains_of_functions(kind, factor, mine, other, acts, acts_there, gains)
        block += width


@inlined
def probabilities_of_pairs(begin, t, here, there, nodes, out):
    """Compute softmax at nodes of the line between the sums of two rows.

    Parameters
    ----------
    begin, t : int
        First pair, and their number.
    here, there : Passed
        Rows and background rows.
    nodes : (T,) float64
    out : (tile T classes,) float64
        Receives the probabilities, pair by pair and node by node.
    """
    n = here.logits.shape[1]
    for i in range(t):
        mine, other = here.logits[(begin + i) // there.n], there.logits[(begin + i) % there.n]
        for q in range(nodes.shape[0]):
            found = span(out, (i * nodes.shape[0] + q) * n, n)
            top, total = -np.inf, 0.0
            for j in range(n):
                found[j] = other[j] + nodes[q] * (mine[j] - other[j])
                top = max(top, found[j])
            for j in range(n):
                found[j] = np.exp(found[j] - top)
                total += found[j]
            for j in range(n):
                found[j] /= total


@inlined
def deltas_of_softmax(begin, t, o, here, there, explained, probabilities, width, deltas):
    """Compute multipliers of a probability by the output's sums: mean gradients on the line between two rows.

    What the sum over the nodes misses of the difference is made up for by the least change of the multipliers.

    Parameters
    ----------
    begin, t : int
        First pair, and their number.
    o : int
        Number of the value.
    here, there : Passed
        Rows and background rows.
    explained : Explained
    probabilities : (tile T classes,) float64
        See `probabilities_of_pairs`.
    width : int
        From one row of multipliers to the next.
    deltas : (tile widest,) float32
        Receives the multipliers.
    """
    n, n_nodes, label = here.logits.shape[1], explained.nodes.shape[0], explained.classes[o]
    for i in range(t):
        r, b = (begin + i) // there.n, (begin + i) % there.n
        mine, other, found = here.logits[r], there.logits[b], span(deltas, i * width, width)
        missing, squares = here.values[r, o] - there.values[b, o], 0.0
        for j in range(n):
            mean = 0.0
            for q in range(n_nodes):
                p = span(probabilities, (i * n_nodes + q) * n, n)
                mean += explained.parts[q] * p[label] * ((1.0 if j == label else 0.0) - p[j])
            apart = mine[j] - other[j]
            missing -= mean * apart
            squares += apart * apart
            found[j] = mean
        if squares > NEAR * NEAR:
            for j in range(n):
                found[j] += missing / squares * (mine[j] - other[j])
        for j in range(n, width):
            found[j] = ZERO


@inlined
def deltas_of_margins(begin, t, o, here, there, directions, width, deltas):
    """Compute multipliers of a value by the output's sums, of which its margin is a linear function.

    Parameters
    ----------
    begin, t : int
        First pair, and their number.
    o : int
        Number of the value.
    here, there : Passed
        Rows and background rows.
    directions : (O, padded outputs) float32
    width : int
        From one row of multipliers to the next.
    deltas : (tile widest,) float32
        Receives the multipliers.
    """
    for i in range(t):
        r, b = (begin + i) // there.n, (begin + i) % there.n
        apart, slope = here.margins[r, o] - there.margins[b, o], there.slopes[b, o]
        if abs(apart) >= NEAR:
            slope = (here.values[r, o] - there.values[b, o]) / apart
        found = span(deltas, i * width, width)
        for j in range(width):
            found[j] = slope * directions[o, j]
