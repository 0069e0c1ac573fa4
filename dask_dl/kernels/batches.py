"""Mini-batches (algorithm.md#mini-batches): the gradients of some rows, divided by the size of a full batch, make one update.

B is the number of rows of a full batch; see `batch_layers`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dask_dl.jit import entry, inlined, kernel
from dask_dl.kernels.atomics import fetch_add, load
from dask_dl.kernels.batch_layers import BatchInputs, BatchVectors, backward_batch, forward_batch, remember_batch
from dask_dl.kernels.chains import Chains, chain_slots
from dask_dl.kernels.dropout import draw_masks
from dask_dl.kernels.gemm import ROWS, Matrix, flattened
from dask_dl.kernels.inputs import collect, drop_numbers
from dask_dl.kernels.layers import pad, sizes
from dask_dl.kernels.layout import N_IN, N_OUT, STRIDE
from dask_dl.kernels.optimizers import ONE
from dask_dl.kernels.outputs import answer, output_deltas
from dask_dl.kernels.spans import span
from dask_dl.kernels.team import ABORT, DONE, barrier, begin_timing, end_timing, must_stop, next_chunk
from dask_dl.kernels.weights import exchange
from dask_dl.state import padded

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dask_dl.kernels.layout import Topology
    from dask_dl.kernels.optimizers import Optimizer
    from dask_dl.state import Rows


class BatchBuffers(NamedTuple):
    """Scratch of a batch by use; private to the thread."""

    vectors: BatchVectors
    chains: Chains
    slots: NDArray[np.int32]  #: (max_active,): active one-hot inputs, row after row
    edges: NDArray[np.int32]  #: (B + 1,): place in `slots` where each row begins, and the end


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


def indices_size(n_onehot: int, batch: int, n_active: int) -> int:
    """int32 numbers that each thread needs to itself, for batches with so many active one-hot inputs."""
    return n_onehot + 4 * n_active + batch + 1


def buffer_size(topology: Topology, opt: Optimizer, n_slots: int) -> int:
    """Numbers of 4 bytes of a team's buffers and of a thread's scratch, for rows with so many active one-hot inputs."""
    n_active = opt.batch * n_slots
    if opt.batch == 1:
        return topology.buffer_size + 2 * n_active
    activations = 2 * opt.batch * topology.buffers[0]
    return activations + scratch_size(topology, opt) + indices_size(topology.n_onehot, opt.batch, n_active) + n_active


@kernel
def collect_batch(rows, begin, b, kept, slots, values, edges):
    """Collect the active one-hot inputs of b rows, one after another: see `inputs.collect`.

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


