"""One layer of one row: forward, backward with immediate update, each for the units [lo, hi) that a thread owns.

Unit ranges are whole lanes (`crew.share`). Loops over single units stop at the layer's last one; loops over vectors run over
the padding too, which stays zero. So the arithmetic of a unit does not depend on who else shares the row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dask_dl.jit import inlined, kernel
from dask_dl.kernels.crew import owner
from dask_dl.kernels.layout import BIASES, N_OUT, RECTIFIER, SOFTMAX, STRIDE, WEIGHTS
from dask_dl.kernels.spans import span
from dask_dl.kernels.steps import (
    ADADELTA,
    MOMENTUM,
    ONE,
    PLAIN,
    TWO,
    ZERO,
    Penalty,
    adadelta,
    gradient,
    has_penalty,
    momentum,
    plain,
    squared_gradients,
)
from dask_dl.state import LANE

if TYPE_CHECKING:
    from numpy.typing import NDArray


#: Inputs per column of the table that count, at most, in the mean of ADADELTA's rule for biases. The mean over all inputs
#: would be near zero for columns of a thousand levels, and the steps of the biases so large that nothing is learned.
MOST_INPUTS = 8


class Part(NamedTuple):
    """Weights with their optimizer state: the one-hot block, or the dense part, of the flat vectors."""

    weights: NDArray[np.float32]
    state0: NDArray[np.float32]  #: as long as the weights; empty where the optimizer has none: `steps.N_STATES`
    state1: NDArray[np.float32]
    center: NDArray[np.float32]  #: the consensus, as long as the weights; empty where nothing pulls: `Optimizer.pull`

    @property
    def states(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The optimizer's state."""
        return self.state0, self.state1


class Step(NamedTuple):
    """What the optimizer does at this row in this layer."""

    rate: np.float32
    decay: np.float32  #: momentum


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
def forward_units(layer, inputs, weights, with_biases, out, lo, hi):
    """Pre-activations of units: bias plus dense inputs."""
    n, stride = min(hi, layer[N_OUT]) - lo, layer[STRIDE]
    mine, biases = span(out, lo, n), span(with_biases, layer[BIASES] + lo, n)
    rows = span(weights, layer[WEIGHTS] + lo * stride, n * stride)
    for j in range(n):
        mine[j] = biases[j] + dot(span(rows, j * stride, stride), inputs)


@kernel
def forward_levels(active, stride, weights, out, lo, hi):
    """Adds to the first layer's units what the active one-hot slots feed."""
    for c in range(active.shape[0]):
        if active[c] >= 0:
            add_scaled(span(out, lo, hi - lo), ONE, span(weights, active[c] * stride + lo, hi - lo))


@kernel
def activate(kind, out, lo, hi):
    """Hidden activations of units, in place."""
    mine = span(out, lo, hi - lo)
    if kind == RECTIFIER:
        for i in range(mine.shape[0]):
            mine[i] = max(mine[i], ZERO)
    else:
        for i in range(mine.shape[0]):
            mine[i] = np.tanh(mine[i])


@kernel
def softmax(out, n):
    """Probabilities from the first n numbers of `out`, in place."""
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
def output_deltas(kind, out, n, target, weight, deltas):
    """Slopes of the loss by the output's pre-activations (section 4). Returns the loss of the row."""
    if kind == SOFTMAX:
        label = np.int64(target)
        for j in range(n):
            deltas[j] = weight * out[j]
        deltas[label] -= weight
        return -weight * np.log(max(out[label], np.float32(1e-15)))
    residual = out[0] - target
    deltas[0] = weight * TWO * residual
    return weight * residual * residual


@kernel
def add_errors(errors, n_lanes, size, rank, start, n):
    """Part of the sum of all lanes' error vectors, pairwise: 0 + 1, 2 + 3, ..., then (0 1) + (2 3), ..., into the left one.

    errors (lanes, widest) f4. With a rank: pairs of lanes that all belong to this thread, which adds them before others
    read. With rank -1: all other pairs. Which numbers are added to which never depends on the number of threads, and others
    have little to fetch.
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
def hidden_deltas(kind, acts, errors, deltas, lo, hi):
    """Slopes by the pre-activations of hidden units from those by their activations."""
    act, error, mine = span(acts, lo, hi - lo), span(errors, lo, hi - lo), span(deltas, lo, hi - lo)
    if kind == RECTIFIER:
        for i in range(mine.shape[0]):
            mine[i] = error[i] if act[i] > ZERO else ZERO
    else:
        for i in range(mine.shape[0]):
            mine[i] = error[i] * (ONE - act[i] * act[i])


@inlined
def penalty_of(opt, part):
    """The penalties on these weights: nothing pulls where there is no consensus."""
    pull = opt.pull if part.center.shape[0] > 0 else 0.0
    return Penalty(np.float32(opt.l1), np.float32(opt.l2), np.float32(pull))


@inlined
def update(opt, step, penalty, a, d, w, c, state0, state1):
    """One optimizer step on one vector of whole lanes."""
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

    Where nothing pulls, the inputs `a` (n,) stand in for the consensus, so that a loop may read it and use it or not.
    """
    has0, has1 = opt.kind != PLAIN, opt.kind == ADADELTA
    state0 = span(part.state0, start if has0 else 0, n if has0 else 0)
    state1 = span(part.state1, start if has1 else 0, n if has1 else 0)
    c = span(part.center, start, n) if part.center.shape[0] > 0 else a
    return span(part.weights, start, n), c, state0, state1


