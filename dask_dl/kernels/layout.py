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

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dask_dl.errors import ParameterError
from dask_dl.state import LANE, aligned_zeros, padded

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

RECTIFIER, TANH, MAXOUT = 0, 1, 2
ACTIVATIONS = {"rectifier": RECTIFIER, "tanh": TANH, "maxout": MAXOUT}
LINEAR, SOFTMAX, ACTIVATED = 0, 1, 2
#: Functions of the output by name. The last one is that of the hidden layers, of which maxout has none.
OUTPUTS = {"linear": LINEAR, "softmax": SOFTMAX, "activated": ACTIVATED}

# Places of units, inputs and channels among the axes of a segment. Biases and means count as one input.
INPUT_MAJOR, UNIT_MAJOR = (2, 0, 1), (1, 2, 0)

# Columns of `Network.layers`
N_IN, STRIDE, N_OUT, WEIGHTS, BIASES, CHANNELS, MEANS = range(7)


class Network(NamedTuple):
    """Topology as kernels read it."""

    #: (L, 7): inputs, padded row length, units, where weights and biases start, each in its part of the flat vector,
    #: channels, and where the units' mean activations start in the dense part (-1: there are none)
    layers: NDArray[np.int64]
    n_onehot: int  #: one-hot slots; their rows are as long as the first layer, padded
    activation: int  #: of ACTIVATIONS
    output: int  #: of OUTPUTS
    kept: NDArray[np.float32]  #: (L,): share of a layer's units that a row keeps in training; 1 is all
    n_sparse: int  #: columns that come as entries


