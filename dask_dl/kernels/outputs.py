"""Outputs of the network: the function of its last layer, and the gradients of a row's loss by that layer's sums."""

from __future__ import annotations

import numpy as np

from dask_dl.jit import inlined, kernel
from dask_dl.kernels.layout import N_OUT, SOFTMAX
from dask_dl.kernels.losses import CROSS_ENTROPY, SQUARED_PROBABILITIES, number_loss
from dask_dl.kernels.optimizers import ONE, TWO, ZERO


@kernel
def softmax(out, n):
    """Probabilities from the first n numbers of `out`, in place (algorithm.md#softmax)."""
    top = out[0]
    for j in range(1, n):
        top = max(top, out[j])
    total = ZERO
    for j in range(n):
        out[j] = np.exp(out[j] - top)
        total += out[j]
    for j in range(n):
        out[j] /= total


@inlined
def answer(network, rows, i, out):
    """Turn the output's sums into the network's answer, in place: probabilities, or the sum with the row's offset.

    Parameters
    ----------
    network : Network
    rows : Rows
    i : int
        The row.
    out : (padded outputs,) float32
    """
    if network.output == SOFTMAX:
        softmax(out, network.layers[-1, N_OUT])
    elif rows.offset.shape[0] > 0:
        out[0] += rows.offset[i]


@kernel
def target_deltas(objective, n, out, target, weight, deltas):
    """Compute the gradients of a row's loss by the output's sums, where the row has one target.

    Parameters
    ----------
    objective : Objective
    n : int
        Outputs.
    out : (padded n,) float32
        Answer of the network.
    target : float32
        Class index, or the target in units of the sum.
    weight : float32
        Factor of the loss.
    deltas : (padded n,) float32
        Receives the gradients.

    Returns
    -------
    float32
        The loss.
    """
    if objective.kind == CROSS_ENTROPY:
        label = np.int64(target)
        for j in range(n):
            deltas[j] = weight * out[j]
        deltas[label] -= weight
        return -weight * np.log(max(out[label], np.float32(1e-15)))
    if objective.kind == SQUARED_PROBABILITIES:
        label = np.int64(target)
        loss = ZERO
        for j in range(n):
            p = out[j]
            error = p - ONE if j == label else p
            loss += error * error
            deltas[j] = weight * (error * (ONE - p) * p)
        return weight * (loss / TWO)
    loss, gradient = number_loss(objective, out[0], target)
    deltas[0] = weight * gradient
    return weight * loss


# Inlined: all arrays of the rows, passed in a call, take longer than the outputs of a small network.
@inlined
def output_deltas(objective, network, rows, i, out, deltas):
    """Compute the gradients of a row's loss by the output's sums; returns the loss.

    Parameters
    ----------
    objective : Objective
    network : Network
    rows : Rows
    i : int
        The row.
    out : (padded outputs,) float32
        Answer of the network.
    deltas : (padded outputs,) float32
        Receives the gradients.
    """
    weight = rows.weight[i] if rows.weight.shape[0] > 0 else ONE
    return target_deltas(objective, network.layers[-1, N_OUT], out, rows.target[i], weight, deltas)
