"""One layer of one row: forward, backward with immediate update, each for the units [lo, hi) that a thread owns.

Unit ranges are whole lanes (`team.unit_range`). Loops over single units stop at the layer's last one; loops over vectors run
over the padding too, which stays zero. So the arithmetic of a unit does not depend on who else shares the row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dask_dl.jit import inlined, kernel
from dask_dl.kernels.exponential import tanh_and_gradient
from dask_dl.kernels.layout import BIASES, CHANNELS, MAXOUT, N_OUT, RECTIFIER, STRIDE, TANH, WEIGHTS
from dask_dl.kernels.optimizers import (
    ADADELTA,
    MOMENTUM,
    ONE,
    PLAIN,
    ZERO,
    Penalty,
    adadelta,
    gradient,
    has_penalty,
    momentum,
    plain,
    squared_gradients,
)
from dask_dl.kernels.spans import span
from dask_dl.kernels.team import owner
from dask_dl.state import LANE

if TYPE_CHECKING:
    from numpy.typing import NDArray


#: Inputs per column of the table that count, at most, in the mean of ADADELTA's rule for biases
#: (algorithm.md#biases-under-adadelta). The mean over all inputs would be near zero for columns of a thousand levels, and the
#: steps of the biases so large that nothing is learned.
MAX_INPUTS = 8


class WeightBlock(NamedTuple):
    """Weights with their optimizer state: the one-hot block, or the dense part, of the flat vectors."""

    weights: NDArray[np.float32]
    state0: NDArray[np.float32]  #: as long as the weights; empty where the optimizer has none: `steps.N_STATES`
    state1: NDArray[np.float32]
    center: NDArray[np.float32]  #: the consensus, as long as the weights; empty where nothing pulls: `Optimizer.pull`

    @property
    def states(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The optimizer's state."""
        return self.state0, self.state1


class StepSize(NamedTuple):
    """Step of the optimizer at this row in this layer."""

    rate: np.float32
    decay: np.float32  #: momentum


@inlined
def pad(n):
    """Whole lanes."""
    return (n + LANE - 1) // LANE * LANE


@kernel
def dot(a, b):
    """Sum of products, in vector registers."""
    total = ZERO
    for i in range(a.shape[0]):
        total += a[i] * b[i]
    return total


@kernel
def add_scaled(out, d, w):
    """Out += d * w."""
    for i in range(w.shape[0]):
        out[i] += d * w[i]


# ---- forward ---------------------------------------------------------------------------------------------------------


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
    """Running means of hidden activations take in those of one more row (algorithm.md#sparse-autoencoder)."""
    for i in range(means.shape[0]):
        means[i] += np.float32(1e-3) * (acts[i] - means[i])


@kernel
def softmax(out, n):
    """Probabilities from the first n numbers of `out`, in place (algorithm.md#softmax)."""
    top = out[0]
    for j in range(1, n):
        top = max(top, out[j])
    total = ZERO
    for j in range(n):
        out[j] = np.exp(out[j] - top)
        total += out[j]
    for j in range(n):
        out[j] /= total


# ---- backward --------------------------------------------------------------------------------------------------------


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


@inlined
def penalty_of(opt, part):
    """The penalties on these weights: nothing pulls where there is no consensus."""
    pull = opt.pull if part.center.shape[0] > 0 else 0.0
    return Penalty(np.float32(opt.l1), np.float32(opt.l2), np.float32(pull))


@inlined
def update(opt, step, penalty, a, d, w, c, state0, state1):
    """Take one optimizer step on one vector of whole lanes.

    Parameters
    ----------
    opt : Optimizer
    step : StepSize
    penalty : Penalty
    a : (n,) float32
        Inputs; the gradient of the loss is `d * a`.
    d : float32
        Delta of the unit.
    w : (n,) float32
        Weights, changed in place.
    c : (n,) float32
        Consensus; any numbers where nothing pulls.
    state0, state1 : (n,) float32
        Optimizer state, changed in place; empty where the optimizer has none.
    """
    if opt.kind == ADADELTA:
        rho, epsilon = np.float32(opt.rho), np.float32(opt.epsilon)
        adadelta(a, d, w, c, state0, state1, rho, epsilon, np.float32(opt.scale), penalty, opt.fast_mode)
    elif opt.kind == MOMENTUM:
        momentum(a, d, w, c, state0, step.rate, step.decay, opt.nesterov, penalty, opt.fast_mode)
    else:
        plain(a, d, w, c, step.rate, penalty, opt.fast_mode)


