"""Activations of a network for given rows: of its output, or of any layer before it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from dask_dl.errors import ParameterError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dask_dl.kernels.layout import Topology

#: Bytes of the outputs that are held at a time, however many units there are ...
BYTES_PER_CHUNK = 2**26
#: ... and of encoded inputs, however many columns.
INPUT_BYTES_PER_CHUNK = 2**28


def rows_per_chunk(n_outputs: int, input_bytes: int = 1, n_threads: int = 1) -> int:
    """Rows that each thread predicts at a time; 1 or more.

    Their outputs, and answers made of them, 8 bytes a unit, take BYTES_PER_CHUNK at most, those of all threads together; their
    inputs, of so many bytes a row, INPUT_BYTES_PER_CHUNK.
    """
    return max(1, min(BYTES_PER_CHUNK // (8 * n_outputs), INPUT_BYTES_PER_CHUNK // input_bytes) // n_threads)


def cut_after(topology: Topology, flat: NDArray[np.float32], layer: int) -> tuple[Topology, NDArray[np.float32]]:
    """Network that ends after a layer: its outputs are the activations of that layer's units.

    The layer is followed by an output layer of the identity, which gives every activation as it is: so a cut network is one
    like any other to the kernels, whatever the function of the layer is.

    Parameters
    ----------
    topology : Topology
        Sizes of the whole network.
    flat : (size,) float32
        Its weights and biases.
    layer : int
        Number of the hidden layer, from 0, or from -1 for the last one.

    Returns
    -------
    Topology, (size,) float32
        The cut network: sizes, and weights and biases.

    Raises
    ------
    ParameterError
        When there is no such hidden layer.
    """
    last = _place(topology, layer) + 1
    n = topology.hidden[last - 1]
    cut = replace(
        topology,
        hidden=topology.hidden[:last],
        n_outputs=n,
        output="linear",
        dropout=topology.dropout[:last],
        has_means=False,
    )
    weights, biases = topology.unpack(flat)
    return cut, cut.pack([*weights[:last], np.eye(n, dtype=np.float32)], [*biases[:last], np.zeros(n, np.float32)])


def cut_before(topology: Topology, flat: NDArray[np.float32], layer: int) -> tuple[Topology, NDArray[np.float32]]:
    """Network that begins above a layer: its inputs are the activations that `cut_after` gives.

    Parameters
    ----------
    topology : Topology
        Sizes of the whole network.
    flat : (size,) float32
        Its weights and biases.
    layer : int
        Number of the hidden layer, from 0, or from -1 for the last one.

    Returns
    -------
    Topology, (size,) float32
        The cut network: sizes, and weights and biases.

    Raises
    ------
    ParameterError
        When there is no such hidden layer.
    """
    first = _place(topology, layer) + 1
    cut = replace(
        topology,
        n_onehot=0,
        n_dense=topology.hidden[first - 1],
        n_sparse=0,
        hidden=topology.hidden[first:],
        dropout=topology.dropout[first:],
        has_means=False,
    )
    weights, biases = topology.unpack(flat)
    return cut, cut.pack(weights[first:], biases[first:])


def _place(topology: Topology, layer: int) -> int:
    """Number of a hidden layer, from 0. Raises ParameterError when there is no such layer."""
    n_hidden = len(topology.hidden)
    if not n_hidden:
        raise ParameterError(f"layer={layer}: the network has no hidden layer.")
    if not -n_hidden <= layer < n_hidden:
        raise ParameterError(f"layer={layer}: the network has {n_hidden} hidden layers, 0 to {n_hidden - 1}.")
    return layer % n_hidden
