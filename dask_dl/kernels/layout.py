"""Where every weight lies: one flat float32 vector, described by data instead of code, so that one kernel serves all.

The vector holds, in this order, the one-hot block of the first layer *input-major* (row i = what level i feeds, so an
absent level costs nothing), then for every layer its dense weights *unit-major* (row j = what unit j reads, so a dead
unit skips one contiguous row) and its biases. Where there are levels, the first layer's biases are one more row of the
one-hot block, a level that is always active: threads share them as they share levels. Every row is padded with zeros to
64 bytes, a vector register and a cache line; padding never leaves zero.

Letters: P inputs, h units. Files, `golden` and H2O hold a layer as (units, inputs) over all inputs, one-hot slots first.
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

RECTIFIER, TANH = 0, 1
ACTIVATIONS = {"rectifier": RECTIFIER, "tanh": TANH}
LINEAR, SOFTMAX = 0, 1
OUTPUTS = {"linear": LINEAR, "softmax": SOFTMAX}

# Columns of `Network.layers`
N_IN, STRIDE, N_OUT, WEIGHTS, BIASES = range(5)


class Network(NamedTuple):
    """What a kernel must know of a topology."""

    #: (L, 5): inputs, padded row length, units, and where weights and biases start, each in its part of the flat vector
    layers: NDArray[np.int64]
    n_onehot: int  #: one-hot slots; their rows are as long as the first layer, padded
    activation: int  #: RECTIFIER or TANH
    output: int  #: LINEAR or SOFTMAX


@dataclass(frozen=True)
class Topology:
    """Sizes and functions of a network, and the views that give its flat vector a shape."""

    n_onehot: int  #: one-hot inputs, the first of the P inputs
    n_dense: int  #: numeric inputs
    hidden: tuple[int, ...]
    n_outputs: int
    activation: str  #: a key of ACTIVATIONS
    output: str  #: a key of OUTPUTS

    @property
    def n_inputs(self) -> int:
        """P, the inputs of the first layer."""
        return self.n_onehot + self.n_dense

    @property
    def units(self) -> tuple[int, ...]:
        """Units of every layer, the output last."""
        return (*self.hidden, self.n_outputs)

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """(units, inputs) of every layer."""
        return list(zip(self.units, (self.n_inputs, *self.hidden), strict=True))

    @property
    def n_parameters(self) -> int:
        """Weights and biases, without padding."""
        return sum(n_out * n_in + n_out for n_out, n_in in self.shapes)

    @cached_property
    def network(self) -> Network:
        """The same as data for kernels."""
        layers = np.zeros((len(self.units), 5), np.int64)
        end = 0
        for k, (n_in, n_out) in enumerate(zip((self.n_dense, *self.hidden), self.units, strict=True)):
            stop = end + n_out * padded(n_in)
            with_levels = k == 0 and self.n_onehot > 0
            biases = self.n_onehot * padded(n_out) if with_levels else stop
            layers[k] = n_in, padded(n_in), n_out, end, biases
            end = stop if with_levels else biases + padded(n_out)
        return Network(layers, self.n_onehot, ACTIVATIONS[self.activation], OUTPUTS[self.output])

    @property
    def onehot_size(self) -> int:
        """Length of the one-hot block, with which the flat vector starts (levels, biases); the rest is its dense part."""
        return (self.n_onehot + 1) * padded(self.units[0]) if self.n_onehot else 0

    @property
    def dense_size(self) -> int:
        """Length of the dense part: weights of dense inputs, and biases."""
        padded_inputs = zip((self.n_dense, *self.hidden), self.units, strict=True)
        size = sum(n_out * padded(n_in) + padded(n_out) for n_in, n_out in padded_inputs)
        return size - (padded(self.units[0]) if self.n_onehot else 0)

    @property
    def size(self) -> int:
        """Length of the flat vector, padding included."""
        return self.onehot_size + self.dense_size

    @property
    def buffers(self) -> tuple[int, int, int]:
        """float32 numbers of all layers' activations; lanes of units, and inputs, of the widest layer with hidden inputs."""
        widths = [padded(n) for n in self.units]
        return sum(widths), max(widths[1:], default=0) // LANE, max(widths[:-1], default=0)

    @property
    def buffer_size(self) -> int:
        """float32 numbers of a crew's buffers and of a thread's scratch."""
        activations, lanes, widest = self.buffers
        return 2 * (activations + lanes * widest) + self.scratch_size

    @property
    def scratch_size(self) -> int:
        """float32 numbers that each thread needs to itself: deltas, an output, and two widest layers."""
        widths = [padded(n) for n in self.units]
        return sum(widths) + widths[-1] + 2 * max(widths)

    def pack(
        self, weights: Sequence[NDArray[np.floating]], biases: Sequence[NDArray[np.floating]]
    ) -> NDArray[np.float32]:
        """A flat vector of `weights`, one (units, inputs) a layer, and `biases`, one (units,) a layer."""
        flat = aligned_zeros(self.size)
        for k, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
            onehot, dense, bias_view = self._views(flat, k)
            onehot[:] = weight[:, : weight.shape[1] - dense.shape[1]].T
            dense[:] = weight[:, weight.shape[1] - dense.shape[1] :]
            bias_view[:] = bias
        return flat

    def unpack(self, flat: NDArray[np.float32]) -> tuple[list[NDArray[np.float32]], list[NDArray[np.float32]]]:
        """Copies of the weights, (units, inputs) a layer, and of the biases, (units,) a layer: `pack` undone."""
        weights, biases = [], []
        for k in range(len(self.units)):
            onehot, dense, bias = self._views(flat, k)
            weights.append(np.concatenate([onehot.T, dense], axis=1))
            biases.append(bias.copy())
        return weights, biases

    def named(self, name: str, flat: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """Arrays of a file: `name`/weights/0, ... and `name`/biases/0, ..., as `unpack` gives them."""
        return {
            f"{name}/{part}/{k}": array
            for part, arrays in zip(("weights", "biases"), self.unpack(flat), strict=True)
            for k, array in enumerate(arrays)
        }

    def vector(self, name: str, arrays: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
        """The flat vector of a file's arrays: `named` undone. Raises ValueError when they are not this network's."""
        weights, biases = (
            [arrays[f"{name}/{part}/{k}"] for k in range(len(self.units))] for part in ("weights", "biases")
        )
        if [w.shape for w in weights] != self.shapes or [b.shape for b in biases] != [(n,) for n in self.units]:
            raise ValueError("the arrays' shapes are not the network's")
        return self.pack(weights, biases)

    def _views(
        self, flat: NDArray[np.float32], k: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Layer k as (one-hot slots, units) input-major, (units, dense inputs) unit-major, (units,) biases."""
        n_in, stride, n_out, weights, biases = (int(v) for v in self.network.layers[k])
        n_onehot = self.n_onehot if k == 0 else 0
        onehot = flat[: n_onehot * padded(n_out)].reshape(n_onehot, padded(n_out))[:, :n_out]
        dense = flat[self.onehot_size :]
        with_biases = flat if n_onehot else dense
        rows = dense[weights : weights + n_out * stride].reshape(n_out, stride)
        return onehot, rows[:, :n_in], with_biases[biases : biases + n_out]
