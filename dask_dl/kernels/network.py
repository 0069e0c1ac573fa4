"""The network of one row: forward, backward with immediate update, and the loops over rows that threads run."""

from __future__ import annotations

import numpy as np

from dask_dl.jit import kernel
from dask_dl.kernels.atomics import LINE, fetch_add, load, now
from dask_dl.kernels.crew import ABORT, DONE, SPENT, STOP, TIMED, TIMED_ROWS, meet, rank_in, share, take
from dask_dl.kernels.layers import (
    MOST_INPUTS,
    Step,
    activate,
    add_errors,
    backward_biases,
    backward_levels,
    backward_units,
    forward_levels,
    forward_units,
    hidden_deltas,
    output_deltas,
    softmax,
)
from dask_dl.kernels.layout import N_IN, N_OUT, SOFTMAX
from dask_dl.kernels.spans import span
from dask_dl.kernels.steps import ONE, ZERO
from dask_dl.state import LANE


@kernel
def pad(n):
    """Whole lanes."""
    return (n + LANE - 1) // LANE * LANE


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
def forward(network, inputs, active, offset, table, dense, crew, acts, out):
    """One row through all layers, to probabilities or the sum in `out`, which every thread has to itself.

    acts (activations,) f4: every layer's padded activations one after another, shared by the crew, as are `table` and
    `dense`, the weights. Returns where the output's activations start.
    """
    layers = network.layers
    last = layers.shape[0] - 1
    start = 0
    for k in range(last + 1):
        n = pad(layers[k, N_OUT])
        here = span(acts, start, n)
        lo, hi = share(n, rank_in(crew, k == last), crew.size)
        with_biases = table if k == 0 and network.n_onehot > 0 else dense
        forward_units(layers[k], inputs, dense, with_biases, here, lo, hi)
        if k == 0:
            forward_levels(active, n, table, here, lo, hi)
        if k < last:
            activate(network.activation, here, lo, hi)
            start += n
        meet(crew)
        inputs = here
    for j in range(out.shape[0]):
        out[j] = inputs[j]
    if network.output == SOFTMAX:
        softmax(out, layers[last, N_OUT])
    else:
        out[0] += offset
    return start


@kernel
def rate_of(opt, n_seen):
    """(rate, momentum) for the row before which `n_seen` rows were learned (section 5.3, golden 'rows counted at once')."""
    ramp = ONE if n_seen >= opt.momentum_ramp else n_seen / opt.momentum_ramp
    decay = opt.momentum_start + ramp * (opt.momentum_stable - opt.momentum_start)
    return opt.scale * opt.rate / (1.0 + opt.rate_annealing * n_seen) * (1.0 - decay), decay


