"""Network of one row: forward, backward with immediate update, and the loop over rows that threads run."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dask_dl.jit import entry, inlined, kernel
from dask_dl.kernels.atomics import fetch_add, load
from dask_dl.kernels.dropout import draw_masks
from dask_dl.kernels.inputs import Inputs, collect, drop_numbers
from dask_dl.kernels.layers import (
    activate,
    add_errors,
    follow_means,
    forward_levels,
    forward_units,
    hidden_deltas,
    pad,
    sizes,
    width_of,
)
from dask_dl.kernels.layout import BIASES, CHANNELS, MEANS, N_IN, N_OUT, STRIDE
from dask_dl.kernels.optimizers import ONE, ZERO, StepSize, rate_of
from dask_dl.kernels.outputs import answer, output_deltas
from dask_dl.kernels.prefetch import FAR, fetch_level
from dask_dl.kernels.spans import span
from dask_dl.kernels.team import (
    ABORT,
    DONE,
    TIMED_ROWS,
    barrier,
    begin_timing,
    end_timing,
    must_stop,
    next_chunk,
    rank_in,
    unit_range,
)
from dask_dl.kernels.updates import (
    MAX_INPUTS,
    LayerVectors,
    backward_biases,
    backward_levels,
    backward_units,
    limit_weights,
)
from dask_dl.kernels.weights import exchange
from dask_dl.state import LANE

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Queue(NamedTuple):
    """Rows that the threads of a replica take from; the first of them is `team.control[NEXT]`."""

    stop: int  #: row at which to stop
    chunk: int  #: rows to take at a time; of mini-batches whole ones
    n_seen: int  #: rows learned before row 0


class Buffers(NamedTuple):
    """Scratch that is private to a thread."""

    #: (max_active,) int32: one-hot inputs of a row. Of mini-batches (indices_size,): the first of them, one for each one-hot
    #: input, are -1 before and after
    indices: NDArray[np.int32]
    values: NDArray[np.float32]  #: (max_active,): values of one-hot inputs
    scratch: NDArray[np.float32]  #: (Topology.scratch_size,), or of mini-batches (scratch_size,): zeros at first


class RowVectors(NamedTuple):
    """Vectors of all layers of one row, one layer after another, and scratch; private to the thread."""

    #: (activations,): gradients by the sums; those of hidden units first hold the gradients of tanh
    deltas: NDArray[np.float32]
    masks: NDArray[np.float32]  #: (activations,): masks of hidden units; empty without dropout
    squares: NDArray[np.float32]  #: (widest,)
    spare: NDArray[np.float32]  #: (widest,)
    out: NDArray[np.float32]  #: (padded outputs,): answer of the network
    numbers: NDArray[np.float32]  #: (stride,): numeric inputs that dropout leaves


@inlined
def vectors_of(network, scratch):
    """The vectors of a row, in a thread's scratch (scratch_size,) float32."""
    total, widest = sizes(network)
    n, stride = pad(network.layers[-1, N_OUT]), network.layers[0, STRIDE]
    for i in range(scratch.shape[0]):
        scratch[i] = ZERO  # padding must be zero
    drops = False
    for k in range(network.kept.shape[0]):
        drops |= network.kept[k] < ONE
    rest = 2 * total
    return RowVectors(
        span(scratch, 0, total),
        span(scratch, total, total if drops else 0),
        span(scratch, rest, widest),
        span(scratch, rest + widest, widest),
        span(scratch, rest + 2 * widest, n),
        span(scratch, rest + 2 * widest + n, stride),
    )


