"""Network of one row: forward, backward with immediate update, and the loops over rows that threads run."""

from __future__ import annotations

import numpy as np

from dask_dl.jit import inlined, kernel
from dask_dl.kernels.atomics import LINE, fetch_add, load, now
from dask_dl.kernels.dropout import is_kept, key_of, limit_of, mask_of
from dask_dl.kernels.layers import (
    MAX_INPUTS,
    StepSize,
    activate,
    add_errors,
    backward_biases,
    backward_levels,
    backward_units,
    follow_means,
    forward_levels,
    forward_units,
    hidden_deltas,
    limit_weights,
    pad,
    softmax,
)
from dask_dl.kernels.layout import BIASES, CHANNELS, MEANS, N_IN, N_OUT, SOFTMAX, STRIDE
from dask_dl.kernels.losses import output_deltas
from dask_dl.kernels.optimizers import ONE, ZERO
from dask_dl.kernels.prefetch import FAR, fetch_level
from dask_dl.kernels.spans import span
from dask_dl.kernels.team import ABORT, DONE, SPENT, STOP, TIMED, TIMED_ROWS, barrier, next_chunk, rank_in, unit_range
from dask_dl.state import LANE


@kernel
def width_of(layer):
    """Length of a layer's vectors."""
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
def draw_masks(network, rows, i, n_inputs, rank, size, masks):
    """Draw which hidden units a row keeps: 1 or 0, laid out as the activations.

    Parameters
    ----------
    network : Network
    rows : Rows
    i : int
        The row.
    n_inputs : int
        Inputs of the network, whose marks come first in `Rows.kept`.
    rank, size : int
        Share of the units to draw, out of `size` shares.
    masks : (activations,) float32
        Receives the masks of this share.
    """
    last = network.layers.shape[0] - 1
    start, place = 0, n_inputs
    for k in range(last):
        n_out = network.layers[k, N_OUT]
        if network.kept[k] < ONE:
            lo, hi = unit_range(pad(n_out), rank, size)
            mask_of(rows, i, k, lo, place, network.kept[k], ONE, span(masks, start + lo, hi - lo), n_out - lo)
        start, place = start + width_of(network.layers[k]), place + n_out


@kernel
def drop_numbers(rows, i, n_onehot, n_dense, kept, inputs):
    """Drop some of a row's numeric inputs, and enlarge the others to make up for them.

    Parameters
    ----------
    rows : Rows
    i : int
        The row.
    n_onehot, n_dense : int
        One-hot and numeric inputs of the network.
    kept : float32
        Share of inputs that a row keeps, below 1.
    inputs : (stride,) float32
        Receives the numbers.
    """
    numbers = rows.dense[i]
    mask_of(rows, i, -1, n_onehot, 0, kept, ONE / kept, inputs, n_dense)
    for j in range(inputs.shape[0]):
        inputs[j] *= numbers[j]


@kernel
def remains(rows, i, slot, kept):
    """Whether a row keeps a one-hot input, where it drops some.

    Parameters
    ----------
    rows : Rows
    i : int
        The row.
    slot : int
        The input.
    kept : float32
        Share of inputs that a row keeps, below 1.
    """
    if rows.kept.shape[0] > 0:
        return rows.kept[i, slot] != 0
    return is_kept(key_of(rows.key[i], -1), slot, limit_of(kept))


@inlined
def collect(rows, i, kept, slots, values, at):
    """Collect the one-hot inputs that are active in a row, levels before entries, without those that are dropped.

    Parameters
    ----------
    rows : Rows
    i : int
        The row.
    kept : float32
        Share of inputs that a row keeps.
    slots, values : (max_active,) int32, float32
        Receive the inputs and their values, from `at` on.
    at : int

    Returns
    -------
    tuple of (int, int)
        Place where the entries start, and the end.
    """
    active, factor = rows.active[i], ONE / kept
    for c in range(active.shape[0]):
        if active[c] >= 0 and (kept == ONE or remains(rows, i, active[c], kept)):
            slots[at], values[at] = active[c], factor
            at += 1
    n_levels = at
    if rows.entries.begin.shape[0] > 0:
        first = rows.entries.begin[i]
        for e in range(first, first + rows.entries.length[i]):
            slot = rows.entries.slot[e]
            if kept == ONE or remains(rows, i, slot, kept):
                slots[at], values[at] = slot, factor * rows.entries.value[e]
                at += 1
    return n_levels, at


