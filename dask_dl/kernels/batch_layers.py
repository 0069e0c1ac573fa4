"""Layers of a mini-batch: products of matrices forward and backward, and one update for all rows.

A layer's units are shared among the threads of a team as for single rows, by whole lanes; every number is summed in the same
order whichever thread owns its unit, so that the bits do not depend on the number of threads.

B is the number of rows of a full batch. Vectors of a layer (`Topology.widths` long) lie row by row, a block for each layer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dask_dl.jit import inlined, kernel
from dask_dl.kernels.chains import add_rows
from dask_dl.kernels.gemm import ROWS, Factors, Matrix, add_dots, combine
from dask_dl.kernels.layers import (
    activate,
    add_scaled,
    follow_means,
    forward_levels,
    hidden_deltas,
    pad,
    sizes,
    width_of,
)
from dask_dl.kernels.layout import BIASES, CHANNELS, MEANS, N_IN, N_OUT, STRIDE, WEIGHTS
from dask_dl.kernels.optimizers import (
    ONE,
    ZERO,
    StepSize,
    has_bias_rule,
    rate_of,
    rests_at_zero,
    run_of,
    squared_gradients,
    update,
)
from dask_dl.kernels.spans import span
from dask_dl.kernels.team import barrier, rank_in, unit_range
from dask_dl.kernels.updates import MAX_INPUTS, backward_biases, backward_level, limit_weights, penalty_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: The gradient of a bias whose rows' gradients add up to nothing, unlike that of a unit without any.
CANCELLED = np.float32(1e-30)


class BatchInputs(NamedTuple):
    """Inputs of the rows of a batch."""

    numbers: Matrix  #: numeric inputs, a row as long as the first layer's stride
    slots: NDArray[np.int32]  #: (max_active,): active one-hot inputs, row after row
    values: NDArray[np.float32]  #: (max_active,): the value of each
    edges: NDArray[np.int32]  #: (B + 1 or less,): place in `slots` where each row begins, and the end


class BatchVectors(NamedTuple):
    """Scratch of a batch; private to the thread."""

    squares: NDArray[np.float32]  #: (widest,): sums of squared gradients of each unit's weights, under ADADELTA
    spare: NDArray[np.float32]  #: (widest,)
    sums: NDArray[np.float32]  #: (widest,): gradients of the biases, 0 where no row has one
    living: NDArray[np.float32]  #: (widest,)
    out: NDArray[np.float32]  #: (B padded outputs,): gradients by the output's sums, row by row
    errors: NDArray[np.float32]  #: (B widest,): errors passed down by the first channel, then by all
    more: NDArray[np.float32]  #: (B (widest // 2),): errors passed down by the second channel
    masks: NDArray[np.float32]  #: (B activations,): masks of hidden units, row by row; empty without dropout
    numbers: NDArray[np.float32]  #: (B stride,): numeric inputs that dropout leaves; empty without it
    gradients: NDArray[np.float32]  #: (ROWS stride,): as long as the longest row of weights needs it


@inlined
def layer_sums(network, k, inputs, reads, onehot, dense, out, lo, hi):
    """Compute the pre-activations of a thread's units for all rows of a batch.

    Parameters
    ----------
    network : Network
    k : int
        The layer.
    inputs : BatchInputs
    reads : Matrix
        Dense inputs of the layer, by row.
    onehot, dense : (..,) float32
        One-hot block and dense part of the weights.
    out : Matrix
        Receives the sums, by row.
    lo, hi : int
        Units of this thread.
    """
    layer = network.layers[k]
    n_out, stride = layer[N_OUT], layer[STRIDE]
    n, width, m = pad(n_out), width_of(layer), max(0, min(hi, n_out) - lo)
    with_biases = onehot if k == 0 and network.n_onehot > 0 else dense
    for channel in range(layer[CHANNELS]):
        place = channel * n + lo
        biases = span(with_biases, layer[BIASES] + place, m)
        for i in range(out.n):
            sums = span(out.numbers, out.start + i * width + place, m)
            for j in range(m):
                sums[j] = biases[j]
        units = Matrix(dense, layer[WEIGHTS] + (channel * n_out + lo) * stride, stride, m)
        add_dots(Matrix(out.numbers, out.start + place, width, out.n), reads, units, stride)
        if k == 0:
            for i in range(out.n):
                sums, first, stop = (
                    span(out.numbers, out.start + i * width, width),
                    inputs.edges[i],
                    inputs.edges[i + 1],
                )
                forward_levels(inputs.slots, inputs.values, first, stop, width, onehot, sums, place, channel * n + hi)


@kernel
def forward_batch(network, inputs, onehot, dense, team, masks, size):
    """Carry the rows of a batch through all layers, to the sums of the output.

    Parameters
    ----------
    network : Network
    inputs : BatchInputs
    onehot, dense : (..,) float32
        One-hot block and dense part of the weights.
    team : Team
        Its `acts`, (2, B activations), receive activations, and the gradients of tanh.
    masks : (B activations,) float32
        Masks of hidden units; or empty: then activations are scaled by the share that training keeps.
    size : int
        B, the rows of a full batch.

    Returns
    -------
    int
        Place of the output's sums in the activations of one row.
    """
    layers, b = network.layers, inputs.numbers.n
    total, _ = sizes(network)
    last = layers.shape[0] - 1
    acts, gradients = team.acts[0], team.acts[1]
    reads = inputs.numbers
    block = 0
    for k in range(last + 1):
        n, width = pad(layers[k, N_OUT]), width_of(layers[k])
        masked = masks.shape[0] > 0 and k < last and network.kept[k] < ONE
        lo, hi = unit_range(n, rank_in(team, k == last), team.size)
        out = Matrix(acts, size * block, width, b)
        layer_sums(network, k, inputs, reads, onehot, dense, out, lo, hi)
        if k < last:
            for i in range(b):
                here = size * block + i * width
                mask = span(masks, i * total + block if masked else 0, n if masked else 0)
                mine, there = span(acts, here, width), span(gradients, here, n)
                activate(network.activation, mine, there, mask, network.kept[k], n, lo, hi)
        barrier(team)
        reads = out
        block += width
    return block - width_of(layers[last])


@inlined
def update_units(step, layer, channel, reads, deltas, dense, vectors, lo, hi):
    """Update a thread's dense weights of one channel.

    Parameters
    ----------
    step : StepSize
    layer : (7,) int64
        Row of `Network.layers`.
    channel : int
    reads : Matrix
        Inputs of the layer, by row.
    deltas : Matrix
        Deltas of the layer's units, by row.
    dense : WeightBlock
    vectors : BatchVectors
        Its sums and squares receive those of these units.
    lo, hi : int
        Units of this thread.
    """
    opt, living, gradients = step.optimizer, vectors.living, vectors.gradients
    n_out, stride = layer[N_OUT], layer[STRIDE]
    m, first = max(0, min(hi, n_out) - lo), channel * pad(n_out) + lo
    mine, squared = span(vectors.sums, first, hi - lo), span(vectors.squares, first, hi - lo)
    for j in range(hi - lo):
        mine[j] = squared[j] = living[j] = ZERO
    for i in range(deltas.n):
        row = span(deltas.numbers, deltas.start + i * deltas.length + first, m)
        for j in range(m):
            mine[j] += row[j]
            living[j] += abs(row[j])
    for j in range(m):
        if mine[j] == ZERO and living[j] > ZERO:
            mine[j] = CANCELLED
    penalty = penalty_of(opt, dense)
    skip = rests_at_zero(opt, penalty)
    for unit in range(0, m, ROWS):
        count = min(ROWS, m - unit)
        by_unit = Factors(deltas.numbers, deltas.start + first + unit, 1, deltas.length)
        combine(Matrix(gradients, 0, stride, count), by_unit, reads, stride)
        for j in range(unit, unit + count):
            if skip and mine[j] == ZERO:
                continue
            a = span(gradients, (j - unit) * stride, stride)
            block = run_of(step, dense, layer[WEIGHTS] + (channel * n_out + lo + j) * stride, stride, a)
            if has_bias_rule(opt.kind):
                squared[j] = squared_gradients(step, penalty, a, ONE, block)
            update(step, penalty, a, ONE, block)


@inlined
def update_layer(network, step, k, n_columns, reads, deltas, chains, weights, team, vectors):
    """Update a layer's weights and biases, of this thread's units.

    Parameters
    ----------
    network : Network
    step : StepSize
    k : int
        The layer.
    n_columns : int
        Columns of the table that are inputs.
    reads, deltas : Matrix
        Dense inputs of the layer, and deltas of its units, by row.
    chains : Chains
    weights : Weights
    team : Team
    vectors : BatchVectors
    """
    opt, layer, dense, onehot = step.optimizer, network.layers[k], weights.dense, weights.onehot
    n_onehot, n_levels, n_inputs = 0, 0, layer[N_IN]
    all_levels = not rests_at_zero(opt, penalty_of(opt, onehot))
    if k == 0:
        n_onehot = network.n_onehot
        n_levels = n_onehot if all_levels else chains.n
        n_inputs = min(n_inputs + n_onehot, MAX_INPUTS * n_columns)
    with_biases = onehot if n_onehot > 0 else dense
    n, width = pad(layer[N_OUT]), width_of(layer)
    lo, hi = unit_range(n, rank_in(team, k == network.layers.shape[0] - 1), team.size)
    m = max(0, min(hi, layer[N_OUT]) - lo)
    squares, spare, sums = vectors.squares, vectors.spare, vectors.sums
    for channel in range(layer[CHANNELS] if m > 0 else 0):
        update_units(step, layer, channel, reads, deltas, dense, vectors, lo, hi)
        c0, c1 = channel * n + lo, channel * n + hi
        for e in range(n_levels):
            slot = e if all_levels else chains.seen[e]
            add_rows(chains, slot, deltas, spare, c0, c1)
            backward_level(step, slot, width, spare, onehot, squares, c0, c1)
        if opt.penalties.max_w2 < np.inf:
            limit_weights(opt, layer, n_onehot, channel, sums, dense.weights, onehot.weights, spare, lo, hi)
        has_means = layer[MEANS] >= 0
        means = span(dense.weights, layer[MEANS] + lo if has_means else 0, hi - lo if has_means else 0)
        backward_biases(
            step, layer[BIASES] + c0, m, n_inputs, span(sums, c0, hi - lo), means, with_biases, span(squares, c0, hi - lo)
        )  # fmt: skip


@inlined
def pass_errors(network, k, deltas, dense, team, vectors, block, size):
    """Pass the errors of a layer down: deltas of this thread's units in the layer below.

    Parameters
    ----------
    network : Network
    k : int
        The layer, not the first.
    deltas : Matrix
        Deltas of its units, by row.
    dense : (..,) float32
        Dense part of the weights.
    team : Team
        Its `acts` hold activations and gradients of the layer below; the latter become deltas.
    vectors : BatchVectors
    block : int
        Place of the layer below in the activations of one row.
    size : int
        B, the rows of a full batch.
    """
    layer, below, masks = network.layers[k], network.layers[k - 1], vectors.masks
    n_out, stride, n = layer[N_OUT], layer[STRIDE], pad(below[N_OUT])
    width, b = width_of(below), deltas.n
    total, _ = sizes(network)
    masked = masks.shape[0] > 0 and network.kept[k - 1] < ONE
    lo, hi = unit_range(n, rank_in(team, False), team.size)
    for channel in range(layer[CHANNELS]):
        there = vectors.errors if channel == 0 else vectors.more
        factors = Factors(deltas.numbers, deltas.start + channel * pad(n_out), deltas.length, 1)
        units = Matrix(dense, layer[WEIGHTS] + channel * n_out * stride + lo, stride, n_out)
        combine(Matrix(there, lo, n, b), factors, units, hi - lo)
    for i in range(b):
        error = span(vectors.errors, i * n, n)
        if layer[CHANNELS] > 1:
            add_scaled(span(error, lo, hi - lo), ONE, span(vectors.more, i * n + lo, hi - lo))
        mask = span(masks, i * total + block if masked else 0, n if masked else 0)
        here = size * block + i * width
        acts, mine = span(team.acts[0], here, width), span(team.acts[1], here, width)
        hidden_deltas(network.activation, acts, error, mask, mine, n, lo, hi)


@kernel
def backward_batch(network, opt, n_seen, n_columns, inputs, chains, weights, team, vectors):
    """Carry the errors of a batch back through all layers, output first.

    A layer is updated when the errors of all rows have been passed down.

    Parameters
    ----------
    network : Network
    opt : Optimizer
    n_seen : int
        Rows learned before this batch.
    n_columns : int
        Columns of the table that are inputs.
    inputs : BatchInputs
    chains : Chains
    weights : Weights
    team : Team
        Its `acts` hold activations and gradients; the latter become deltas.
    vectors : BatchVectors
    """
    layers, size, b = network.layers, opt.batch, inputs.numbers.n
    last = layers.shape[0] - 1
    rate, decay = rate_of(opt, n_seen)
    block = 0
    for k in range(last):
        block += width_of(layers[k])
    deltas = Matrix(vectors.out, 0, width_of(layers[last]), b)
    for k in range(last, -1, -1):
        reads = inputs.numbers
        if k > 0:
            width = width_of(layers[k - 1])
            block -= width
            reads = Matrix(team.acts[0], size * block, width, b)
            pass_errors(network, k, deltas, weights.dense.weights, team, vectors, block, size)
            barrier(team)
        step = StepSize(opt, np.float32(rate * opt.rate_decay**k), np.float32(decay))
        update_layer(network, step, k, n_columns, reads, deltas, chains, weights, team, vectors)
        if k > 0:
            deltas = Matrix(team.acts[1], size * block, width_of(layers[k - 1]), b)


@kernel
def remember_batch(network, b, team, weights, size):
    """Update the mean activations of this thread's hidden units by the rows of a batch, one after another.

    Parameters
    ----------
    network : Network
    b : int
        Rows of this batch.
    team : Team
        Its first `acts`, (B activations,), are those of the batch, layer by layer and row by row.
    weights : (dense,) float32
        Dense part of the weights, which holds the means.
    size : int
        B, the rows of a full batch.
    """
    block, acts = 0, team.acts[0]
    for k in range(network.layers.shape[0] - 1):
        layer = network.layers[k]
        n, width = pad(layer[N_OUT]), width_of(layer)
        if layer[MEANS] >= 0:
            lo, hi = unit_range(n, rank_in(team, False), team.size)
            for i in range(b):
                row = span(acts, size * block + i * width + lo, hi - lo)
                follow_means(span(weights, layer[MEANS] + lo, hi - lo), row)
        block += width