# Inlined, as is `backward`: so many arrays passed in a call take a fifth of the time of a row of a small network.
@inlined
def forward(network, inputs, onehot, dense, team, acts, gradients, masks):
    """Carry one row through all layers, to the sums of the output (algorithm.md#forward-pass).

    Parameters
    ----------
    network : Network
    inputs : Inputs
    onehot, dense : (..,) float32
        One-hot block and dense part of the weights, shared by the team.
    team : Team
    acts : (activations,) float32
        Receives every layer's vectors one after another; shared by the team.
    gradients : (activations,) float32
        Receives the gradients of tanh.
    masks : (activations,) float32
        Masks of hidden units, or empty.

    Returns
    -------
    int
        Place of the output's sums in `acts`.
    """
    layers = network.layers
    last = layers.shape[0] - 1
    start = 0
    reads = inputs.numbers
    for k in range(last + 1):
        width, n = width_of(layers[k]), pad(layers[k, N_OUT])
        here = span(acts, start, width)
        lo, hi = unit_range(n, rank_in(team, k == last), team.size)
        with_biases = onehot if k == 0 and network.n_onehot > 0 else dense
        masked = masks.shape[0] > 0 and network.kept[k] < ONE
        mask = span(masks, start if masked else 0, n if masked else 0)
        for channel in range(layers[k, CHANNELS]):
            forward_units(layers[k], channel, reads, dense, with_biases, mask, here, lo, hi)
            if k == 0:
                at = channel * n
                forward_levels(inputs.slots, inputs.values, 0, inputs.n, width, onehot, here, at + lo, at + hi)
        if k < last:
            activate(network.activation, here, span(gradients, start, n), mask, ONE, n, lo, hi)
            start += width
        barrier(team)
        reads = span(here, 0, n)
    return start


@inlined
def update_layer(network, step, k, n_columns, inputs, reads, deltas, weights, team, vectors):
    """Update a layer's weights and biases, and pass errors to the layer below.

    Parameters
    ----------
    network : Network
    step : StepSize
    k : int
        The layer.
    n_columns : int
        Columns of the table that are inputs.
    inputs : Inputs
    reads : (stride,) float32
        Dense inputs of the layer.
    deltas : (width,) float32
        Gradients by the layer's sums.
    weights : Weights
    team : Team
        Its errors [k & 1] receive those of the layer below.
    vectors : RowVectors
    """
    opt, layer = step.optimizer, network.layers[k]
    n, width = pad(layer[N_OUT]), width_of(layer)
    lo, hi = unit_range(n, rank_in(team, k == network.layers.shape[0] - 1), team.size)
    squares, spare = vectors.squares, vectors.spare
    for j in range(width):
        squares[j] = ZERO
    own = LayerVectors(deltas, squares, spare)
    backward_units(step, layer, reads, own, weights.dense, team.errors[k & 1], k == 0, lo, hi)
    with_biases = weights.onehot if k == 0 and network.n_onehot > 0 else weights.dense
    n_onehot, n_inputs = (network.n_onehot if k == 0 else 0), layer[N_IN]
    for channel in range(layer[CHANNELS]):
        first = channel * n
        if k == 0:
            # Of a table's inputs a row sets one per column.
            n_inputs = min(layer[N_IN] + n_onehot, MAX_INPUTS * n_columns)
            backward_levels(step, n_onehot, inputs, width, own, weights.onehot, first + lo, first + hi)
        if opt.penalties.max_w2 < np.inf:
            limit_weights(
                opt, layer, n_onehot, channel, deltas, weights.dense.weights, weights.onehot.weights, spare, lo, hi
            )
        m = min(hi, layer[N_OUT]) - lo
        if m > 0:
            has_means = layer[MEANS] >= 0
            means = span(weights.dense.weights, layer[MEANS] + lo if has_means else 0, hi - lo if has_means else 0)
            backward_biases(
                step, layer[BIASES] + first + lo, m, n_inputs, span(deltas, first + lo, hi - lo), means, with_biases,
                span(squares, first + lo, hi - lo),
            )  # fmt: skip