@kernel
def backward(network, opt, n_seen, inputs, active, table, dense, crew, acts, deltas, squares, none, start):
    """One row back through all layers, output first; a layer is updated as soon as its errors are passed down.

    deltas (activations,) f4 with those of the output in place; squares, none (widest,) f4, `none` all zeros: private.
    """
    layers = network.layers
    rate, decay = rate_of(opt, n_seen)
    last = layers.shape[0] - 1
    for k in range(last, -1, -1):
        n = pad(layers[k, N_OUT])
        rank = rank_in(crew, k == last)
        lo, hi = share(n, rank, crew.size)
        mine = span(deltas, start, n)
        if k < last:
            errors = crew.errors[(k + 1) & 1]
            add_errors(errors, pad(layers[k + 1, N_OUT]) // LANE, crew.size, -1, lo, hi - lo)
            hidden_deltas(network.activation, span(acts, start, n), errors[0], mine, lo, hi)
        step = Step(np.float32(rate * opt.rate_decay**k), np.float32(decay))
        sums = span(squares, lo, hi - lo)
        for j in range(hi - lo):
            sums[j] = ZERO
        n_inputs = layers[k, N_IN]
        below = 0 if k == 0 else pad(n_inputs)
        reads = inputs if k == 0 else span(acts, start - below, below)
        backward_units(opt, step, layers[k], reads, mine, dense, crew.errors[k & 1], k == 0, squares, lo, hi)
        if k == 0:
            # Of a table's inputs a row sets one per column.
            n_inputs = min(n_inputs + network.n_onehot, MOST_INPUTS * (n_inputs + active.shape[0]))
            backward_levels(opt, step, network.n_onehot, active, n, mine, none, table, squares, lo, hi)
        with_biases = table if k == 0 and network.n_onehot > 0 else dense
        backward_biases(opt, step, layers[k], n_inputs, mine, with_biases, squares, lo, hi)
        start -= below
        if k > 0:
            add_errors(crew.errors[k & 1], n // LANE, crew.size, rank, 0, below)
            meet(crew)


@kernel
def exchange(shared, own, base, first):
    """Publish what a working copy has learned and take what the others have published, without a lock.

    shared, own, base (n,) f4: shared += own - base; base = own = shared. Two threads in the same place at the same time
    may lose the step of one of them, so each begins at another place, `first`.
    """
    n = own.shape[0]
    for part in range(2):
        lo, hi = (first, n) if part == 0 else (0, first)
        mine, published, before = span(own, lo, hi - lo), span(shared, lo, hi - lo), span(base, lo, hi - lo)
        for i in range(hi - lo):
            now_there = published[i] + (mine[i] - before[i])
            published[i] = now_there
            mine[i] = now_there
            before[i] = now_there


@kernel
def train_rows(rows, stop, network, opt, n_seen, table, dense, crew, chunk, shared, base, first, scratch):
    """Visit rows up to `stop`, one step each, and return the sum of their losses before their steps.

    rows Rows, of positive weight; network Network; opt Optimizer; n_seen i8: rows learned before row 0.
    table, dense Part: one-hot block and dense part. crew Crew: the next row is `crew.control[NEXT]`, and `chunk` rows are
    taken at a time. shared, base (dense,) f4: when not empty, `dense` is a working copy, exchanged after every chunk
    beginning at `first`. scratch (`Topology.scratch_size`,) f4: private to the thread. One thread equals
    tests/naive/mlp.py.
    """
    total, widest = sizes(network)
    deltas, widths = span(scratch, 0, total), span(scratch, total, scratch.shape[0] - total)
    n_outputs = network.layers[-1, N_OUT]
    n = pad(n_outputs)
    squares, none, out = span(widths, 0, widest), span(widths, widest, widest), span(widths, 2 * widest, n)
    for i in range(scratch.shape[0]):
        scratch[i] = ZERO  # padding must be zero
    weighted, shifted = rows.weight.shape[0] > 0, rows.offset.shape[0] > 0
    own = crew.rank * LINE
    loss = 0.0
    turn = 0
    while True:
        lo = take(crew, turn, stop, chunk)
        hi = min(lo + chunk, stop)
        if lo >= stop:
            return loss
        turn += 1
        for i in range(lo, hi):
            # A crew of several stops together, in `take`, so that all have learned the same rows.
            if load(crew.control, ABORT) or (crew.size == 1 and load(crew.control, STOP)):
                hi = i
                break
            is_timed = crew.size > 1 and i % TIMED_ROWS == 0
            if is_timed:
                crew.arrived[own + TIMED] = 1
            began = now() if is_timed else 0
            weight = rows.weight[i] if weighted else ONE
            offset = rows.offset[i] if shifted else ZERO
            inputs, active = rows.dense[i], rows.active[i]
            acts = crew.acts[i & 1]  # a thread may be one row ahead of the others, never two
            start = forward(network, inputs, active, offset, table.weights, dense.weights, crew, acts, out)
            loss += output_deltas(network.output, out, n_outputs, rows.target[i], weight, span(deltas, start, n))
            backward(network, opt, n_seen + i, inputs, active, table, dense, crew, acts, deltas, squares, none, start)
            if is_timed:
                crew.arrived[own + SPENT] += now() - began
                crew.arrived[own + TIMED] = 0
        if crew.rank == 0:
            fetch_add(crew.control, DONE, hi - lo)
        if shared.shape[0] > 0:
            exchange(shared, dense.weights, base, first)
        if load(crew.control, ABORT):
            return loss


@kernel
def predict_rows(rows, lo, hi, network, table, dense, crew, out, scratch):
    """Write the outputs of rows [lo, hi), probabilities or a number with its offset, to `out` (n, n_outputs) f4.

    table, dense f4: one-hot block and dense part of the weights. scratch (padded outputs,) f4.
    """
    shifted = rows.offset.shape[0] > 0
    for i in range(lo, hi):
        offset = rows.offset[i] if shifted else ZERO
        forward(network, rows.dense[i], rows.active[i], offset, table, dense, crew, crew.acts[0], scratch)
        for j in range(out.shape[1]):
            out[i, j] = scratch[j]
