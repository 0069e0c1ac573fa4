"""Start values of weights (algorithm.md#start-of-weights) and biases (algorithm.md#start-of-biases)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dask_dl.kernels.layout import Topology


def initial_weights(topology: Topology, distribution: str, scale: float, seed: int) -> list[NDArray[np.float32]]:
    """Draw random weights, each layer from another generator.

    uniform_adaptive draws hidden layers from +-sqrt(6 / (inputs + units)) (Glorot, Bengio 2010, equation 16), both
    channels of maxout alike, and leaves the output layer at 0, so that the first predictions are those of the biases;
    uniform draws all layers from +-scale; normal with standard deviation scale.

    Parameters
    ----------
    topology : Topology
        Sizes of the network.
    distribution : str
        "uniform_adaptive", "uniform" or "normal".
    scale : float
        Limit or standard deviation; without meaning for uniform_adaptive.
    seed : int
        Seed of the generators.

    Returns
    -------
    list of (units times channels, inputs) float32
        Weights of every layer.
    """
    weights = []
    for k, (n_out, n_in) in enumerate(topology.shapes):
        random = np.random.default_rng([seed, k])
        if distribution == "normal":
            weights.append(random.normal(0, scale, (n_out, n_in)).astype(np.float32))
            continue
        reach = scale
        if distribution == "uniform_adaptive":
            reach = np.sqrt(6 / (n_in + topology.units[k])) if k < len(topology.hidden) else 0.0
        weights.append(random.uniform(-reach, reach, (n_out, n_in)).astype(np.float32))
    return weights


def initial_biases(topology: Topology, output: float = 0.0) -> list[NDArray[np.float32]]:
    """Rectifier, maxout: 0.5 in the first hidden layer and 1 in the others, so that units start alive; tanh: 0."""
    biases = [np.zeros(n, np.float32) for n, _ in topology.shapes]
    if topology.activation != "tanh":
        for k in range(len(topology.hidden)):
            biases[k][:] = 0.5 if k == 0 else 1.0
    biases[-1][:] = output
    return biases
