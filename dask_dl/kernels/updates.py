"""Updates of one layer's weights and biases by one row, each of the units [lo, hi) that a thread owns: see `layers`."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dask_dl.jit import inlined, kernel
from dask_dl.kernels.layers import add_scaled, dot, pad, width_of
from dask_dl.kernels.layout import CHANNELS, N_OUT, STRIDE, WEIGHTS
from dask_dl.kernels.optimizers import (
    ONE,
    ZERO,
    Penalty,
    gradient,
    has_bias_rule,
    has_penalty,
    rests_at_zero,
    run_of,
    squared_gradients,
    update,
)
from dask_dl.kernels.spans import span
from dask_dl.state import LANE

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Inputs per column of the table that count, at most, in the mean of ADADELTA's rule for biases
#: (algorithm.md#biases-under-adadelta). The mean over all inputs would be near zero for columns of a thousand levels, and the
#: steps of the biases so large that nothing is learned.
MAX_INPUTS = 8


class LayerVectors(NamedTuple):
    """Vectors of a layer that its update reads, and scratch, which is private to the thread."""

    deltas: NDArray[np.float32]  #: (width,): gradients by the units' sums
    squares: NDArray[np.float32]  #: (width or more,): sums of squared gradients of the units' weights, under ADADELTA
    spare: NDArray[np.float32]  #: (width or more,): scratch


@inlined
def penalty_of(opt, block):
    """The penalties on these weights: nothing pulls where there is no consensus."""
    penalties = opt.penalties
    pull = penalties.pull if block.center.shape[0] > 0 else 0.0
    return Penalty(np.float32(penalties.l1), np.float32(penalties.l2), np.float32(pull))


# Inlined down to the loops, although they are not small: the arrays of two `WeightBlock`s, passed through three calls, took a
# fifth of the time of rows of levels.
@inlined
def backward_units(step, layer, inputs, vectors, dense, errors, is_first, lo, hi):
    """Pass errors to the layer below (none under the first), and update units.

    Errors use the weights as they were before this row's step (algorithm.md#backward-pass).

    Parameters
    ----------
    step : StepSize
    layer : (7,) int64
        Row of `Network.layers`.
    inputs : (stride,) float32
        Dense inputs of the layer.
    vectors : LayerVectors
        Its squares receive, per unit, the sum of squared gradients of its dense weights: ADADELTA's rule for biases.
    dense : WeightBlock
        Dense part.
    errors : (lanes, widest) float32
        Receives a vector for each lane of units: `add_errors` adds them up.
    is_first : bool
        Whether this is the first layer.
    lo, hi : int
        Units of this thread.
    """
    opt, penalty = step.optimizer, penalty_of(step.optimizer, dense)
    penalised = has_penalty(penalty)
    skip = rests_at_zero(opt, penalty)
    square = dot(inputs, inputs)
    n_out, stride = layer[N_OUT], layer[STRIDE]
    n = min(hi, n_out) - lo
    for at in range(0, n, LANE):
        passed = span(errors[(lo + at) // LANE], 0, stride)
        if not is_first:
            for i in range(stride):
                passed[i] = ZERO
        for channel in range(layer[CHANNELS]):
            first, rows = channel * pad(n_out) + lo, layer[WEIGHTS] + (channel * n_out + lo) * stride
            mine, sums = span(vectors.deltas, first, n), span(vectors.squares, first, n)
            for j in range(at, min(at + LANE, n)):
                d = mine[j]
                if skip and d == ZERO:
                    continue
                block = run_of(step, dense, rows + j * stride, stride, inputs)
                if not is_first:
                    add_scaled(passed, d, block.weights)
                if has_bias_rule(opt.kind):
                    sums[j] = squared_gradients(step, penalty, inputs, d, block) if penalised else d * d * square
                update(step, penalty, inputs, d, block)


@inlined
def update_vector(step, block, start, a, n):
    """Take one optimizer step on weights with given gradients, a lane at a time.

    Where a vector is cut between threads must not decide which of a loop's variants a number meets: its body in vector
    registers and its remainder may fuse other products into multiply-adds.

    Parameters
    ----------
    step : StepSize
    block : WeightBlock
    start : int
        First weight.
    a : (n,) float32
        Gradients of the loss.
    n : int
        Number of weights, whole lanes.
    """
    penalty = penalty_of(step.optimizer, block)
    for at in range(0, n, LANE):
        lane = span(a, at, LANE)
        update(step, penalty, lane, ONE, run_of(step, block, start + at, LANE, lane))


@inlined
def backward_level(step, slot, width, gradients, onehot, squares, lo, hi):
    """Update the weights that one one-hot input feeds.

    Parameters
    ----------
    step : StepSize
    slot : int
        The input.
    width : int
        Length of the first layer's vectors.
    gradients : (width,) float32
        Gradients of the loss by these weights.
    onehot : WeightBlock
        One-hot block.
    squares : (width,) float32
        Sums of squared gradients, added to under ADADELTA.
    lo, hi : int
        Part of the first layer's vectors.
    """
    start, n = slot * width + lo, hi - lo
    a = span(gradients, lo, n)
    if has_bias_rule(step.optimizer.kind):
        penalty, sums = penalty_of(step.optimizer, onehot), span(squares, lo, n)
        penalised, fast_mode = has_penalty(penalty), step.optimizer.fast_mode
        for at in range(0, n, LANE):  # as in `update_vector`
            lane, total = span(a, at, LANE), span(sums, at, LANE)
            block = run_of(step, onehot, start + at, LANE, lane)
            for j in range(LANE):
                g = lane[j]
                if penalised:
                    g = gradient(lane[j], ONE, block.weights[j], block.center[j], penalty, fast_mode)
                total[j] += g * g
    update_vector(step, onehot, start, a, n)


@inlined
def backward_levels(step, n_onehot, inputs, width, vectors, onehot, lo, hi):
    """Update the one-hot weights: those of active inputs, and without fast_mode of the absent ones too.

    Parameters
    ----------
    step : StepSize
    n_onehot : int
        One-hot inputs of the network.
    inputs : Inputs
    width : int
        Length of the first layer's vectors.
    vectors : LayerVectors
        Its squares are added to under ADADELTA.
    onehot : WeightBlock
        One-hot block.
    lo, hi : int
        Part of the first layer's vectors.
    """
    opt, slots, values = step.optimizer, inputs.slots, inputs.values
    deltas, spare, squares = vectors.deltas, vectors.spare, vectors.squares
    if rests_at_zero(opt, penalty_of(opt, onehot)):
        gradients, held = deltas, ONE
        for c in range(inputs.n):
            if values[c] != held:
                gradients, held = spare, values[c]
                for j in range(lo, hi):
                    gradients[j] = held * deltas[j]
            backward_level(step, slots[c], width, gradients, onehot, squares, lo, hi)
        return
    at = inputs.n_levels
    for slot in range(n_onehot):
        value = ZERO
        for c in range(inputs.n_levels):
            if slots[c] == slot:
                value = values[c]
        if at < inputs.n and slots[at] == slot:
            value = values[at]
            at += 1
        for j in range(lo, hi):
            spare[j] = value * deltas[j] if value != ZERO else ZERO
        backward_level(step, slot, width, spare, onehot, squares, lo, hi)


@inlined
def backward_biases(step, start, n, n_inputs, deltas, means, block, squares):
    """Update biases; under ADADELTA their running means follow the mean squared gradient of the unit's weights.

    The rule: algorithm.md#biases-under-adadelta.

    Parameters
    ----------
    step : StepSize
    start, n : int
        First bias, and their number.
    n_inputs : int
        Inputs by which the sums of squares are divided.
    deltas : (padded n,) float32
        Gradients by these units' sums.
    means : (padded n,) float32
        Mean activations of these units, or empty.
    block : WeightBlock
        Part of the weights that holds the biases.
    squares : (padded n,) float32
        Sums of squared gradients of these units' weights.
    """
    opt, has_means = step.optimizer, means.shape[0] > 0
    beta, wanted = np.float32(opt.penalties.sparsity_beta), np.float32(opt.penalties.average_activation)
    if not has_bias_rule(opt.kind):
        update_vector(step, block, start, deltas, pad(n))
        if has_means:
            for j in range(n):
                if not (opt.fast_mode and deltas[j] == ZERO):
                    block.weights[start + j] -= step.rate * beta * (means[j] - wanted)
        return
    rho, epsilon, scale = np.float32(opt.rho), np.float32(opt.epsilon), np.float32(opt.scale)
    penalty = penalty_of(opt, block)
    for at in range(0, n, LANE):  # a lane at a time, as in `update_vector`
        lane, sums = span(deltas, at, LANE), span(squares, at, LANE)
        there = span(means, at, LANE) if has_means else lane
        w, s0, s1, c = run_of(step, block, start + at, LANE, lane)
        for j in range(LANE):
            if at + j >= n or (opt.fast_mode and lane[j] == ZERO):
                continue
            q = sums[j] / np.float32(n_inputs)
            s0[j] = rho * s0[j] + (ONE - rho) * q
            ratio = (s1[j] + epsilon) / (s0[j] + epsilon)
            s1[j] = rho * s1[j] + (ONE - rho) * (ratio * q)
            rate = scale * np.sqrt(ratio)
            w[j] -= rate * gradient(lane[j], ONE, w[j], c[j], penalty, opt.fast_mode)
            if has_means:
                w[j] -= rate * beta * (there[j] - wanted)


@kernel
def limit_weights(opt, layer, n_onehot, channel, deltas, dense, onehot, factors, lo, hi):
    """Scale the incoming weights of units down where the sum of their squares is above max_w2 (algorithm.md#max_w2).

    Levels are inputs like others, so each of them is looked at. In fast mode units whose gradient is 0 rest.

    Parameters
    ----------
    opt : Optimizer
    layer : (7,) int64
        Row of `Network.layers`.
    n_onehot : int
        One-hot inputs of the layer.
    channel : int
    deltas : (width,) float32
        Gradients by the units' sums.
    dense, onehot : (..,) float32
        Dense part and one-hot block of the weights.
    factors : (widest,) float32
        Scratch.
    lo, hi : int
        Units of this thread.
    """
    n_out, stride, limit = layer[N_OUT], layer[STRIDE], np.float32(opt.penalties.max_w2)
    n, first, width = min(hi, n_out) - lo, channel * pad(n_out) + lo, width_of(layer)
    if n <= 0:
        return
    sums, mine = span(factors, 0, n), span(deltas, first, n)
    rows = span(dense, layer[WEIGHTS] + (channel * n_out + lo) * stride, n * stride)
    for j in range(n):
        row = span(rows, j * stride, stride)
        sums[j] = dot(row, row)
    for slot in range(n_onehot):
        row = span(onehot, slot * width + first, n)
        for j in range(n):
            sums[j] += row[j] * row[j]
    is_any = False
    for j in range(n):
        rests = sums[j] <= limit or (opt.fast_mode and mine[j] == ZERO)
        sums[j] = ONE if rests else np.sqrt(limit / sums[j])
        is_any |= not rests
    if not is_any:
        return
    for j in range(n):
        if sums[j] != ONE:
            row = span(rows, j * stride, stride)
            for i in range(stride):
                row[i] *= sums[j]
    for slot in range(n_onehot):
        row = span(onehot, slot * width + first, n)
        for j in range(n):
            row[j] *= sums[j]
