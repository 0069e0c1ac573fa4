"""The network of one row: forward, backward with immediate update, and the loops over rows that threads run."""

from __future__ import annotations

import numpy as np

from dask_dl.jit import inlined, kernel
from dask_dl.kernels.layout import BIASES, N_IN, N_OUT, RECTIFIER, SOFTMAX, STRIDE, WEIGHTS
from dask_dl.kernels.steps import (
    ADADELTA,
    MOMENTUM,
    ONE,
    PLAIN,
    TWO,
    ZERO,
    adadelta,
    gradient,
    momentum,
    plain,
    squared_gradients,
)


@kernel
def pad(n):
    """Whole lanes of 16."""
    return (n + 15) // 16 * 16


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


@kernel
def forward_units(layer, inputs, flat, out, lo, hi):
    """Pre-activations of units [lo, hi): bias plus dense inputs."""
    stride = layer[STRIDE]
    for j in range(lo, hi):
        start = layer[WEIGHTS] + j * stride
        out[j] = flat[layer[BIASES] + j] + dot(flat[start : start + stride], inputs)


@kernel
def forward_levels(active, stride, flat, out, lo, hi):
    """Adds to the first layer's units [lo, hi) what the active one-hot slots feed."""
    for c in range(active.shape[0]):
        if active[c] >= 0:
            row = flat[active[c] * stride : active[c] * stride + stride]
            for j in range(lo, hi):
                out[j] += row[j]


@kernel
def activate(kind, out, lo, hi):
    """Hidden activations of units [lo, hi), in place."""
    if kind == RECTIFIER:
        for j in range(lo, hi):
            out[j] = max(out[j], ZERO)
    else:
        for j in range(lo, hi):
            out[j] = np.tanh(out[j])


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


@kernel
def forward(network, dense, active, offset, flat, acts):
    """One row through all layers. `acts` holds every layer's padded activations one after another."""
    layers = network.layers
    last = layers.shape[0] - 1
    start = 0
    inputs = dense
    for k in range(last + 1):
        n = layers[k, N_OUT]
        out = acts[start : start + pad(n)]
        forward_units(layers[k], inputs, flat, out, 0, n)
        if k == 0:
            forward_levels(active, pad(n), flat, out, 0, n)
        if k < last:
            activate(network.activation, out, 0, n)
            inputs = out
            start += pad(n)
    out = acts[start : start + pad(layers[last, N_OUT])]
    if network.output == SOFTMAX:
        softmax(out, layers[last, N_OUT])
    else:
        out[0] += offset
    return start


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
def hidden_deltas(kind, acts, errors, deltas, n):
    """Slopes by the pre-activations of a hidden layer from those by its activations."""
    if kind == RECTIFIER:
        for j in range(n):
            deltas[j] = errors[j] if acts[j] > ZERO else ZERO
    else:
        for j in range(n):
            deltas[j] = errors[j] * (ONE - acts[j] * acts[j])


@kernel
def rate_of(opt, n_seen):
    """(rate, momentum) for the row before which `n_seen` rows were learned (section 5.3, golden 'rows counted at once')."""
    ramp = ONE if n_seen >= opt.momentum_ramp else n_seen / opt.momentum_ramp
    decay = opt.momentum_start + ramp * (opt.momentum_stable - opt.momentum_start)
    return opt.rate / (1.0 + opt.rate_annealing * n_seen) * (1.0 - decay), decay


@inlined
def update(opt, rate, decay, a, d, w, state0, state1):
    """One optimizer step on one vector."""
    l1, l2 = np.float32(opt.l1), np.float32(opt.l2)
    if opt.kind == ADADELTA:
        adadelta(a, d, w, state0, state1, np.float32(opt.rho), np.float32(opt.epsilon), l1, l2, opt.fast_mode)
    elif opt.kind == MOMENTUM:
        momentum(a, d, w, state0, rate, decay, opt.nesterov, l1, l2, opt.fast_mode)
    else:
        plain(a, d, w, rate, l1, l2, opt.fast_mode)


