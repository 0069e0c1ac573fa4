"""Where every weight lies: one flat float32 vector, described by data instead of code, so that one kernel serves all.

The vector holds, in this order, the one-hot block of the first layer *input-major* (row i = what level i feeds, so an
absent level costs nothing), then for every layer its dense weights *unit-major* (row j = what unit j reads, so a dead
unit skips one contiguous row) and its biases. Where there are levels, the first layer's biases are one more row of the
one-hot block, a level that is always active: threads share them as they share levels. Every row is padded with zeros to
64 bytes, a vector register and a cache line; padding never leaves zero.

A maxout unit has two channels, and the larger sum is its activation. All first channels come before the second ones: 2 h
rows of weights, and vectors (sums, biases, what a level feeds) of 2 padded(h) numbers.

Letters: P inputs, h units (algorithm.md#layers). Files and H2O hold a layer as (units, inputs) over all inputs, one-hot
slots first; of maxout (algorithm.md#maxout) as (2 h, inputs) in name, a flat list in which weight i of unit j and channel k
is at 2 (j inputs + i) + k.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dask_dl.state import LANE, aligned_zeros, padded

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

RECTIFIER, TANH, MAXOUT = 0, 1, 2
ACTIVATIONS = {"rectifier": RECTIFIER, "tanh": TANH, "maxout": MAXOUT}
LINEAR, SOFTMAX = 0, 1
OUTPUTS = {"linear": LINEAR, "softmax": SOFTMAX}

# Columns of `Network.layers`
N_IN, STRIDE, N_OUT, WEIGHTS, BIASES, CHANNELS, MEANS = range(7)


class Network(NamedTuple):
    """Topology as kernels read it."""

    #: (L, 7): inputs, padded row length, units, where weights and biases start, each in its part of the flat vector,
    #: channels, and where the units' mean activations start in the dense part (-1: there are none)
    layers: NDArray[np.int64]
    n_onehot: int  #: one-hot slots; their rows are as long as the first layer, padded
    activation: int  #: of ACTIVATIONS
    output: int  #: LINEAR or SOFTMAX
    kept: NDArray[np.float32]  #: (L,): share of a layer's units that a row keeps in training; 1 is all
    n_sparse: int  #: columns that come as entries


@dataclass(frozen=True)
class Topology:
    """Sizes and functions of a network, and the views that give its flat vector a shape."""

    n_onehot: int  #: one-hot inputs, the first of the P inputs
    n_dense: int  #: numeric inputs
    hidden: tuple[int, ...]
    n_outputs: int
    activation: str  #: a key of ACTIVATIONS
    output: str  #: a key of OUTPUTS
    dropout: tuple[float, ...] = ()  #: share of units that a row drops, for each hidden layer; empty is none
    has_means: bool = False  #: whether hidden units remember their mean activation, as sparse autoencoders need it
    n_sparse: int = (
        0  #: columns of the table that come as entries (`state.Entries`); their slots count as one-hot inputs
    )

    @property
    def n_inputs(self) -> int:
        """P, the inputs of the first layer."""
        return self.n_onehot + self.n_dense

    @property
    def units(self) -> tuple[int, ...]:
        """Units of every layer, the output last."""
        return (*self.hidden, self.n_outputs)

    @property
    def channels(self) -> tuple[int, ...]:
        """Sums from which every layer's units choose the largest."""
        return (*(2 if self.activation == "maxout" else 1 for _ in self.hidden), 1)

    @property
    def widths(self) -> tuple[int, ...]:
        """Length of every layer's vectors, padding included: a number for each channel of each unit."""
        return tuple(c * padded(n) for c, n in zip(self.channels, self.units, strict=True))

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """(units times channels, inputs) of every layer."""
        n_rows = (c * n for c, n in zip(self.channels, self.units, strict=True))
        return list(zip(n_rows, (self.n_inputs, *self.hidden), strict=True))

    @property
    def n_parameters(self) -> int:
        """Weights and biases, without padding."""
        return sum(n_out * n_in + n_out for n_out, n_in in self.shapes)

    @cached_property
    def network(self) -> Network:
        """Topology as data for kernels."""
        layers = np.zeros((len(self.units), 7), np.int64)
        kept = np.ones(len(self.units), np.float32)
        kept[: len(self.dropout)] -= np.array(self.dropout, np.float32)
        end = 0
        for k, (n_in, n_out) in enumerate(zip((self.n_dense, *self.hidden), self.units, strict=True)):
            stop = end + self.channels[k] * n_out * padded(n_in)
            with_levels = k == 0 and self.n_onehot > 0
            biases = self.n_onehot * self.widths[k] if with_levels else stop
            stop += 0 if with_levels else self.widths[k]
            has_means = self.has_means and k < len(self.hidden)
            layers[k] = n_in, padded(n_in), n_out, end, biases, self.channels[k], stop if has_means else -1
            end = stop + (padded(n_out) if has_means else 0)
        return Network(layers, self.n_onehot, ACTIVATIONS[self.activation], OUTPUTS[self.output], kept, self.n_sparse)

    @property
    def onehot_size(self) -> int:
        """Length of the one-hot block, with which the flat vector starts (levels, biases); the rest is its dense part."""
        return (self.n_onehot + 1) * self.widths[0] if self.n_onehot else 0

    @property
    def dense_size(self) -> int:
        """Length of the dense part: weights of dense inputs, and biases."""
        layers = zip((self.n_dense, *self.hidden), self.shapes, self.widths, strict=True)
        size = sum(n_rows * padded(n_in) + width for n_in, (n_rows, _), width in layers)
        size -= self.widths[0] if self.n_onehot else 0
        return size + (sum(padded(n) for n in self.hidden) if self.has_means else 0)

    @property
    def size(self) -> int:
        """Length of the flat vector, padding included."""
        return self.onehot_size + self.dense_size

    @cached_property
    def buffers(self) -> tuple[int, int, int]:
        """float32 numbers of all layers' activations; lanes of units, and inputs, of the widest layer with hidden inputs."""
        padded_units = [padded(n) for n in self.units]
        return sum(self.widths), max(padded_units[1:], default=0) // LANE, max(padded_units[:-1], default=0)

    @property
    def buffer_size(self) -> int:
        """float32 numbers of a team's buffers and of a thread's scratch."""
        activations, lanes, widest = self.buffers
        return 2 * (activations + lanes * widest) + self.scratch_size

    @property
    def scratch_size(self) -> int:
        """float32 numbers that each thread needs to itself: deltas, masks, an output, two widest layers, and inputs."""
        return 2 * sum(self.widths) + self.widths[-1] + 2 * max(self.widths) + padded(self.n_dense)

    def pack(
        self, weights: Sequence[NDArray[np.floating]], biases: Sequence[NDArray[np.floating]]
    ) -> NDArray[np.float32]:
        """A flat vector of `weights`, one (units, inputs) a layer, and `biases`, one (units,) a layer."""
        flat = aligned_zeros(self.size)
        for k, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
            n_in = weight.shape[1]
            by_channel = weight.reshape(self.units[k], n_in, self.channels[k])
            for channel, (onehot, dense, bias_view) in enumerate(self._views(flat, k)):
                onehot[:] = by_channel[:, : n_in - dense.shape[1], channel].T
                dense[:] = by_channel[:, n_in - dense.shape[1] :, channel]
                bias_view[:] = bias.reshape(self.units[k], -1)[:, channel]
        return flat

    def unpack(self, flat: NDArray[np.float32]) -> tuple[list[NDArray[np.float32]], list[NDArray[np.float32]]]:
        """Copies of the weights, (units, inputs) a layer, and of the biases, (units,) a layer: `pack` undone."""
        weights, biases = [], []
        for k, shape in enumerate(self.shapes):
            views = self._views(flat, k)
            weights.append(np.stack([np.concatenate([o.T, d], axis=1) for o, d, _ in views], axis=2).reshape(shape))
            biases.append(np.stack([bias for _, _, bias in views], axis=1).reshape(-1))
        return weights, biases

    def means(self, flat: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Mean activations of every hidden layer's units, not copied; empty where they are not remembered."""
        starts = self.onehot_size + self.network.layers[:-1, MEANS]
        return [flat[start : start + n] for start, n in zip(starts, self.hidden, strict=True)] if self.has_means else []

    def named(self, name: str, flat: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """Arrays of a file: `name`/weights/0, ... and `name`/biases/0, ..., as `unpack` gives them; `name`/means/0, ..."""
        parts = zip(("weights", "biases", "means"), (*self.unpack(flat), self.means(flat)), strict=True)
        return {f"{name}/{part}/{k}": array for part, arrays in parts for k, array in enumerate(arrays)}

    def vector(self, name: str, arrays: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
        """The flat vector of a file's arrays: `named` undone. Raises ValueError when they are not this network's."""
        weights, biases = (
            [arrays[f"{name}/{part}/{k}"] for k in range(len(self.units))] for part in ("weights", "biases")
        )
        if [w.shape for w in weights] != self.shapes or [b.shape for b in biases] != [(n,) for n, _ in self.shapes]:
            raise ValueError("the arrays' shapes are not the network's")
        flat = self.pack(weights, biases)
        for k, view in enumerate(self.means(flat)):
            if arrays[f"{name}/means/{k}"].shape != view.shape:
                raise ValueError("the mean activations' shapes are not the network's")
            view[:] = arrays[f"{name}/means/{k}"]
        return flat

    def _views(
        self, flat: NDArray[np.float32], k: int
    ) -> list[tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]]:
        """Views of layer k, by channel.

        (one-hot slots, units) input-major, (units, dense inputs) unit-major, (units,) biases.
        """
        n_in, stride, n_out, weights, biases = (int(v) for v in self.network.layers[k, :5])
        n_onehot, width = self.n_onehot if k == 0 else 0, self.widths[k]
        onehot = flat[: n_onehot * width].reshape(n_onehot, width)
        dense = flat[self.onehot_size :]
        with_biases = flat if n_onehot else dense
        rows = dense[weights : weights + self.channels[k] * n_out * stride].reshape(self.channels[k], n_out, stride)[
            :, :, :n_in
        ]
        return [
            (onehot[:, i : i + n_out], rows[channel], with_biases[biases + i : biases + i + n_out])
            for channel, i in enumerate(range(0, width, padded(n_out)))
        ]