@inlined
def vectors_of(network, opt, scratch):
    """Vectors of a batch, in a thread's scratch (scratch_size,) float32."""
    size, layers = opt.batch, network.layers
    total, widest = sizes(network)
    drops = False
    for k in range(network.kept.shape[0]):
        drops |= network.kept[k] < ONE
    n_out, n_masks = size * pad(layers[-1, N_OUT]), size * total if drops else 0
    n_numbers = size * layers[0, STRIDE] if np.float32(opt.input_kept) < ONE else 0
    errors = 4 * widest + n_out
    masks = errors + size * widest
    numbers = masks + n_masks
    gradients = numbers + n_numbers
    return BatchVectors(
        span(scratch, 0, widest),
        span(scratch, widest, widest),
        span(scratch, 2 * widest, widest),
        span(scratch, 3 * widest, widest),
        span(scratch, 4 * widest, n_out),
        # Errors by two channels, where layers have two, and are then twice as wide.
        span(scratch, errors, size * widest),
        span(scratch, errors + size * (widest // 2), size * (widest // 2)),
        span(scratch, masks, n_masks),
        span(scratch, numbers, n_numbers),
        span(scratch, gradients, scratch.shape[0] - gradients),
    )


@inlined
def output_deltas_of_batch(rows, begin, block, network, objective, opt, team, vectors, b):
    """Compute the gradients of a batch's loss by the output's sums, divided by the size of a full batch.

    Parameters
    ----------
    rows : Rows
    begin : int
        First row.
    block : int
        Place of the output's sums in the activations of one row.
    network : Network
    objective : Objective
    opt : Optimizer
    team : Team
        Its first `acts` hold the sums.
    vectors : BatchVectors
        Its `out` receives the gradients.
    b : int
        Rows of this batch.

    Returns
    -------
    float
        Sum of the losses.
    """
    n_outputs = network.layers[-1, N_OUT]
    width, size = pad(n_outputs), opt.batch
    # Of a full batch, also where fewer rows are left: else those would count more than others, and one row as much as a batch.
    share_of_row = ONE / np.float32(size)
    loss = 0.0
    for i in range(b):
        found, deltas = span(vectors.spare, 0, width), span(vectors.out, i * width, width)
        sums = span(team.acts[0], size * block + i * width, width)
        for j in range(width):
            found[j] = sums[j]
        answer(network, rows, begin + i, found)
        loss += output_deltas(objective, network, rows, begin + i, found, deltas)
        for j in range(n_outputs):
            deltas[j] *= share_of_row
    return loss


@inlined
def buffers_of(network, opt, buffers):
    """Divide a thread's scratch: see `network.Buffers`."""
    n, indices, values = network.n_onehot, buffers.indices, buffers.values
    m = values.shape[0]
    chains = Chains(
        span(indices, 0, n), span(indices, n, m), span(indices, n + m, m), span(indices, n + 2 * m, m), values, 0
    )
    slots, edges = span(indices, n + 3 * m, m), span(indices, n + 4 * m, opt.batch + 1)
    return BatchBuffers(vectors_of(network, opt, buffers.scratch), chains, slots, edges)


@inlined
def inputs_of_batch(rows, begin, b, network, opt, team, buffers):
    """Inputs of some rows; draws what dropout leaves out, and masks of hidden units.

    Parameters
    ----------
    rows : Rows
    begin : int
        First row.
    b : int
        Number of rows.
    network : Network
    opt : Optimizer
    team : Team
    buffers : BatchBuffers

    Returns
    -------
    BatchInputs
    """
    vectors, n_onehot, n_dense = buffers.vectors, network.n_onehot, network.layers[0, N_IN]
    stride, kept, (total, _) = network.layers[0, STRIDE], np.float32(opt.input_kept), sizes(network)
    numbers = Matrix(flattened(rows.dense), begin * stride, stride, b)
    for i in range(b):
        if vectors.masks.shape[0] > 0:
            mask = span(vectors.masks, i * total, total)
            draw_masks(network, rows, begin + i, n_onehot + n_dense, team.rank, team.size, mask)
        if kept < ONE:
            drop_numbers(rows, begin + i, n_onehot, n_dense, kept, span(vectors.numbers, i * stride, stride))
    if kept < ONE:
        numbers = Matrix(vectors.numbers, 0, stride, b)
    collect_batch(rows, begin, b, kept, buffers.slots, buffers.chains.values, buffers.edges)
    return BatchInputs(numbers, buffers.slots, buffers.chains.values, span(buffers.edges, 0, b + 1))


@inlined
def train_batch(rows, begin, stop, n_seen, network, objective, opt, weights, team, buffers):
    """Learn a batch of rows.

    Parameters
    ----------
    rows : Rows
    begin, stop : int
        First row; row at which to stop, if the batch is not full before.
    n_seen : int
        Rows learned before row 0.
    network : Network
    objective : Objective
    opt : Optimizer
    weights : Weights
    team : Team
    buffers : BatchBuffers

    Returns
    -------
    float
        Sum of the rows' losses before the step.
    """
    size, b = opt.batch, min(opt.batch, stop - begin)
    vectors, (heads, links, owners, seen, values, _) = buffers.vectors, buffers.chains
    inputs = inputs_of_batch(rows, begin, b, network, opt, team, buffers)
    onehot, dense = weights.onehot.weights, weights.dense.weights
    block = forward_batch(network, inputs, onehot, dense, team, vectors.masks, size)
    loss = output_deltas_of_batch(rows, begin, block, network, objective, opt, team, vectors, b)
    if opt.penalties.sparsity_beta > 0.0:
        remember_batch(network, b, team, dense, size)
    chains = Chains(heads, links, owners, seen, values, chain_slots(inputs.slots, inputs.edges, buffers.chains))
    n_columns = network.layers[0, N_IN] + rows.active.shape[1] + network.n_sparse
    backward_batch(network, opt, n_seen + begin, n_columns, inputs, chains, weights, team, vectors)
    for e in range(chains.n):
        heads[seen[e]] = -1
    return loss


@entry
def train_batches(rows, queue, network, objective, opt, weights, team, copy, buffers):
    """Visit rows from a queue like `network.train_rows`, in batches; the last one of a chunk may be smaller.

    Parameters
    ----------
    rows : Rows
        Rows of positive weight.
    queue : Queue
    network : Network
    objective : Objective
    opt : Optimizer
        Its `batch` is B.
    weights : Weights
    team : Team
        Its `acts` are (2, B activations).
    copy : WorkingCopy
        When not empty, the dense weights are a working copy, exchanged after every chunk: see `exchange`.
    buffers : Buffers

    Returns
    -------
    float
        Sum of the rows' losses before their steps.
    """
    own = buffers_of(network, opt, buffers)
    loss = 0.0
    turn = 0
    while True:
        lo = next_chunk(team, turn, queue.stop, queue.chunk)
        hi = min(lo + queue.chunk, queue.stop)
        if lo >= queue.stop:
            return loss
        turn += 1
        for begin in range(lo, hi, opt.batch):
            if must_stop(team):
                hi = begin
                break
            if begin > lo:
                barrier(team)  # the others may still read what this batch will write over
            began = begin_timing(team, team.size > 1)
            loss += train_batch(rows, begin, hi, queue.n_seen, network, objective, opt, weights, team, own)
            end_timing(team, team.size > 1, began)
        if team.rank == 0:
            fetch_add(team.control, DONE, hi - lo)
        if copy.shared.shape[0] > 0:
            exchange(copy, weights.dense.weights)
        if load(team.control, ABORT):
            return loss


@entry
def predict_batches(rows, lo, hi, network, onehot, dense, team, size, buffers, out):
    """Predict rows [lo, hi): probabilities, or a number with its offset.

    Parameters
    ----------
    rows : Rows
    lo, hi : int
    network : Network
    onehot, dense : (..,) float32
        One-hot block and dense part of the weights.
    team : Team
        A thread alone, with buffers for batches of `size` rows.
    size : int
        Rows of a batch.
    buffers : Buffers
        Its indices are (max_active + size + 1,).
    out : (n, n_outputs) float32
        Receives the outputs.
    """
    stride, n_outputs, m = network.layers[0, STRIDE], network.layers[-1, N_OUT], buffers.values.shape[0]
    width, none = pad(n_outputs), span(team.acts[0], 0, 0)
    numbers, answers = flattened(rows.dense), flattened(out)
    slots, edges = span(buffers.indices, 0, m), span(buffers.indices, m, size + 1)
    for begin in range(lo, hi, size):
        b = min(size, hi - begin)
        collect_batch(rows, begin, b, ONE, slots, buffers.values, edges)
        inputs = BatchInputs(Matrix(numbers, begin * stride, stride, b), slots, buffers.values, span(edges, 0, b + 1))
        block = forward_batch(network, inputs, onehot, dense, team, none, size)
        for i in range(b):
            sums, first = span(team.acts[0], size * block + i * width, width), (begin + i) * n_outputs
            answer(network, rows, begin + i, sums)
            for j in range(n_outputs):
                answers[first + j] = sums[j]