@inlined
def state_span(opt, part, start, n, a):
    """Weights [start, start + n), their consensus, and their optimizer state, as far as there is any.

    Parameters
    ----------
    opt : Optimizer
    part : WeightBlock
    start, n : int
        First weight, and their number.
    a : (n,) float32
        Inputs, which stand in for the consensus where nothing pulls, so that a loop may read it and use it or not.

    Returns
    -------
    tuple of four (n,) float32
        Weights, consensus and two vectors of state, not copied; states that there are not are empty.
    """
    has0, has1 = opt.kind != PLAIN, opt.kind == ADADELTA
    state0 = span(part.state0, start if has0 else 0, n if has0 else 0)
    state1 = span(part.state1, start if has1 else 0, n if has1 else 0)
    c = span(part.center, start, n) if part.center.shape[0] > 0 else a
    return span(part.weights, start, n), c, state0, state1


# Inlined down to the loops, although they are not small: the arrays of two `WeightBlock`s, passed through three calls, took a
# fifth of the time of rows of levels.
@inlined
def backward_units(opt, step, layer, inputs, deltas, part, errors, is_first, squares, lo, hi):
    """Pass errors to the layer below (none under the first), and update units.

    Errors use the weights as they were before this row's step (algorithm.md#backward-pass).

    Parameters
    ----------
    opt : Optimizer
    step : StepSize
    layer : (7,) int64
        Row of `Network.layers`.
    inputs : (stride,) float32
        Dense inputs of the layer.
    deltas : (width,) float32
        Gradients by the units' sums.
    part : WeightBlock
        Dense part.
    errors : (lanes, widest) float32
        Receives a vector for each lane of units: `add_errors` adds them up.
    is_first : bool
        Whether this is the first layer.
    squares : (width,) float32
        Receives, per unit, the sum of squared gradients of its dense weights: ADADELTA's rule for biases.
    lo, hi : int
        Units of this thread.
    """
    penalty = penalty_of(opt, part)
    penalised = has_penalty(penalty)
    skip = opt.fast_mode or (opt.kind == PLAIN and not penalised)
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
            mine, sums = span(deltas, first, n), span(squares, first, n)
            for j in range(at, min(at + LANE, n)):
                d = mine[j]
                if skip and d == ZERO:
                    continue
                w, c, state0, state1 = state_span(opt, part, rows + j * stride, stride, inputs)
                if not is_first:
                    add_scaled(passed, d, w)
                if opt.kind == ADADELTA:
                    sums[j] = (
                        squared_gradients(inputs, d, w, c, penalty, opt.fast_mode) if penalised else d * d * square
                    )
                update(opt, step, penalty, inputs, d, w, c, state0, state1)


@inlined
def update_vector(opt, step, part, start, a, n):
    """Take one optimizer step on weights with given gradients, a lane at a time.

    Where a vector is cut between threads must not decide which of a loop's variants a number meets: its body in vector
    registers and its remainder may fuse other products into multiply-adds.

    Parameters
    ----------
    opt : Optimizer
    step : StepSize
    part : WeightBlock
    start : int
        First weight.
    a : (n,) float32
        Gradients of the loss.
    n : int
        Number of weights, whole lanes.
    """
    penalty = penalty_of(opt, part)
    for at in range(0, n, LANE):
        lane = span(a, at, LANE)
        w, c, state0, state1 = state_span(opt, part, start + at, LANE, lane)
        update(opt, step, penalty, lane, ONE, w, c, state0, state1)


@inlined
def backward_level(opt, step, slot, width, gradients, part, squares, lo, hi):
    """Update the weights that one one-hot input feeds.

    Parameters
    ----------
    opt : Optimizer
    step : StepSize
    slot : int
        The input.
    width : int
        Length of the first layer's vectors.
    gradients : (width,) float32
        Gradients of the loss by these weights.
    part : WeightBlock
        One-hot block.
    squares : (width,) float32
        Sums of squared gradients, added to under ADADELTA.
    lo, hi : int
        Part of the first layer's vectors.
    """
    start, n = slot * width + lo, hi - lo
    a = span(gradients, lo, n)
    if opt.kind == ADADELTA:
        penalty, sums = penalty_of(opt, part), span(squares, lo, n)
        penalised = has_penalty(penalty)
        for at in range(0, n, LANE):  # as in `update_vector`
            lane, total = span(a, at, LANE), span(sums, at, LANE)
            w, c, _, _ = state_span(opt, part, start + at, LANE, lane)
            for j in range(LANE):
                g = gradient(lane[j], ONE, w[j], c[j], penalty, opt.fast_mode) if penalised else lane[j]
                total[j] += g * g
    update_vector(opt, step, part, start, a, n)


