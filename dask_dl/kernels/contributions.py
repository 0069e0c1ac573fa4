"""Contributions of inputs to what a network answers, beside background rows: DeepSHAP (algorithm.md#contributions).

A pair is a row with a background row. Multipliers of some pairs at a time are carried back through the layers, as errors are,
by products of matrices; only inputs that are there are looked at in the first layer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dask_dl.jit import entry, inlined
from dask_dl.kernels.batch_layers import BatchInputs, layer_sums
from dask_dl.kernels.batches import collect_batch
from dask_dl.kernels.gemm import ROWS, Factors, Matrix, combine, flattened
from dask_dl.kernels.layers import activate, add_scaled, dot, pad, width_of
from dask_dl.kernels.layout import CHANNELS, N_OUT, STRIDE, WEIGHTS
from dask_dl.kernels.multipliers import deltas_of_margins, deltas_of_softmax, gains_of_pairs, probabilities_of_pairs
from dask_dl.kernels.optimizers import ONE, ZERO
from dask_dl.kernels.spans import span
from dask_dl.state import aligned_zeros, padded

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dask_dl.kernels.layout import Topology

#: Pairs that are carried back together, at most: their multipliers stay in the second cache.
TILE = 128
#: Numeric inputs of the first layer that are looked at together, whole lanes.
COLUMNS = 256
#: Inputs of a layer whose weights are read for all pairs before those of others: of wide layers they stay in the second cache.
PANEL = 128
#: Rows of weights of a multiple of so many numbers, 4 KiB, share places of a cache: panels of them are copied.
ALIASED = 1024
#: float64 numbers of the probabilities of a tile, at most.
MAX_PROBABILITIES = 2**22


class Shares(NamedTuple):
    """Share, of G, that the contribution of each input belongs to: that of a column of the table, or its own."""

    of_category: NDArray[np.int64]  #: (categories,): of the active inputs of each categorical column; -1: of the input
    of_slot: NDArray[np.int64]  #: (n_onehot,)
    of_number: NDArray[np.int64]  #: (stride,); any where there is padding
    of_offset: int


class PairBuffers(NamedTuple):
    """Scratch for pairs; private to the thread."""

    tile: int  #: pairs that are carried back together: of some rows, or a part of those of one
    gains: NDArray[np.float32]  #: (tile total,): multipliers of all hidden units, by channel, a block for each layer
    deltas: NDArray[np.float32]  #: (tile widest,): multipliers of what is explained, by the sums of a layer
    errors: NDArray[np.float32]  #: (tile longest,): by the activations below it
    more: NDArray[np.float32]  #: (tile longest,): of the second channel
    sums: NDArray[np.float32]  #: (longest,)
    panel: NDArray[np.float32]  #: (PANEL units,): weights that are copied; empty where none are
    probabilities: NDArray[np.float64]  #: (tile T classes,)

    @classmethod
    def of(cls, topology: Topology, n_background: int, n_nodes: int) -> PairBuffers:
        """Scratch for pairs with so many background rows, and softmax at so many nodes."""
        n_probabilities = n_nodes * topology.n_outputs
        maximum = max(1, min(TILE, MAX_PROBABILITIES // max(n_probabilities, 1)))
        n_tiles = -(-n_background // maximum)  # of a row
        tile = maximum if n_background < maximum else -(-n_background // n_tiles)
        room = -(-tile // ROWS) * ROWS
        widest = max(topology.widths)
        longest = max(COLUMNS, widest, *(padded(n) for n in topology.units))
        gains, deltas, errors, more, sums = (
            aligned_zeros(n)
            for n in (room * sum(topology.widths), room * widest, room * longest, room * longest, longest)
        )
        read = [padded(n) for n in (topology.n_dense, *topology.hidden)]
        n_copied = [n for n, width in zip(topology.units, read, strict=True) if width and width % ALIASED == 0]
        panel = aligned_zeros(PANEL * max(n_copied, default=0))
        return cls(tile, gains, deltas, errors, more, sums, panel, np.zeros(tile * n_probabilities))


@entry
def pass_rows(rows, n, network, onehot, dense, slots, values, edges, sums, acts):
    """Carry rows through all layers, and keep the sums of every unit.

    Parameters
    ----------
    rows : Rows
    n : int
        How many.
    network : Network
    onehot, dense : (..,) float32
        One-hot block and dense part of the weights.
    slots, values : (max_active,) int32, float32
        Scratch: see `batches.collect_batch`.
    edges : (n + 1,) int32
        Scratch.
    sums, acts : (n total + widest,) float32
        Zeros; receive sums and activations, as `Passed` has them. What follows them is scratch.
    """
    layers = network.layers
    collect_batch(rows, 0, n, ONE, slots, values, edges)
    reads = Matrix(flattened(rows.dense), 0, layers[0, STRIDE], n)
    inputs = BatchInputs(reads, slots, values, edges)
    total = 0
    for k in range(layers.shape[0]):
        total += width_of(layers[k])
    block = 0
    for k in range(layers.shape[0]):
        units, width = pad(layers[k, N_OUT]), width_of(layers[k])
        out = Matrix(sums, n * block, width, n)
        layer_sums(network, k, inputs, reads, onehot, dense, out, 0, units)
        for i in range(n if k < layers.shape[0] - 1 else 0):
            mine, before = span(acts, n * block + i * width, width), span(sums, n * block + i * width, width)
            for j in range(width):
                mine[j] = before[j]
            activate(
                network.activation,
                mine,
                span(acts, n * total, units),
                span(acts, 0, 0),
                network.kept[k],
                units,
                0,
                units,
            )
        reads = Matrix(acts, n * block, width, n)
        block += width


@inlined
def carry(layer, first, n, t, dense, buffers):
    """Multiply by the weights of a layer: multipliers by its sums become those by what it reads.

    Parameters
    ----------
    layer : (7,) int64
        Row of `Network.layers`.
    first, n : int
        Inputs [first, first + n), whole lanes.
    t : int
        Pairs; products are made of whole blocks of rows, the last of which may hold anything.
    dense : (..,) float32
        Dense part of the weights.
    buffers : PairBuffers
        Its deltas are multiplied; its errors receive the product, (t, n).
    """
    units, stride, width, room = layer[N_OUT], layer[STRIDE], width_of(layer), (t + ROWS - 1) // ROWS * ROWS
    panel = buffers.panel
    for channel in range(layer[CHANNELS]):
        there = buffers.errors if channel == 0 else buffers.more
        factors = Factors(buffers.deltas, channel * pad(units), width, 1)
        for c in range(0, n, PANEL):
            m, start = min(PANEL, n - c), layer[WEIGHTS] + channel * units * stride + first + c
            if stride % ALIASED == 0:
                for unit in range(units):
                    mine, weights = span(panel, unit * m, m), span(dense, start + unit * stride, m)
                    for j in range(m):
                        mine[j] = weights[j]
                combine(Matrix(there, c, n, room), factors, Matrix(panel, 0, m, units), m)
            else:
                combine(Matrix(there, c, n, room), factors, Matrix(dense, start, stride, units), m)
        if channel > 0:
            add_scaled(span(buffers.errors, 0, t * n), ONE, span(there, 0, t * n))


@inlined
def add_levels(rows, i, factor, multipliers, onehot, shares, out):
    """Add the contributions of the one-hot inputs of a row.

    Parameters
    ----------
    rows : Rows
    i : int
        The row.
    factor : float64
        What they count.
    multipliers : (width,) float32
        Multipliers by the sums of the first layer.
    onehot : (one-hot block,) float32
    shares : Shares
    out : (G,) float64
        Sums to add to.
    """
    width, active, entries = multipliers.shape[0], rows.active[i], rows.entries
    for c in range(active.shape[0]):
        slot = active[c]
        if slot >= 0:
            place = shares.of_category[c] if shares.of_category[c] >= 0 else shares.of_slot[slot]
            out[place] += factor * dot(multipliers, span(onehot, slot * width, width))
    for e in range(entries.length[i] if entries.begin.shape[0] > 0 else 0):
        slot, value = entries.slot[entries.begin[i] + e], entries.value[entries.begin[i] + e]
        out[shares.of_slot[slot]] += factor * value * dot(multipliers, span(onehot, slot * width, width))


@inlined
def add_inputs(begin, t, o, here, there, network, weights, shares, buffers, out):
    """Add the contributions of all inputs of pairs [begin, begin + t) to a value, by the multipliers of the first layer's sums.

    Parameters
    ----------
    begin, t : int
        First pair, and their number.
    o : int
        Number of the value.
    here, there : Passed
        Rows and background rows.
    network : Network
    weights : tuple of (..,) float32
        One-hot block and dense part.
    shares : Shares
    buffers : PairBuffers
    out : (n, O, G) float64
        Sums to add to.
    """
    onehot, dense = weights
    layer, deltas, numbers, others = network.layers[0], buffers.deltas, here.rows.dense, there.rows.dense
    width, stride = width_of(layer), layer[STRIDE]
    for r in range(begin // there.n, (begin + t - 1) // there.n + 1 if network.n_onehot > 0 else 0):
        lo, hi = max(r * there.n - begin, 0), min((r + 1) * there.n - begin, t)
        total = span(buffers.sums, 0, width)
        for j in range(width):
            total[j] = ZERO
        # The inputs of a row are alike in all of its pairs: the multipliers are added up first.
        for i in range(lo, hi):
            mine = span(deltas, i * width, width)
            add_scaled(total, ONE, mine)
            add_levels(there.rows, begin + i - r * there.n, -1.0, mine, onehot, shares, out[r, o])
        add_levels(here.rows, r, 1.0, total, onehot, shares, out[r, o])
    for first in range(0, stride, COLUMNS):
        n = min(COLUMNS, stride - first)
        carry(layer, first, n, t, dense, buffers)
        for r in range(begin // there.n, (begin + t - 1) // there.n + 1):
            lo, hi = max(r * there.n - begin, 0), min((r + 1) * there.n - begin, t)
            total, mine, found = span(buffers.sums, 0, n), numbers[r], out[r, o]
            for j in range(n):
                total[j] = ZERO
            for i in range(lo, hi):
                other, product = others[begin + i - r * there.n], span(buffers.errors, i * n, n)
                for j in range(n):
                    total[j] += product[j] * (mine[first + j] - other[first + j])
            for j in range(n):
                found[shares.of_number[first + j]] += total[j]


@inlined
def pass_down(network, t, dense, buffers):
    """Carry multipliers back from the output's sums to those of the first layer.

    Parameters
    ----------
    network : Network
    t : int
        Pairs.
    dense : (..,) float32
        Dense part of the weights.
    buffers : PairBuffers
        Its deltas are replaced.
    """
    layers, block = network.layers, 0
    for k in range(layers.shape[0] - 1):
        block += width_of(layers[k])
    for k in range(layers.shape[0] - 1, 0, -1):
        n, width = pad(layers[k - 1, N_OUT]), width_of(layers[k - 1])
        carry(layers[k], 0, n, t, dense, buffers)
        block -= width
        for i in range(t):
            error = span(buffers.errors, i * n, n)
            for c in range(layers[k - 1, CHANNELS]):
                gains = span(buffers.gains, buffers.tile * block + i * width + c * n, n)
                mine = span(buffers.deltas, i * width + c * n, n)
                for j in range(n):
                    mine[j] = error[j] * gains[j]


@entry
def add_contributions(lo, hi, here, there, network, weights, explained, shares, buffers, out):
    """Add up the contributions of inputs over all pairs of rows [lo, hi).

    Parameters
    ----------
    lo, hi : int
    here, there : Passed
        Rows and background rows.
    network : Network
    weights : tuple of (..,) float32
        One-hot block and dense part.
    explained : Explained
    shares : Shares
    buffers : PairBuffers
    out : (n, O, G) float64
        Sums to add to.
    """
    outputs, deltas, tile = width_of(network.layers[-1]), buffers.deltas, buffers.tile
    _, dense = weights
    n_rows = max(1, tile // there.n)  # tiles end with rows, so that the bits of a row do not depend on the others
    for first in range(lo, hi, n_rows):
        stop = min(first + n_rows, hi) * there.n
        for begin in range(first * there.n, stop, tile):
            t = min(tile, stop - begin)
            gains_of_pairs(network, begin, t, here, there, buffers)
            if explained.nodes.shape[0] > 0:
                probabilities_of_pairs(begin, t, here, there, explained.nodes, buffers.probabilities)
            for o in range(out.shape[1]):
                if explained.nodes.shape[0] > 0:
                    deltas_of_softmax(begin, t, o, here, there, explained, buffers.probabilities, outputs, deltas)
                else:
                    deltas_of_margins(begin, t, o, here, there, explained.directions, outputs, deltas)
                for i in range(t if shares.of_offset >= 0 else 0):  # offsets are added to the one sum of the output
                    r, b = (begin + i) // there.n, (begin + i) % there.n
                    apart = here.rows.offset[r] - there.rows.offset[b]
                    out[r, o, shares.of_offset] += deltas[i * outputs] * apart
                pass_down(network, t, dense, buffers)
                add_inputs(begin, t, o, here, there, network, weights, shares, buffers, out)
