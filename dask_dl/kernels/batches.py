"""Mini-batches (algorithm.md#mini-batches): the gradients of some rows, divided by the size of a full batch, make one update.

A layer's units are shared among the threads of a team as for single rows, by whole lanes; every number is summed in the same
order whoever owns its unit, so that the bits do not depend on the number of threads.

B is the number of rows of a full batch. Vectors of a layer (`Topology.widths` long) lie row by row, a block for each layer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dask_dl.jit import inlined, kernel
from dask_dl.kernels.atomics import LINE, fetch_add, load, now
from dask_dl.kernels.gemm import ROWS, add_dots, combine, flattened
from dask_dl.kernels.layers import (
    MAX_INPUTS,
    StepSize,
    activate,
    add_scaled,
    backward_biases,
    backward_level,
    follow_means,
    forward_levels,
    hidden_deltas,
    limit_weights,
    pad,
    penalty_of,
    softmax,
    state_span,
    update,
)
from dask_dl.kernels.layout import BIASES, CHANNELS, MEANS, N_IN, N_OUT, SOFTMAX, STRIDE, WEIGHTS
from dask_dl.kernels.losses import output_deltas
from dask_dl.kernels.network import collect, draw_masks, drop_numbers, exchange, rate_of, sizes, width_of
from dask_dl.kernels.optimizers import ADADELTA, ONE, PLAIN, ZERO, has_penalty, squared_gradients
from dask_dl.kernels.spans import span
from dask_dl.kernels.team import ABORT, DONE, SPENT, STOP, TIMED, barrier, next_chunk, rank_in, unit_range
from dask_dl.state import padded

if TYPE_CHECKING:
    from dask_dl.kernels.layout import Topology
    from dask_dl.kernels.optimizers import Optimizer
    from dask_dl.state import Rows

#: The gradient of a bias whose rows' gradients add up to nothing, unlike that of a unit without any.
CANCELLED = np.float32(1e-30)


def scratch_size(topology: Topology, opt: Optimizer) -> int:
    """float32 numbers that each thread needs to itself: see `train_batches`."""
    total, widest = sum(topology.widths), max(topology.widths)
    masks = total if any(topology.dropout) else 0
    inputs = padded(topology.n_dense) if opt.input_kept < 1 else 0
    longest = max(padded(n) for n in (topology.n_dense, *topology.hidden))
    return 4 * widest + opt.batch * (topology.widths[-1] + widest + masks + inputs) + ROWS * longest


def max_active(rows: Rows, batch: int) -> int:
    """One-hot inputs that are active in a batch of rows, at most."""
    n_slots = int(rows.active.shape[1])
    return min(batch * (n_slots + rows.entries.longest), rows.n * n_slots + rows.entries.n)


def marks_size(n_onehot: int, batch: int, n_active: int) -> int:
    """int32 numbers that each thread needs to itself, for batches with so many active one-hot inputs."""
    return n_onehot + 4 * n_active + batch + 1


def buffer_size(topology: Topology, opt: Optimizer, n_slots: int) -> int:
    """Numbers of 4 bytes of a team's buffers and of a thread's scratch, for rows with so many active one-hot inputs."""
    n_active = opt.batch * n_slots
    if opt.batch == 1:
        return topology.buffer_size + 2 * n_active
    activations = 2 * opt.batch * topology.buffers[0]
    return activations + scratch_size(topology, opt) + marks_size(topology.n_onehot, opt.batch, n_active) + n_active


@kernel
def forward_batch(network, b, inputs, first, slots, values, edges, table, dense, team, masks, total, size):
    """Carry the rows of a batch through all layers, to the sums of the output.

    Parameters
    ----------
    network : Network
    b : int
        Rows of this batch.
    inputs : (..,) float32
        Numeric inputs, row by row, each as long as the first layer's stride.
    first : int
        Place of the first row in `inputs`.
    slots, values : (max_active,) int32, float32
        Active one-hot inputs and their values: `collect_batch`.
    edges : (B + 1,) int32
        Place in `slots` where each row begins, and the end.
    table, dense : (..,) float32
        One-hot block and dense part of the weights.
    team : Team
        Its `acts`, (2, B activations), receive activations, and the gradients of tanh.
    masks : (B total,) float32
        Masks of hidden units; or empty: then activations are scaled by the share that training keeps.
    total : int
        Activations of a row.
    size : int
        B, the rows of a full batch.

    Returns
    -------
    int
        Place of the output's sums in the activations of one row.
    """
    layers = network.layers
    last = layers.shape[0] - 1
    acts, gradients = team.acts[0], team.acts[1]
    reads, start, length = inputs, first, layers[0, STRIDE]
    block = 0
    for k in range(last + 1):
        layer = layers[k]
        n_out, stride = layer[N_OUT], layer[STRIDE]
        n, width = pad(n_out), width_of(layer)
        with_biases = table if k == 0 and network.n_onehot > 0 else dense
        masked = masks.shape[0] > 0 and k < last and network.kept[k] < ONE
        lo, hi = unit_range(n, rank_in(team, k == last), team.size)
        m = max(0, min(hi, n_out) - lo)
        for channel in range(layer[CHANNELS]):
            place = channel * n + lo
            biases = span(with_biases, layer[BIASES] + place, m)
            for i in range(b):
                out = span(acts, size * block + i * width + place, m)
                for j in range(m):
                    out[j] = biases[j]
            add_dots(
                acts, size * block + place, width, b, reads, start, length,
                m, dense, layer[WEIGHTS] + (channel * n_out + lo) * stride, stride, stride,
            )  # fmt: skip
            if k == 0:
                for i in range(b):
                    out = span(acts, size * block + i * width, width)
                    forward_levels(slots, values, edges[i], edges[i + 1], width, table, out, place, channel * n + hi)
        if k < last:
            for i in range(b):
                here = size * block + i * width
                mask = span(masks, i * total + block if masked else 0, n if masked else 0)
                activate(
                    network.activation,
                    span(acts, here, width),
                    span(gradients, here, n),
                    mask,
                    network.kept[k],
                    n,
                    lo,
                    hi,
                )
        barrier(team)
        reads, start, length = acts, size * block, width
        block += width
    return block - width_of(layers[last])


@kernel
def collect_batch(rows, begin, b, kept, slots, values, edges):
    """Collect the active one-hot inputs of b rows, one after another: see `network.collect`.

    Parameters
    ----------
    rows : Rows
    begin : int
        First row.
    b : int
        Number of rows.
    kept : float32
        Share of inputs that a row keeps.
    slots, values : (max_active,) int32, float32
        Receive the inputs and their values.
    edges : (B + 1,) int32
        Receives the place where each row begins, and the end.
    """
    edges[0] = 0
    for i in range(b):
        _, edges[i + 1] = collect(rows, begin + i, kept, slots, values, edges[i])


@kernel
def chain_slots(slots, edges, b, heads, links, owners, seen):
    """Make a list of rows for each active one-hot input that occurs.

    Parameters
    ----------
    slots : (max_active,) int32
        Active inputs, row after row.
    edges : (B + 1,) int32
        Place in `slots` where each row begins, and the end.
    b : int
        Number of rows.
    heads : (one-hot inputs,) int32
        All -1 before; receives the last place in `slots` with each input.
    links, owners : (max_active,) int32
        Receive, for each place, the place before it in its list, -1 at its end, and the row.
    seen : (max_active,) int32
        Receives the inputs that occur.

    Returns
    -------
    int
        Number of inputs that occur.
    """
    n_seen = 0
    for i in range(b):
        for e in range(edges[i], edges[i + 1]):
            slot = slots[e]
            if heads[slot] < 0:
                seen[n_seen] = slot
                n_seen += 1
            links[e], owners[e] = heads[slot], i
            heads[slot] = e
    return n_seen


@kernel
def add_rows(place, links, owners, values, deltas, start, width, total, lo, hi):
    """Sum the deltas of a list's rows, times the values that the input has there.

    Parameters
    ----------
    place : int
        Head of the list; -1: it is empty.
    links, owners : (max_active,) int32
        Lists and rows: see `chain_slots`.
    values : (max_active,) float32
        Value of the input at each place.
    deltas : (..,) float32
        Deltas of the rows, each `width` long.
    start : int
        Place of the first row in `deltas`.
    width : int
        Length of the layer's vectors.
    total : (widest,) float32
        Receives the sum in [lo, hi).
    lo, hi : int
        Part of the layer's vectors.
    """
    out = span(total, lo, hi - lo)
    for j in range(hi - lo):
        out[j] = ZERO
    while place >= 0:
        add_scaled(out, values[place], span(deltas, start + owners[place] * width + lo, hi - lo))
        place = links[place]


@inlined
def update_units(
    opt, step, layer, channel, b, reads, start, length, deltas, place, width, dense, gradients, squares, sums, living, lo, hi
):  # fmt: skip
    """Update a thread's dense weights of one channel.

    Parameters
    ----------
    opt : Optimizer
    step : StepSize
    layer : (7,) int64
        Row of `Network.layers`.
    channel : int
    b : int
        Rows of the batch.
    reads : (..,) float32
        Inputs of the layer, row by row.
    start, length : int
        Place of the first row in `reads`, and from one row to the next.
    deltas : (..,) float32
        Deltas of the layer's units, row by row.
    place, width : int
        Place of the first row in `deltas`, and from one row to the next.
    dense : WeightBlock
    gradients : (ROWS stride,) float32
        Scratch.
    squares : (widest,) float32
        Receives the sums of squared gradients of each unit's weights, under ADADELTA.
    sums : (widest,) float32
        Receives the biases' gradients, 0 where no row has one.
    living : (widest,) float32
        Scratch.
    lo, hi : int
        Units of this thread.
    """
    n_out, stride = layer[N_OUT], layer[STRIDE]
    m, first = max(0, min(hi, n_out) - lo), channel * pad(n_out) + lo
    mine, squared = span(sums, first, hi - lo), span(squares, first, hi - lo)
    for j in range(hi - lo):
        mine[j] = squared[j] = living[j] = ZERO
    for i in range(b):
        row = span(deltas, place + i * width + first, m)
        for j in range(m):
            mine[j] += row[j]
            living[j] += abs(row[j])
    for j in range(m):
        if mine[j] == ZERO and living[j] > ZERO:
            mine[j] = CANCELLED
    penalty = penalty_of(opt, dense)
    skip = opt.fast_mode or (opt.kind == PLAIN and not has_penalty(penalty))
    for first_unit in range(0, m, ROWS):
        count = min(ROWS, m - first_unit)
        combine(
            gradients, 0, stride, deltas, place + first + first_unit, 1, width, count, reads, start, length, b, stride
        )
        for j in range(first_unit, first_unit + count):
            if skip and mine[j] == ZERO:
                continue
            a = span(gradients, (j - first_unit) * stride, stride)
            w, c, state0, state1 = state_span(
                opt, dense, layer[WEIGHTS] + (channel * n_out + lo + j) * stride, stride, a
            )
            if opt.kind == ADADELTA:
                squared[j] = squared_gradients(a, ONE, w, c, penalty, opt.fast_mode)
            update(opt, step, penalty, a, ONE, w, c, state0, state1)


@kernel
def backward_batch(
    network, opt, n_seen, b, inputs, first, values, n_columns, table, dense, team, masks, total, size, out, heads, links,
    owners, seen, n_levels, errors, more, gradients, squares, spare, sums, living,
):  # fmt: skip
    """Carry the errors of a batch back through all layers, output first.

    A layer is updated when the errors of all rows have been passed down.

    Parameters
    ----------
    network : Network
    opt : Optimizer
    n_seen : int
        Rows learned before this batch.
    b : int
        Rows of this batch.
    inputs : (..,) float32
        Numeric inputs, row by row.
    first : int
        Place of the first row in `inputs`.
    values : (max_active,) float32
        Values of the active one-hot inputs.
    n_columns : int
        Columns of the table that are inputs.
    table, dense : WeightBlock
        One-hot block and dense part.
    team : Team
        Its `acts` hold activations and gradients; the latter become deltas.
    masks : (B total,) float32
        Masks of hidden units, or empty.
    total : int
        Activations of a row.
    size : int
        B, the rows of a full batch.
    out : (B padded outputs,) float32
        Gradients by the output's sums, row by row.
    heads : (one-hot inputs,) int32
        Last place of each active input: `chain_slots`.
    links, owners, seen : (max_active,) int32
        Lists, rows and inputs that occur: `chain_slots`.
    n_levels : int
        Number of inputs in `seen`.
    errors : (B widest,) float32
        Scratch: errors passed down by the first channel, then by all.
    more : (B (widest // 2),) float32
        Scratch: errors passed down by the second channel.
    gradients : (ROWS stride,) float32
        Scratch, as long as the longest row of weights needs it.
    squares, spare, sums, living : (widest,) float32
        Scratch.
    """
    layers = network.layers
    last = layers.shape[0] - 1
    rate, decay = rate_of(opt, n_seen)
    acts, deltas = team.acts[0], team.acts[1]
    block = 0
    for k in range(last):
        block += width_of(layers[k])
    for k in range(last, -1, -1):
        layer = layers[k]
        n_out, stride = layer[N_OUT], layer[STRIDE]
        n, width = pad(n_out), width_of(layer)
        mine, place = out, 0
        if k < last:
            mine, place = deltas, size * block
        block_below, reads, start, length = 0, inputs, first, stride
        if k > 0:
            below = layers[k - 1]
            n_below, width_below = pad(below[N_OUT]), width_of(below)
            block_below = block - width_below
            reads, start, length = acts, size * block_below, width_below
            masked = masks.shape[0] > 0 and network.kept[k - 1] < ONE
            lo, hi = unit_range(n_below, rank_in(team, False), team.size)
            for channel in range(layer[CHANNELS]):
                there = errors if channel == 0 else more
                combine(
                    there, lo, n_below, mine, place + channel * n, width, 1, b, dense.weights,
                    layer[WEIGHTS] + channel * n_out * stride + lo, stride, n_out, hi - lo,
                )  # fmt: skip
            for i in range(b):
                error = span(errors, i * n_below, n_below)
                if layer[CHANNELS] > 1:
                    add_scaled(span(error, lo, hi - lo), ONE, span(more, i * n_below + lo, hi - lo))
                mask = span(masks, i * total + block_below if masked else 0, n_below if masked else 0)
                here = size * block_below + i * width_below
                hidden_deltas(
                    network.activation, span(acts, here, width_below), error, mask, span(deltas, here, width_below),
                    n_below, lo, hi,
                )  # fmt: skip
            barrier(team)
        step = StepSize(np.float32(rate * opt.rate_decay**k), np.float32(decay))
        n_onehot = network.n_onehot if k == 0 else 0
        n_inputs = layer[N_IN]
        if k == 0:
            n_inputs = min(n_inputs + n_onehot, MAX_INPUTS * n_columns)
        with_biases = table if k == 0 and network.n_onehot > 0 else dense
        all_levels = not opt.fast_mode and (opt.kind != PLAIN or has_penalty(penalty_of(opt, table)))
        lo, hi = unit_range(n, rank_in(team, k == last), team.size)
        m = max(0, min(hi, n_out) - lo)
        for channel in range(layer[CHANNELS] if m > 0 else 0):
            update_units(
                opt, step, layer, channel, b, reads, start, length, mine, place, width, dense, gradients, squares, sums, living,
                lo, hi,
            )  # fmt: skip
            c0, c1 = channel * n + lo, channel * n + hi
            for e in range(n_onehot if all_levels else n_levels if k == 0 else 0):
                slot = e if all_levels else seen[e]
                add_rows(heads[slot], links, owners, values, mine, place, width, spare, c0, c1)
                backward_level(opt, step, slot, width, spare, table, squares, c0, c1)
            if opt.max_w2 < np.inf:
                limit_weights(opt, layer, n_onehot, width, channel, sums, dense.weights, table.weights, spare, lo, hi)
            has_means = layer[MEANS] >= 0
            means = span(dense.weights, layer[MEANS] + lo if has_means else 0, hi - lo if has_means else 0)
            backward_biases(
                opt, step, layer[BIASES] + c0, m, n_inputs, span(sums, c0, c1 - c0), means, with_biases,
                span(squares, c0, c1 - c0),
            )  # fmt: skip
        block = block_below


@kernel
def train_batches(
    rows, stop, network, objective, opt, n_seen, table, dense, team, chunk, shared, base, first, marks, values, scratch
):
    """Visit rows up to `stop` like `network.train_rows`, in batches; the last one of a chunk may be smaller.

    Parameters
    ----------
    rows : Rows
        Rows of positive weight.
    stop : int
        Row at which to stop.
    network : Network
    objective : Objective
    opt : Optimizer
        Its `batch` is B.
    n_seen : int
        Rows learned before row 0.
    table, dense : WeightBlock
        One-hot block and dense part.
    team : Team
        Its `acts` are (2, B activations).
    chunk : int
        Rows that are taken at a time, whole batches.
    shared, base : (dense,) float32
        When not empty, `dense` is a working copy, exchanged after every chunk: see `network.exchange`.
    first : int
        Place where the exchange begins.
    marks : (marks_size,) int32
        Private; the first of them, one for each one-hot input, are -1 before and after.
    values : (max_active,) float32
        Private.
    scratch : (scratch_size,) float32
        Private; zeros at first.

    Returns
    -------
    float
        Sum of the rows' losses before their steps.
    """
    size = opt.batch
    layers = network.layers
    total, widest = sizes(network)
    last = layers.shape[0] - 1
    n_outputs, n_dense, n_onehot, stride = layers[last, N_OUT], layers[0, N_IN], network.n_onehot, layers[0, STRIDE]
    n_columns, width_out = n_dense + rows.active.shape[1] + network.n_sparse, pad(n_outputs)
    drops = False
    for k in range(network.kept.shape[0]):
        drops |= network.kept[k] < ONE
    kept = np.float32(opt.input_kept)
    squares, spare = span(scratch, 0, widest), span(scratch, widest, widest)
    sums, living, at = span(scratch, 2 * widest, widest), span(scratch, 3 * widest, widest), 4 * widest
    out = span(scratch, at, size * width_out)
    at += size * width_out
    # Errors by two channels, where layers have two, and are then twice as wide.
    errors, more = span(scratch, at, size * widest), span(scratch, at + size * (widest // 2), size * (widest // 2))
    at += size * widest
    masks = span(scratch, at, size * total if drops else 0)
    at += size * total if drops else 0
    numbers = span(scratch, at, size * stride if kept < ONE else 0)
    at += size * stride if kept < ONE else 0
    gradients = span(scratch, at, scratch.shape[0] - at)
    heads, m = span(marks, 0, n_onehot), values.shape[0]
    links, owners = span(marks, n_onehot, m), span(marks, n_onehot + m, m)
    seen, slots = span(marks, n_onehot + 2 * m, m), span(marks, n_onehot + 3 * m, m)
    edges = span(marks, n_onehot + 4 * m, size + 1)
    all_numbers = flattened(rows.dense)
    weighted, shifted = rows.weight.shape[0] > 0, rows.offset.shape[0] > 0
    own = team.rank * LINE
    # Of a full batch, also where fewer rows are left: else those would count more than others, and one row as much as a batch.
    share_of_row = ONE / np.float32(size)
    loss = 0.0
    turn = 0
    while True:
        lo = next_chunk(team, turn, stop, chunk)
        hi = min(lo + chunk, stop)
        if lo >= stop:
            return loss
        turn += 1
        for begin in range(lo, hi, size):
            # A team of several stops together, in `next_chunk`, so that all have learned the same rows.
            if load(team.control, ABORT) or (team.size == 1 and load(team.control, STOP)):
                hi = begin
                break
            if begin > lo:
                barrier(team)  # the others may still read what this batch will write over
            began = now() if team.size > 1 else 0
            team.arrived[own + TIMED] = 1 if team.size > 1 else 0
            b = min(size, hi - begin)
            inputs, start = all_numbers, begin * stride
            for i in range(b):
                if drops:
                    mask = span(masks, i * total, total)
                    draw_masks(network, rows, begin + i, n_onehot + n_dense, team.rank, team.size, mask)
                if kept < ONE:
                    drop_numbers(rows, begin + i, n_onehot, n_dense, kept, span(numbers, i * stride, stride))
            if kept < ONE:
                inputs, start = numbers, 0
            collect_batch(rows, begin, b, kept, slots, values, edges)
            block = forward_batch(
                network, b, inputs, start, slots, values, edges, table.weights, dense.weights, team, masks, total, size
            )
            for i in range(b):
                answer, deltas = span(spare, 0, width_out), span(out, i * width_out, width_out)
                sums_of_row = span(team.acts[0], size * block + i * width_out, width_out)
                for j in range(width_out):
                    answer[j] = sums_of_row[j]
                if network.output == SOFTMAX:
                    softmax(answer, n_outputs)
                elif shifted:
                    answer[0] += rows.offset[begin + i]
                weight = rows.weight[begin + i] if weighted else ONE
                loss += output_deltas(objective, answer, n_outputs, rows.target[begin + i], weight, deltas)
                for j in range(n_outputs):
                    deltas[j] *= share_of_row
            if opt.sparsity_beta > 0.0:
                remember_batch(network, b, team, team.acts[0], dense.weights, size)
            n_levels = chain_slots(slots, edges, b, heads, links, owners, seen)
            backward_batch(
                network, opt, n_seen + begin, b, inputs, start, values, n_columns, table, dense, team, masks, total, size, out,
                heads, links, owners, seen, n_levels, errors, more, gradients, squares, spare, sums, living,
            )  # fmt: skip
            for e in range(n_levels):
                heads[seen[e]] = -1
            if team.size > 1:
                team.arrived[own + SPENT] += now() - began
                team.arrived[own + TIMED] = 0
        if team.rank == 0:
            fetch_add(team.control, DONE, hi - lo)
        if shared.shape[0] > 0:
            exchange(shared, dense.weights, base, first)
        if load(team.control, ABORT):
            return loss


@kernel
def remember_batch(network, b, team, acts, weights, size):
    """Update the mean activations of this thread's hidden units by the rows of a batch, one after another.

    Parameters
    ----------
    network : Network
    b : int
        Rows of this batch.
    team : Team
    acts : (B activations,) float32
        Activations, layer by layer and row by row.
    weights : (dense,) float32
        Dense part of the weights, which holds the means.
    size : int
        B, the rows of a full batch.
    """
    block = 0
    for k in range(network.layers.shape[0] - 1):
        layer = network.layers[k]
        n, width = pad(layer[N_OUT]), width_of(layer)
        if layer[MEANS] >= 0:
            lo, hi = unit_range(n, rank_in(team, False), team.size)
            for i in range(b):
                row = span(acts, size * block + i * width + lo, hi - lo)
                follow_means(span(weights, layer[MEANS] + lo, hi - lo), row)
        block += width


@kernel
def predict_batches(rows, lo, hi, network, table, dense, team, size, marks, values, out):
    """Predict rows [lo, hi): probabilities, or a number with its offset.

    Parameters
    ----------
    rows : Rows
    lo, hi : int
    network : Network
    table, dense : (..,) float32
        One-hot block and dense part of the weights.
    team : Team
        A thread alone, with buffers for batches of `size` rows.
    size : int
        Rows of a batch.
    marks : (max_active + size + 1,) int32
        Scratch.
    values : (max_active,) float32
        Scratch.
    out : (n, n_outputs) float32
        Receives the outputs.
    """
    total, _ = sizes(network)
    last = network.layers.shape[0] - 1
    stride, n_outputs, m = network.layers[0, STRIDE], network.layers[last, N_OUT], values.shape[0]
    width, shifted, none = pad(n_outputs), rows.offset.shape[0] > 0, span(team.acts[0], 0, 0)
    numbers, answers, slots, edges = flattened(rows.dense), flattened(out), span(marks, 0, m), span(marks, m, size + 1)
    for begin in range(lo, hi, size):
        b = min(size, hi - begin)
        collect_batch(rows, begin, b, ONE, slots, values, edges)
        block = forward_batch(
            network, b, numbers, begin * stride, slots, values, edges, table, dense, team, none, total, size
        )
        for i in range(b):
            sums, answer = span(team.acts[0], size * block + i * width, width), (begin + i) * n_outputs
            if network.output == SOFTMAX:
                softmax(sums, n_outputs)
            elif shifted:
                sums[0] += rows.offset[begin + i]
            for j in range(n_outputs):
                answers[answer + j] = sums[j]