# Inlined down to the loops, although they are not small: the arrays of two `Part`s, passed through three calls, took a
# fifth of the time of rows of levels.
@inlined
def backward_units(opt, step, layer, inputs, deltas, part, errors, is_first, squares, lo, hi):
    """Errors to the layer below (none under the first) and the update of units.

    errors (lanes, widest) f4 receives a vector for each lane of units: `add_errors` adds them up. They use the weights as they
    were before this row's step (section 5.1). `squares` receives, per unit, the sum of squared slopes of its dense
    weights: ADADELTA's rule for biases.
    """
    penalty = penalty_of(opt, part)
    penalised = has_penalty(penalty)
    skip = opt.fast_mode or (opt.kind == PLAIN and not penalised)
    square = dot(inputs, inputs)
    stride, n = layer[STRIDE], min(hi, layer[N_OUT]) - lo
    mine, sums = span(deltas, lo, n), span(squares, lo, n)
    for at in range(0, n, LANE):
        passed = span(errors[(lo + at) // LANE], 0, stride)
        if not is_first:
            for i in range(stride):
                passed[i] = ZERO
        for j in range(at, min(at + LANE, n)):
            d = mine[j]
            if skip and d == ZERO:
                continue
            w, c, state0, state1 = state_span(opt, part, layer[WEIGHTS] + (lo + j) * stride, stride, inputs)
            if not is_first:
                add_scaled(passed, d, w)
            if opt.kind == ADADELTA:
                sums[j] = squared_gradients(inputs, d, w, c, penalty, opt.fast_mode) if penalised else d * d * square
            update(opt, step, penalty, inputs, d, w, c, state0, state1)


@inlined
def update_vector(opt, step, part, start, a, n):
    """One optimizer step on n weights whose slopes are `a`, a lane at a time.

    Where a vector is cut between threads must not decide which of a loop's variants a number meets.
    """
    penalty = penalty_of(opt, part)
    for at in range(0, n, LANE):
        lane = span(a, at, LANE)
        w, c, state0, state1 = state_span(opt, part, start + at, LANE, lane)
        update(opt, step, penalty, lane, ONE, w, c, state0, state1)


@inlined
def backward_level(opt, step, slot, stride, slopes, part, squares, lo, hi):
    """Update of one one-hot slot's weights to units; `slopes`: the deltas, or zeros for an absent level."""
    start, n = slot * stride + lo, hi - lo
    a = span(slopes, lo, n)
    if opt.kind == ADADELTA:
        penalty, sums = penalty_of(opt, part), span(squares, lo, n)
        penalised = has_penalty(penalty)
        w, c, _, _ = state_span(opt, part, start, n, a)
        for j in range(n):
            g = gradient(a[j], ONE, w[j], c[j], penalty, opt.fast_mode) if penalised else a[j]
            sums[j] += g * g
    update_vector(opt, step, part, start, a, n)


@inlined
def backward_levels(opt, step, n_onehot, active, stride, deltas, none, part, squares, lo, hi):
    """Update of the one-hot weights: the active ones, and without fast_mode the absent ones too."""
    if opt.fast_mode or (opt.kind == PLAIN and not has_penalty(penalty_of(opt, part))):
        for c in range(active.shape[0]):
            if active[c] >= 0:
                backward_level(opt, step, active[c], stride, deltas, part, squares, lo, hi)
        return
    for slot in range(n_onehot):
        is_active = False
        for c in range(active.shape[0]):
            is_active |= active[c] == slot
        backward_level(opt, step, slot, stride, deltas if is_active else none, part, squares, lo, hi)


@inlined
def backward_biases(opt, step, layer, n_inputs, deltas, part, squares, lo, hi):
    """Biases of units. Under ADADELTA their running means follow the mean squared slope of the unit's weights."""
    if opt.kind != ADADELTA:
        update_vector(opt, step, part, layer[BIASES] + lo, span(deltas, lo, hi - lo), hi - lo)
        return
    n = min(hi, layer[N_OUT]) - lo
    a, sums = span(deltas, lo, n), span(squares, lo, n)
    w, c, s0, s1 = state_span(opt, part, layer[BIASES] + lo, n, a)
    rho, epsilon, scale = np.float32(opt.rho), np.float32(opt.epsilon), np.float32(opt.scale)
    penalty = penalty_of(opt, part)
    for j in range(n):
        if opt.fast_mode and a[j] == ZERO:
            continue
        q = sums[j] / np.float32(n_inputs)
        s0[j] = rho * s0[j] + (ONE - rho) * q
        ratio = (s1[j] + epsilon) / (s0[j] + epsilon)
        s1[j] = rho * s1[j] + (ONE - rho) * (ratio * q)
        w[j] -= scale * np.sqrt(ratio) * gradient(a[j], ONE, w[j], c[j], penalty, opt.fast_mode)