@inlined
def backward(network, opt, n_seen, n_columns, inputs, weights, team, acts, vectors, start):
    """Carry the errors of one row back through all layers, output first; a layer is updated once they are passed down.

    Parameters
    ----------
    network : Network
    opt : Optimizer
    n_seen : int
        Rows learned before this one.
    n_columns : int
        Columns of the table that are inputs.
    inputs : Inputs
    weights : Weights
    team : Team
    acts : (activations,) float32
        Activations of `forward`.
    vectors : RowVectors
        Deltas of the output are in place.
    start : int
        Place of the output's sums.
    """
    layers, masks = network.layers, vectors.masks
    rate, decay = rate_of(opt, n_seen)
    last = layers.shape[0] - 1
    for k in range(last, -1, -1):
        layer = layers[k]
        n, width = pad(layer[N_OUT]), width_of(layer)
        rank = rank_in(team, k == last)
        lo, hi = unit_range(n, rank, team.size)
        mine = span(vectors.deltas, start, width)
        if k < last:
            errors = team.errors[(k + 1) & 1]
            masked = masks.shape[0] > 0 and network.kept[k] < ONE
            mask = span(masks, start if masked else 0, n if masked else 0)
            add_errors(errors, pad(layers[k + 1, N_OUT]) // LANE, team.size, -1, lo, hi - lo)
            hidden_deltas(network.activation, span(acts, start, width), errors[0], mask, mine, n, lo, hi)
        step = StepSize(opt, np.float32(rate * opt.rate_decay**k), np.float32(decay))
        below = 0 if k == 0 else pad(layer[N_IN])
        start -= 0 if k == 0 else width_of(layers[k - 1])
        reads = inputs.numbers if k == 0 else span(acts, start, below)
        update_layer(network, step, k, n_columns, inputs, reads, mine, weights, team, vectors)
        if k > 0:
            add_errors(team.errors[k & 1], n // LANE, team.size, rank, 0, below)
            barrier(team)


@inlined
def train_row(rows, i, n_seen, network, objective, opt, weights, team, vectors, buffers):
    """Learn one row.

    Parameters
    ----------
    rows : Rows
    i : int
        The row.
    n_seen : int
        Rows learned before it.
    network : Network
    objective : Objective
    opt : Optimizer
    weights : Weights
    team : Team
    vectors : RowVectors
    buffers : Buffers

    Returns
    -------
    float32
        Loss of the row before the step.
    """
    n_onehot, n_dense, kept = network.n_onehot, network.layers[0, N_IN], np.float32(opt.input_kept)
    numbers = rows.dense[i]
    if vectors.masks.shape[0] > 0:
        draw_masks(network, rows, i, n_onehot + n_dense, team.rank, team.size, vectors.masks)
    if kept < ONE:
        drop_numbers(rows, i, n_onehot, n_dense, kept, vectors.numbers)
        numbers = vectors.numbers
    n_levels, n_active = collect(rows, i, kept, buffers.indices, buffers.values, 0)
    inputs = Inputs(numbers, buffers.indices, buffers.values, n_levels, n_active)
    acts, out = team.acts[i & 1], vectors.out  # a thread may be one row ahead of the others, never two
    start = forward(
        network, inputs, weights.onehot.weights, weights.dense.weights, team, acts, vectors.deltas, vectors.masks
    )
    for j in range(out.shape[0]):
        out[j] = acts[start + j]
    answer(network, rows, i, out)
    loss = output_deltas(objective, network, rows, i, out, span(vectors.deltas, start, out.shape[0]))
    if opt.penalties.sparsity_beta > 0.0:
        remember(network, team, acts, weights.dense.weights)
    n_columns = n_dense + rows.active.shape[1] + network.n_sparse
    backward(network, opt, n_seen, n_columns, inputs, weights, team, acts, vectors, start)
    return loss


@entry
def train_rows(rows, queue, network, objective, opt, weights, team, copy, buffers):
    """Visit rows from a queue, one step each. One thread equals tests/naive/mlp.py.

    Parameters
    ----------
    rows : Rows
        Rows of positive weight.
    queue : Queue
    network : Network
    objective : Objective
    opt : Optimizer
    weights : Weights
    team : Team
    copy : WorkingCopy
        When not empty, the dense weights are a working copy, exchanged after every chunk: see `exchange`.
    buffers : Buffers

    Returns
    -------
    float
        Sum of the rows' losses before their steps.
    """
    vectors, onehot = vectors_of(network, buffers.scratch), weights.onehot
    n_fed = width_of(network.layers[0])
    is_far = team.size == 1 and onehot.weights.shape[0] >= FAR
    loss = 0.0
    turn = 0
    while True:
        lo = next_chunk(team, turn, queue.stop, queue.chunk)
        hi = min(lo + queue.chunk, queue.stop)
        if lo >= queue.stop:
            return loss
        turn += 1
        for i in range(lo, hi):
            if must_stop(team):
                hi = i
                break
            is_timed = team.size > 1 and i % TIMED_ROWS == 0
            began = begin_timing(team, is_timed)
            if is_far and i + 1 < hi:
                for c in range(rows.active.shape[1]):
                    fetch_level(onehot.weights, onehot.state0, onehot.state1, rows.active[i + 1, c], n_fed)
            loss += train_row(rows, i, queue.n_seen + i, network, objective, opt, weights, team, vectors, buffers)
            end_timing(team, is_timed, began)
        if team.rank == 0:
            fetch_add(team.control, DONE, hi - lo)
        if copy.shared.shape[0] > 0:
            exchange(copy, weights.dense.weights)
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