# Inlined, as is `backward`: so many arrays passed in a call take a fifth of the time of a row of a small network.
@inlined
def forward(network, inputs, slots, values, n_active, offset, table, dense, team, acts, gradients, masks, out):
    """Carry one row through all layers, to probabilities or the sum (algorithm.md#forward-pass).

    Parameters
    ----------
    network : Network
    inputs : (stride,) float32
        Numeric inputs.
    slots, values : (n_active,) int32, float32
        Active one-hot inputs and their values: `collect`.
    n_active : int
    offset : float32
        Added to a linear output.
    table, dense : (..,) float32
        One-hot block and dense part of the weights, shared by the team.
    team : Team
    acts : (activations,) float32
        Receives every layer's vectors one after another; shared by the team.
    gradients : (activations,) float32
        Receives the gradients of tanh.
    masks : (activations,) float32
        Masks of hidden units, or empty.
    out : (padded outputs,) float32
        Receives the answer; private to the thread.

    Returns
    -------
    int
        Place of the output's sums in `acts`.
    """
    layers = network.layers
    last = layers.shape[0] - 1
    start = 0
    for k in range(last + 1):
        width, n = width_of(layers[k]), pad(layers[k, N_OUT])
        here = span(acts, start, width)
        lo, hi = unit_range(n, rank_in(team, k == last), team.size)
        with_biases = table if k == 0 and network.n_onehot > 0 else dense
        masked = masks.shape[0] > 0 and network.kept[k] < ONE
        mask = span(masks, start if masked else 0, n if masked else 0)
        for channel in range(layers[k, CHANNELS]):
            forward_units(layers[k], channel, inputs, dense, with_biases, mask, here, lo, hi)
            if k == 0:
                forward_levels(slots, values, 0, n_active, width, table, here, channel * n + lo, channel * n + hi)
        if k < last:
            activate(network.activation, here, span(gradients, start, n), mask, ONE, n, lo, hi)
            start += width
        barrier(team)
        inputs = span(here, 0, n)
    for j in range(out.shape[0]):
        out[j] = inputs[j]
    if network.output == SOFTMAX:
        softmax(out, layers[last, N_OUT])
    else:
        out[0] += offset
    return start


@kernel
def rate_of(opt, n_seen):
    """(rate, momentum) for the row before which `n_seen` rows were learned (algorithm.md#learning-rate)."""
    ramp = ONE if n_seen >= opt.momentum_ramp else n_seen / opt.momentum_ramp
    decay = opt.momentum_start + ramp * (opt.momentum_stable - opt.momentum_start)
    return opt.scale * opt.rate / (1.0 + opt.rate_annealing * n_seen) * (1.0 - decay), decay


