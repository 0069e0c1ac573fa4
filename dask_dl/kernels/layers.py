"""Arithmetic of one layer of one row, forward and of errors, each for the units [lo, hi) that a thread owns.

Unit ranges are whole lanes (`team.unit_range`). Loops over single units stop at the layer's last one; loops over vectors run
over the padding too, which stays zero. So the arithmetic of a unit does not depend on who else shares the row.
"""

from __future__ import annotations

import numpy as np

from dask_dl.jit import inlined, kernel
from dask_dl.kernels.exponential import tanh_and_gradient
from dask_dl.kernels.layout import BIASES, CHANNELS, MAXOUT, N_OUT, RECTIFIER, STRIDE, TANH, WEIGHTS
from dask_dl.kernels.optimizers import ONE, ZERO
from dask_dl.kernels.spans import span
from dask_dl.kernels.team import owner
from dask_dl.state import LANE


@inlined
def pad(n):
    """Whole lanes."""
    return (n + LANE - 1) // LANE * LANE


@kernel
def width_of(layer):
    """Length of the vectors of a layer: layer (7,) int64, a row of `Network.layers`."""
    return layer[CHANNELS] * pad(layer[N_OUT])


@kernel
def sizes(network):
    """Length of all layers' vectors, and of the longest one."""
    total, widest = 0, 0
    for k in range(network.layers.shape[0]):
        n = width_of(network.layers[k])
        total += n
        widest = max(widest, n)
    return total, widest


@kernel
def dot(a, b):
    """Sum of products, in vector registers: a, b (n,) float32."""
    total = ZERO
    for i in range(a.shape[0]):
        total += a[i] * b[i]
    return total


@kernel
def add_scaled(out, d, w):
    """Add d times w to a vector: out, w (n,) float32."""
    for i in range(w.shape[0]):
        out[i] += d * w[i]


@kernel
def forward_units(layer, channel, inputs, weights, with_biases, mask, out, lo, hi):
    """Compute the pre-activations of units: bias plus dense inputs (algorithm.md#forward-pass).

    Parameters
    ----------
    layer : (7,) int64
        Row of `Network.layers`.
    channel : int
    inputs : (stride,) float32
        Dense inputs of the layer.
    weights : (dense,) float32
        Dense part of the weights.
    with_biases : (..,) float32
        Part of the weights that holds the layer's biases.
    mask : (n,) float32
        0 for units to be left out; or empty. n is the number of units, padded.
    out : (width,) float32
        Receives the sums.
    lo, hi : int
        Units of this thread.
    """
    n_out, stride = layer[N_OUT], layer[STRIDE]
    n, first = min(hi, n_out) - lo, channel * pad(n_out) + lo
    mine, biases = span(out, first, n), span(with_biases, layer[BIASES] + first, n)
    rows = span(weights, layer[WEIGHTS] + (channel * n_out + lo) * stride, n * stride)
    masked = mask.shape[0] > 0
    for j in range(n):
        if masked and mask[lo + j] == ZERO:
            mine[j] = ZERO
        else:
            mine[j] = biases[j] + dot(span(rows, j * stride, stride), inputs)


@kernel
def forward_levels(slots, values, first, stop, width, weights, out, lo, hi):
    """Add to the first layer's sums what active one-hot inputs feed, times the value of each.

    Parameters
    ----------
    slots, values : (n_active,) int32, float32
        Active inputs and their values.
    first, stop : int
        Places [first, stop) of the inputs to add.
    width : int
        Length of the first layer's vectors.
    weights : (one-hot block,) float32
    out : (width,) float32
        Sums to add to.
    lo, hi : int
        Part of `out`.
    """
    for c in range(first, stop):
        add_scaled(span(out, lo, hi - lo), values[c], span(weights, slots[c] * width + lo, hi - lo))