class Segment(NamedTuple):
    """A part of the flat vector: an array of a file, or what some of its inputs feed."""

    name: str  #: of the array: weights/0
    shape: tuple[int, int, int]  #: as it lies, but for the padding of its last axis to whole lanes
    axes: tuple[int, int, int]  #: INPUT_MAJOR or UNIT_MAJOR
    start: int  #: place in the flat vector

    @property
    def size(self) -> int:
        """Numbers, with padding."""
        return math.prod(self.shape[:-1]) * padded(self.shape[-1])

    def view(self, flat: NDArray[np.float32]) -> NDArray[np.float32]:
        """(units, inputs, channels), not copied."""
        rows = flat[self.start : self.start + self.size].reshape(*self.shape[:-1], padded(self.shape[-1]))
        return rows[..., : self.shape[-1]].transpose(self.axes)


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

    def __post_init__(self) -> None:
        if self.output == "activated" and self.activation == "maxout":
            raise ParameterError("output='activated' needs activation='rectifier' or 'tanh', not 'maxout'")

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
    def segments(self) -> tuple[Segment, ...]:
        """Parts of the flat vector, one after another: the one-hot block, if there is one, then the dense part."""
        parts: list[tuple[str, tuple[int, int, int], tuple[int, int, int]]] = []
        for k, (n_in, n_out, c) in enumerate(zip((self.n_dense, *self.hidden), self.units, self.channels, strict=True)):
            weights = f"weights/{k}", (c, n_out, n_in), UNIT_MAJOR
            biases = f"biases/{k}", (1, c, n_out), INPUT_MAJOR
            if k == 0 and self.n_onehot:
                parts += [(f"weights/{k}", (self.n_onehot, c, n_out), INPUT_MAJOR), biases, weights]
            else:
                parts += [weights, biases]
            if self.has_means and k < len(self.hidden):
                parts.append((f"means/{k}", (1, 1, n_out), INPUT_MAJOR))
        segments, end = [], 0
        for name, shape, axes in parts:
            segments.append(Segment(name, shape, axes, end))
            end += segments[-1].size
        return tuple(segments)

    @cached_property
    def _by_name(self) -> dict[str, list[Segment]]:
        found: dict[str, list[Segment]] = {}
        for segment in self.segments:
            found.setdefault(segment.name, []).append(segment)
        return found

    @cached_property
    def array_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of a file's arrays, by name: weights/0, ..., biases/0, ..., and means/0, ... where there are any."""
        shapes: dict[str, tuple[int, ...]] = {f"weights/{k}": shape for k, shape in enumerate(self.shapes)}
        shapes |= {f"biases/{k}": shape[:1] for k, shape in enumerate(self.shapes)}
        return shapes | ({f"means/{k}": (n,) for k, n in enumerate(self.hidden)} if self.has_means else {})

    @cached_property
    def network(self) -> Network:
        """Topology as data for kernels."""
        layers = np.zeros((len(self.units), 7), np.int64)
        kept = np.ones(len(self.units), np.float32)
        kept[: len(self.dropout)] -= np.array(self.dropout, np.float32)
        # Of the weights of levels and of the first layer's dense ones, which have the same name, the latter come last.
        start = {segment.name: segment.start - self.onehot_size for segment in self.segments}
        if self.n_onehot:
            start["biases/0"] += self.onehot_size
        for k, (n_in, n_out) in enumerate(zip((self.n_dense, *self.hidden), self.units, strict=True)):
            places = start[f"weights/{k}"], start[f"biases/{k}"], self.channels[k], start.get(f"means/{k}", -1)
            layers[k] = n_in, padded(n_in), n_out, *places
        return Network(layers, self.n_onehot, ACTIVATIONS[self.activation], OUTPUTS[self.output], kept, self.n_sparse)

    @cached_property
    def onehot_size(self) -> int:
        """Length of the one-hot block, with which the flat vector starts (levels, biases); the rest is its dense part."""
        return sum(segment.size for segment in self.segments[:2]) if self.n_onehot else 0

    @property
    def dense_size(self) -> int:
        """Length of the dense part: weights of dense inputs, biases, and mean activations."""
        return self.size - self.onehot_size

    @property
    def size(self) -> int:
        """Length of the flat vector, padding included."""
        return self.segments[-1].start + self.segments[-1].size

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
        arrays = {f"weights/{k}": array for k, array in enumerate(weights)}
        return self._filled(arrays | {f"biases/{k}": array for k, array in enumerate(biases)})

    def unpack(self, flat: NDArray[np.float32]) -> tuple[list[NDArray[np.float32]], list[NDArray[np.float32]]]:
        """Copies of the weights, (units, inputs) a layer, and of the biases, (units,) a layer: `pack` undone."""
        weights, biases = (
            [self._array(flat, f"{part}/{k}") for k in range(len(self.units))] for part in ("weights", "biases")
        )
        return weights, biases

    def means(self, flat: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Mean activations of every hidden layer's units, not copied; empty where they are not remembered."""
        return [segment.view(flat)[:, 0, 0] for segment in self.segments if segment.name.startswith("means/")]

    def named(self, name: str, flat: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """Arrays of a file, copied: `name`/weights/0, ..., as `array_shapes` has them."""
        return {f"{name}/{part}": self._array(flat, part) for part in self.array_shapes}

    def vector(self, name: str, arrays: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
        """The flat vector of a file's arrays: `named` undone. Raises ValueError when they are not this network's."""
        mine = {part: arrays[f"{name}/{part}"] for part in self.array_shapes}
        for part, shape in self.array_shapes.items():
            if mine[part].shape != shape:
                raise ValueError(
                    f"{part} has the shape {mine[part].shape}, and not {shape}: the shapes are not the network's"
                )
        return self._filled(mine)

    def _array(self, flat: NDArray[np.float32], name: str) -> NDArray[np.float32]:
        """Copy of an array of a file."""
        parts = [segment.view(flat) for segment in self._by_name[name]]
        n_units, _, n_channels = parts[0].shape
        array = np.empty((n_units, sum(part.shape[1] for part in parts), n_channels), np.float32)
        return np.concatenate(parts, axis=1, out=array).reshape(self.array_shapes[name])

    def _filled(self, arrays: Mapping[str, NDArray[np.floating]]) -> NDArray[np.float32]:
        """A flat vector of a file's arrays; zeros where they are not given."""
        flat = aligned_zeros(self.size)
        for name, array in arrays.items():
            first = 0  # input
            for segment in self._by_name[name]:
                view = segment.view(flat)
                stop = first + view.shape[1]
                view[:] = array.reshape(view.shape[0], -1, view.shape[2])[:, first:stop]
                first = stop
        return flat