@kernel
def backward_units(opt, rate, decay, layer, inputs, deltas, flat, state0, state1, errors, squares, lo, hi):
    """Errors to the layer below (none when `errors` is empty) and the update of units [lo, hi).

    Errors use the weights as they were before this row's step (section 5.1). `squares` receives, per unit, the sum of
    squared slopes of its dense weights: ADADELTA's rule for biases.
    """
    stride = layer[STRIDE]
    l1, l2 = np.float32(opt.l1), np.float32(opt.l2)
    penalised = l1 != ZERO or l2 != ZERO
    skip = opt.fast_mode or (opt.kind == PLAIN and not penalised)
    square = dot(inputs, inputs)
    for j in range(lo, hi):
        d = deltas[j]
        if skip and d == ZERO:
            continue
        start = layer[WEIGHTS] + j * stride
        stop = start + stride
        w = flat[start:stop]
        if errors.shape[0] > 0:
            add_scaled(errors, d, w)
        if opt.kind == ADADELTA:
            squares[j] = squared_gradients(inputs, d, w, l1, l2, opt.fast_mode) if penalised else d * d * square
        update(opt, rate, decay, inputs, d, w, state0[start:stop], state1[start:stop])


@kernel
def backward_level(opt, rate, decay, slot, is_active, deltas, none, flat, state0, state1, squares, lo, hi):
    """Update of one one-hot slot's weights to units [lo, hi); `none` is a vector of zeros, the slope of an absent level."""
    stride = deltas.shape[0]
    start, stop = slot * stride + lo, slot * stride + hi
    w = flat[start:stop]
    a = deltas[lo:hi] if is_active else none[lo:hi]
    l1, l2 = np.float32(opt.l1), np.float32(opt.l2)
    if opt.kind == ADADELTA:
        for j in range(hi - lo):
            g = gradient(a[j], ONE, w[j], l1, l2, opt.fast_mode)
            squares[lo + j] += g * g
    update(opt, rate, decay, a, ONE, w, state0[start:stop], state1[start:stop])


@kernel
def backward_levels(opt, rate, decay, n_onehot, active, deltas, none, flat, state0, state1, squares, lo, hi):
    """Update of the one-hot weights: the active ones, and without fast_mode the absent ones too."""
    if opt.fast_mode or (opt.kind == PLAIN and opt.l1 == 0 and opt.l2 == 0):
        for c in range(active.shape[0]):
            if active[c] >= 0:
                backward_level(opt, rate, decay, active[c], True, deltas, none, flat, state0, state1, squares, lo, hi)
        return
    for slot in range(n_onehot):
        is_active = False
        for c in range(active.shape[0]):
            is_active |= active[c] == slot
        backward_level(opt, rate, decay, slot, is_active, deltas, none, flat, state0, state1, squares, lo, hi)


@kernel
def backward_biases(opt, rate, decay, layer, n_inputs, deltas, flat, state0, state1, squares, lo, hi):
    """Biases of units [lo, hi). Under ADADELTA their running means follow the mean squared slope of the unit's weights."""
    start, stop = layer[BIASES] + lo, layer[BIASES] + hi
    a, w = deltas[lo:hi], flat[start:stop]
    s0, s1 = state0[start:stop], state1[start:stop]
    if opt.kind != ADADELTA:
        update(opt, rate, decay, a, ONE, w, s0, s1)
        return
    rho, epsilon = np.float32(opt.rho), np.float32(opt.epsilon)
    for j in range(hi - lo):
        if opt.fast_mode and a[j] == ZERO:
            continue
        q = squares[lo + j] / np.float32(n_inputs)
        s0[j] = rho * s0[j] + (ONE - rho) * q
        ratio = (s1[j] + epsilon) / (s0[j] + epsilon)
        s1[j] = rho * s1[j] + (ONE - rho) * (ratio * q)
        w[j] -= np.sqrt(ratio) * gradient(a[j], ONE, w[j], np.float32(opt.l1), np.float32(opt.l2), opt.fast_mode)