@kernel
def activate(kind, out, gradients, mask, factor, n, lo, hi):
    """Activate hidden units, in place: times the mask, if it is not empty, else times a factor.

    The functions: algorithm.md#rectifier, algorithm.md#tanh, algorithm.md#maxout.

    Parameters
    ----------
    kind : int
        RECTIFIER, TANH or MAXOUT.
    out : (width,) float32
        Sums of n padded units, of maxout those of the second channel after those of the first. Their place then tells
        which channel won: 0 for the first, for equals too, 1 for the second.
    gradients : (n,) float32
        Receives the gradients of tanh.
    mask : (n,) float32
        Factor of each unit, or empty.
    factor : float32
        Factor of all units, where there is no mask.
    n : int
        Units, padded.
    lo, hi : int
        Units of this thread.
    """
    mine = span(out, lo, hi - lo)
    if kind == RECTIFIER:
        for i in range(mine.shape[0]):
            mine[i] = max(mine[i], ZERO)
    elif kind == TANH:
        there = span(gradients, lo, hi - lo)
        for i in range(mine.shape[0]):
            mine[i], there[i] = tanh_and_gradient(mine[i])
    else:
        other = span(out, n + lo, hi - lo)
        for i in range(mine.shape[0]):
            wins = other[i] > mine[i]
            mine[i] = other[i] if wins else mine[i]
            other[i] = ONE if wins else ZERO
    if mask.shape[0] > 0:
        kept = span(mask, lo, hi - lo)
        for i in range(mine.shape[0]):
            mine[i] *= kept[i]
    elif factor != ONE:
        for i in range(mine.shape[0]):
            mine[i] *= factor


@kernel
def follow_means(means, acts):
    """Running means of hidden activations take in those of one more row (algorithm.md#sparse-autoencoder).

    means, acts (n,) float32: the means, updated in place; activations of the row.
    """
    for i in range(means.shape[0]):
        means[i] += np.float32(1e-3) * (acts[i] - means[i])


@kernel
def add_errors(errors, n_lanes, size, rank, start, n):
    """Add up error vectors of lanes, pairwise: 0 + 1, 2 + 3, ..., then (0 1) + (2 3), ..., into the left one.

    Which numbers are added to which never depends on the number of threads, and others have little to fetch
    (algorithm.md#teams).

    Parameters
    ----------
    errors : (lanes, widest) float32
        Error vector of each lane of units.
    n_lanes : int
        Lanes of the layer.
    size : int
        Threads of the team.
    rank : int
        Of a thread: pairs of lanes that all belong to it, which it adds before others read. -1: all other pairs.
    start, n : int
        Part of the vectors, and its length.
    """
    apart = 1
    while apart < n_lanes:
        for left in range(0, n_lanes - apart, 2 * apart):
            first = owner(left, n_lanes, size)
            is_one = first == owner(min(left + 2 * apart, n_lanes) - 1, n_lanes, size)
            if first == rank if is_one else rank < 0:
                add_scaled(span(errors[left], start, n), ONE, span(errors[left + apart], start, n))
        apart *= 2


@kernel
def hidden_deltas(kind, acts, errors, mask, deltas, n, lo, hi):
    """Compute gradients by the sums of hidden units from those by their activations.

    Of maxout only the channel that won has one.

    Parameters
    ----------
    kind : int
        RECTIFIER, TANH or MAXOUT.
    acts : (width,) float32
        Activations as `activate` leaves them.
    errors : (n,) float32
        Gradients by the activations.
    mask : (n,) float32
        Mask of `activate`, or empty.
    deltas : (width,) float32
        Receives the gradients; holds those of tanh before.
    n : int
        Units, padded.
    lo, hi : int
        Units of this thread.
    """
    act, error, mine = span(acts, lo, hi - lo), span(errors, lo, hi - lo), span(deltas, lo, hi - lo)
    if kind == RECTIFIER:  # dropped units have an activation of 0
        for i in range(mine.shape[0]):
            mine[i] = error[i] if act[i] > ZERO else ZERO
        return
    if kind == TANH:
        for i in range(mine.shape[0]):
            mine[i] *= error[i]
    else:
        other, won = span(deltas, n + lo, hi - lo), span(acts, n + lo, hi - lo)
        for i in range(mine.shape[0]):
            mine[i] = error[i] * (ONE - won[i])
            other[i] = error[i] * won[i]
    if mask.shape[0] > 0:
        kept = span(mask, lo, hi - lo)
        for i in range(mine.shape[0]):
            mine[i] *= kept[i]
        if kind == MAXOUT:
            other = span(deltas, n + lo, hi - lo)
            for i in range(mine.shape[0]):
                other[i] *= kept[i]