@inlined
def backward_levels(opt, step, n_onehot, slots, values, n_levels, n, width, deltas, spare, part, squares, lo, hi):
    """Update the one-hot weights: those of active inputs, and without fast_mode of the absent ones too.

    Parameters
    ----------
    opt : Optimizer
    step : StepSize
    n_onehot : int
        One-hot inputs of the network.
    slots, values : (n,) int32, float32
        Active inputs and their values: `network.collect`.
    n_levels : int
        Number of levels, which come first; from there on slots ascend.
    n : int
        Active inputs.
    width : int
        Length of the first layer's vectors.
    deltas : (width,) float32
        Gradients by the first layer's sums.
    spare : (width,) float32
        Scratch.
    part : WeightBlock
        One-hot block.
    squares : (width,) float32
        Sums of squared gradients, added to under ADADELTA.
    lo, hi : int
        Part of the first layer's vectors.
    """
    if opt.fast_mode or (opt.kind == PLAIN and not has_penalty(penalty_of(opt, part))):
        gradients, held = deltas, ONE
        for c in range(n):
            if values[c] != held:
                gradients, held = spare, values[c]
                for j in range(lo, hi):
                    gradients[j] = held * deltas[j]
            backward_level(opt, step, slots[c], width, gradients, part, squares, lo, hi)
        return
    at = n_levels
    for slot in range(n_onehot):
        value = ZERO
        for c in range(n_levels):
            if slots[c] == slot:
                value = values[c]
        if at < n and slots[at] == slot:
            value = values[at]
            at += 1
        for j in range(lo, hi):
            spare[j] = value * deltas[j] if value != ZERO else ZERO
        backward_level(opt, step, slot, width, spare, part, squares, lo, hi)


@inlined
def backward_biases(opt, step, start, n, n_inputs, deltas, means, part, squares):
    """Update biases; under ADADELTA their running means follow the mean squared gradient of the unit's weights.

    The rule: algorithm.md#biases-under-adadelta.

    Parameters
    ----------
    opt : Optimizer
    step : StepSize
    start, n : int
        First bias, and their number.
    n_inputs : int
        Inputs by which the sums of squares are divided.
    deltas : (padded n,) float32
        Gradients by these units' sums.
    means : (padded n,) float32
        Mean activations of these units, or empty.
    part : WeightBlock
        Part of the weights that holds the biases.
    squares : (padded n,) float32
        Sums of squared gradients of these units' weights.
    """
    has_means = means.shape[0] > 0
    beta, wanted = np.float32(opt.sparsity_beta), np.float32(opt.average_activation)
    if opt.kind != ADADELTA:
        update_vector(opt, step, part, start, deltas, pad(n))
        if has_means:
            for j in range(n):
                if not (opt.fast_mode and deltas[j] == ZERO):
                    part.weights[start + j] -= step.rate * beta * (means[j] - wanted)
        return
    rho, epsilon, scale = np.float32(opt.rho), np.float32(opt.epsilon), np.float32(opt.scale)
    penalty = penalty_of(opt, part)
    for at in range(0, n, LANE):  # a lane at a time, as in `update_vector`
        lane, sums = span(deltas, at, LANE), span(squares, at, LANE)
        there = span(means, at, LANE) if has_means else lane
        w, c, s0, s1 = state_span(opt, part, start + at, LANE, lane)
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
def limit_weights(opt, layer, n_onehot, width, channel, deltas, dense, table, factors, lo, hi):
    """Scale the incoming weights of units down where the sum of their squares is above max_w2 (algorithm.md#max_w2).

    Levels are inputs like others, so each of them is looked at. In fast mode units whose gradient is 0 rest.

    Parameters
    ----------
    opt : Optimizer
    layer : (7,) int64
        Row of `Network.layers`.
    n_onehot : int
        One-hot inputs of the layer.
    width : int
        Length of the layer's vectors.
    channel : int
    deltas : (width,) float32
        Gradients by the units' sums.
    dense, table : (..,) float32
        Dense part and one-hot block of the weights.
    factors : (widest,) float32
        Scratch.
    lo, hi : int
        Units of this thread.
    """
    n_out, stride, limit = layer[N_OUT], layer[STRIDE], np.float32(opt.max_w2)
    n, first = min(hi, n_out) - lo, channel * pad(n_out) + lo
    if n <= 0:
        return
    sums, mine = span(factors, 0, n), span(deltas, first, n)
    rows = span(dense, layer[WEIGHTS] + (channel * n_out + lo) * stride, n * stride)
    for j in range(n):
        row = span(rows, j * stride, stride)
        sums[j] = dot(row, row)
    for slot in range(n_onehot):
        row = span(table, slot * width + first, n)
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
        row = span(table, slot * width + first, n)
        for j in range(n):
            row[j] *= sums[j]