@kernel
def backward(
    network, opt, n_seen, dense, active, acts, deltas, errors, squares, none, flat, state0, state1, last_start
):
    """One row back through all layers, output first, each layer updated as soon as its errors are passed down."""
    layers = network.layers
    rate, decay = rate_of(opt, n_seen)
    start = last_start
    for k in range(layers.shape[0] - 1, -1, -1):
        n = layers[k, N_OUT]
        mine = deltas[start : start + pad(n)]
        below = start
        inputs = dense
        passed = errors[:0]
        if k > 0:
            below = start - pad(layers[k, N_IN])
            inputs = acts[below:start]
            passed = errors[: pad(layers[k, N_IN])]
            passed[:] = ZERO
        step = np.float32(rate * opt.rate_decay**k)
        drag = np.float32(decay)
        squares[:n] = ZERO
        backward_units(opt, step, drag, layers[k], inputs, mine, flat, state0, state1, passed, squares, 0, n)
        n_inputs = layers[k, N_IN]
        if k == 0:
            n_inputs += network.n_onehot
            backward_levels(opt, step, drag, network.n_onehot, active, mine, none, flat, state0, state1, squares, 0, n)
        backward_biases(opt, step, drag, layers[k], n_inputs, mine, flat, state0, state1, squares, 0, n)
        if k > 0:
            hidden_deltas(network.activation, inputs, passed, deltas[below:start], layers[k, N_IN])
        start = below


@kernel
def sizes(network):
    """Length of all layers' padded activations, and of the widest layer's."""
    total, widest = 0, 0
    for k in range(network.layers.shape[0]):
        n = pad(network.layers[k, N_OUT])
        total += n
        widest = max(widest, n)
    return total, widest


@kernel
def train_rows(rows, lo, hi, network, opt, n_seen, flat, state0, state1, scratch):
    """Visit rows [lo, hi) in order, one step each, and return the sum of their losses before their steps.

    rows Rows; network Network; opt Optimizer; n_seen i8: rows learned before the first of these.
    flat (size,) f4: weights and biases as `layout` describes them; state0, state1 (size,) f4 or empty: `N_STATES`.
    scratch (`layout.Topology.scratch_size`,) f4: private to the thread. A row of weight 0 is passed over.
    One thread equals tests/naive/mlp.py.
    """
    total, widest = sizes(network)
    acts, deltas = scratch[:total], scratch[total : 2 * total]
    widths = scratch[2 * total :]
    errors, squares, none = widths[:widest], widths[widest : 2 * widest], widths[2 * widest : 3 * widest]
    acts[:] = ZERO  # padding must be zero
    deltas[:] = ZERO
    none[:] = ZERO
    n_outputs = network.layers[-1, N_OUT]
    weighted, shifted = rows.weight.shape[0] > 0, rows.offset.shape[0] > 0
    loss = 0.0
    for i in range(lo, hi):
        weight = rows.weight[i] if weighted else ONE
        if weight == ZERO:
            continue
        offset = rows.offset[i] if shifted else ZERO
        dense, active = rows.dense[i], rows.active[i]
        start = forward(network, dense, active, offset, flat, acts)
        loss += output_deltas(network.output, acts[start:], n_outputs, rows.target[i], weight, deltas[start:])
        backward(network, opt, n_seen, dense, active, acts, deltas, errors, squares, none, flat, state0, state1, start)
        n_seen += 1
    return loss


@kernel
def predict_rows(rows, lo, hi, network, flat, out, scratch):
    """Write the outputs of rows [lo, hi), probabilities or a number with its offset, to `out` (n, n_outputs) f4."""
    acts = scratch
    acts[:] = ZERO
    shifted = rows.offset.shape[0] > 0
    for i in range(lo, hi):
        offset = rows.offset[i] if shifted else ZERO
        start = forward(network, rows.dense[i], rows.active[i], offset, flat, acts)
        for j in range(out.shape[1]):
            out[i, j] = acts[start + j]