@inlined
def backward(
    network, opt, n_seen, inputs, slots, values, n_levels, n_active, n_columns, table, dense, team, acts, masks, deltas,
    squares, spare, start,
):  # fmt: skip
    """Carry the errors of one row back through all layers, output first; a layer is updated once they are passed down.

    Parameters
    ----------
    network : Network
    opt : Optimizer
    n_seen : int
        Rows learned before this one.
    inputs : (stride,) float32
        Numeric inputs.
    slots, values : (n_active,) int32, float32
        Active one-hot inputs and their values: `collect`.
    n_levels, n_active : int
        Number of levels among them, which come first, and of all.
    n_columns : int
        Columns of the table that are inputs.
    table, dense : WeightBlock
        One-hot block and dense part.
    team : Team
    acts : (activations,) float32
        Activations of `forward`.
    masks : (activations,) float32
        Masks of hidden units, or empty.
    deltas : (activations,) float32
        Gradients by every layer's sums; those of the output are in place, the others hold the gradients of tanh.
    squares, spare : (widest,) float32
        Scratch, private to the thread.
    start : int
        Place of the output's sums.
    """
    layers = network.layers
    rate, decay = rate_of(opt, n_seen)
    last = layers.shape[0] - 1
    for k in range(last, -1, -1):
        layer = layers[k]
        n, width = pad(layer[N_OUT]), width_of(layer)
        rank = rank_in(team, k == last)
        lo, hi = unit_range(n, rank, team.size)
        mine = span(deltas, start, width)
        if k < last:
            errors = team.errors[(k + 1) & 1]
            masked = masks.shape[0] > 0 and network.kept[k] < ONE
            mask = span(masks, start if masked else 0, n if masked else 0)
            add_errors(errors, pad(layers[k + 1, N_OUT]) // LANE, team.size, -1, lo, hi - lo)
            hidden_deltas(network.activation, span(acts, start, width), errors[0], mask, mine, n, lo, hi)
        step = StepSize(np.float32(rate * opt.rate_decay**k), np.float32(decay))
        for j in range(width):
            squares[j] = ZERO
        n_inputs = layer[N_IN]
        below = 0 if k == 0 else pad(n_inputs)
        start -= 0 if k == 0 else width_of(layers[k - 1])
        reads = inputs if k == 0 else span(acts, start, below)
        backward_units(opt, step, layer, reads, mine, dense, team.errors[k & 1], k == 0, squares, lo, hi)
        with_biases = table if k == 0 and network.n_onehot > 0 else dense
        n_onehot = network.n_onehot if k == 0 else 0
        for channel in range(layer[CHANNELS]):
            first = channel * n
            if k == 0:
                # Of a table's inputs a row sets one per column.
                n_inputs = min(layer[N_IN] + n_onehot, MAX_INPUTS * n_columns)
                backward_levels(
                    opt, step, n_onehot, slots, values, n_levels, n_active, width, mine, spare, table, squares, first + lo,
                    first + hi,
                )  # fmt: skip
            if opt.max_w2 < np.inf:
                limit_weights(opt, layer, n_onehot, width, channel, mine, dense.weights, table.weights, spare, lo, hi)
            m = min(hi, layer[N_OUT]) - lo
            if m > 0:
                has_means = layer[MEANS] >= 0
                means = span(dense.weights, layer[MEANS] + lo if has_means else 0, hi - lo if has_means else 0)
                backward_biases(
                    opt, step, layer[BIASES] + first + lo, m, n_inputs, span(mine, first + lo, hi - lo), means,
                    with_biases, span(squares, first + lo, hi - lo),
                )  # fmt: skip
        if k > 0:
            add_errors(team.errors[k & 1], n // LANE, team.size, rank, 0, below)
            barrier(team)


@kernel
def exchange(shared, own, base, first):
    """Publish what a working copy has learned, and take what others have published, without a lock.

    shared += own - base; base = own = shared (algorithm.md#staleness). Two threads in the same place at the same time
    may lose the step of one of them, so each begins at another place.

    Parameters
    ----------
    shared : (n,) float32
        Published weights.
    own : (n,) float32
        The working copy.
    base : (n,) float32
        The working copy at its last exchange.
    first : int
        Place to begin at.
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
def train_rows(
    rows, stop, network, objective, opt, n_seen, table, dense, team, chunk, shared, base, first, slots, values, scratch
):
    """Visit rows up to `stop`, one step each. One thread equals tests/naive/mlp.py.

    Parameters
    ----------
    rows : Rows
        Rows of positive weight.
    stop : int
        Row at which to stop.
    network : Network
    objective : Objective
    opt : Optimizer
    n_seen : int
        Rows learned before row 0.
    table, dense : WeightBlock
        One-hot block and dense part.
    team : Team
        The next row is `team.control[NEXT]`.
    chunk : int
        Rows that are taken at a time.
    shared, base : (dense,) float32
        When not empty, `dense` is a working copy, exchanged after every chunk: see `exchange`.
    first : int
        Place where the exchange begins.
    slots, values : (max_active,) int32, float32
        Scratch, as long as a row has active one-hot inputs, at most.
    scratch : (Topology.scratch_size,) float32
        Scratch, private to the thread.

    Returns
    -------
    float
        Sum of the rows' losses before their steps.
    """
    total, widest = sizes(network)
    layers = network.layers
    n_outputs, n_dense, n_onehot = layers[-1, N_OUT], layers[0, N_IN], network.n_onehot
    n, n_first = pad(n_outputs), layers[0, STRIDE]
    for i in range(scratch.shape[0]):
        scratch[i] = ZERO  # padding must be zero
    deltas, masks, rest = span(scratch, 0, total), span(scratch, total, total), 2 * total
    squares, spare = span(scratch, rest, widest), span(scratch, rest + widest, widest)
    out, numbers = span(scratch, rest + 2 * widest, n), span(scratch, rest + 2 * widest + n, n_first)
    drops = False
    for k in range(network.kept.shape[0]):
        drops |= network.kept[k] < ONE
    if not drops:
        masks = span(scratch, 0, 0)
    kept = np.float32(opt.input_kept)
    n_columns = n_dense + rows.active.shape[1] + network.n_sparse
    weighted, shifted = rows.weight.shape[0] > 0, rows.offset.shape[0] > 0
    n_fed = width_of(layers[0])
    is_far = team.size == 1 and table.weights.shape[0] >= FAR
    own = team.rank * LINE
    loss = 0.0
    turn = 0
    while True:
        lo = next_chunk(team, turn, stop, chunk)
        hi = min(lo + chunk, stop)
        if lo >= stop:
            return loss
        turn += 1
        for i in range(lo, hi):
            # A team of several stops together, in `next_chunk`, so that all have learned the same rows.
            if load(team.control, ABORT) or (team.size == 1 and load(team.control, STOP)):
                hi = i
                break
            is_timed = team.size > 1 and i % TIMED_ROWS == 0
            if is_timed:
                team.arrived[own + TIMED] = 1
            began = now() if is_timed else 0
            weight = rows.weight[i] if weighted else ONE
            offset = rows.offset[i] if shifted else ZERO
            inputs = rows.dense[i]
            if drops:
                draw_masks(network, rows, i, n_onehot + n_dense, team.rank, team.size, masks)
            if kept < ONE:
                drop_numbers(rows, i, n_onehot, n_dense, kept, numbers)
                inputs = numbers
            if is_far and i + 1 < hi:
                for c in range(rows.active.shape[1]):
                    fetch_level(table.weights, table.state0, table.state1, rows.active[i + 1, c], n_fed)
            n_levels, n_active = collect(rows, i, kept, slots, values, 0)
            acts = team.acts[i & 1]  # a thread may be one row ahead of the others, never two
            start = forward(
                network,
                inputs,
                slots,
                values,
                n_active,
                offset,
                table.weights,
                dense.weights,
                team,
                acts,
                deltas,
                masks,
                out,
            )
            loss += output_deltas(objective, out, n_outputs, rows.target[i], weight, span(deltas, start, n))
            if opt.sparsity_beta > 0.0:
                remember(network, team, acts, dense.weights)
            backward(
                network, opt, n_seen + i, inputs, slots, values, n_levels, n_active, n_columns, table, dense, team, acts, masks,
                deltas, squares, spare, start,
            )  # fmt: skip
            if is_timed:
                team.arrived[own + SPENT] += now() - began
                team.arrived[own + TIMED] = 0
        if team.rank == 0:
            fetch_add(team.control, DONE, hi - lo)
        if shared.shape[0] > 0:
            exchange(shared, dense.weights, base, first)
        if load(team.control, ABORT):
            return loss


@kernel
def remember(network, team, acts, weights):
    """Update the mean activations of this thread's hidden units by one row.

    Parameters
    ----------
    network : Network
    team : Team
    acts : (activations,) float32
        Activations of the row.
    weights : (dense,) float32
        Dense part of the weights, which holds the means.
    """
    start = 0
    for k in range(network.layers.shape[0] - 1):
        layer = network.layers[k]
        n = pad(layer[N_OUT])
        if layer[MEANS] >= 0:
            lo, hi = unit_range(n, rank_in(team, False), team.size)
            follow_means(span(weights, layer[MEANS] + lo, hi - lo), span(acts, start + lo, hi - lo))
        start += width_of(layer)
