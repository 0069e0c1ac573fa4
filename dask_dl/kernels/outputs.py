"""Outputs of the network: the function of its last layer, and the gradients of a row's loss by that layer's sums."""

from __future__ import annotations

import numpy as np

from dask_dl.jit import inlined, kernel
from dask_dl.kernels.exponential import tanh_and_gradient
from dask_dl.kernels.layout import ACTIVATED, N_OUT, SOFTMAX, TANH
from dask_dl.kernels.losses import CROSS_ENTROPY, GAUSSIAN, SQUARED_PROBABILITIES, number_loss
from dask_dl.kernels.optimizers import ONE, TWO, ZERO
from dask_dl.kernels.spans import span


@kernel
def softmax(out, n):
    """Probabilities from the first n numbers of out (padded n,) float32, in place (algorithm.md#softmax)."""
    top = out[0]
    for j in range(1, n):
        top = max(top, out[j])
    total = ZERO
    for j in range(n):
        out[j] = np.exp(out[j] - top)
        total += out[j]
    for j in range(n):
        out[j] /= total


@kernel
def activate_outputs(kind, out):
    """Apply the function of the hidden layers, TANH or RECTIFIER, in place: out (n,) float32."""
    for j in range(out.shape[0]):
        out[j] = tanh_and_gradient(out[j])[0] if kind == TANH else max(out[j], ZERO)


@inlined
def answer(network, rows, i, out):
    """Turn the output's sums into the network's answer, in place.

    It is made of probabilities; of a sum with the row's offset; or of activations, as many as inputs.

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
    elif network.output == ACTIVATED:
        activate_outputs(network.activation, out)
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


@kernel
def reconstruction_deltas(objective, network, numbers, active, entries, out, weight, deltas):
    """Compute the gradients of errors against the row's own inputs (algorithm.md#loss-of-reconstructions).

    Parameters
    ----------
    objective : Objective
    network : Network
    numbers : (stride,) float32
        Numeric inputs of the row, none of them dropped.
    active : (categories,) int32
        One-hot inputs that are 1; -1: none.
    entries : tuple of (n,) int32, (n,) float32
        One-hot inputs with a value of their own, and the values.
    out : (padded outputs,) float32
        Answer of the network, input by input.
    weight : float32
        Factor of the loss.
    deltas : (padded outputs,) float32
        Receives the gradients. The padding stays zero.

    Returns
    -------
    float32
        The loss.
    """
    slots, values = entries
    n, n_onehot = network.layers[-1, N_OUT], network.n_onehot
    for j in range(deltas.shape[0]):
        deltas[j] = out[j]
    for c in range(active.shape[0]):
        if active[c] >= 0:
            deltas[active[c]] -= ONE
    for e in range(slots.shape[0]):
        deltas[slots[e]] -= values[e]
    for j in range(min(numbers.shape[0], deltas.shape[0] - n_onehot)):  # the padding of both is zero
        deltas[n_onehot + j] -= numbers[j]
    loss = ZERO
    if objective.kind == GAUSSIAN:  # `number_loss`, in vectors
        for j in range(deltas.shape[0]):
            loss += deltas[j] * deltas[j]
            deltas[j] *= TWO * weight
    else:
        for j in range(n):
            of_input, gradient = number_loss(objective, deltas[j], ZERO)
            loss += of_input
            deltas[j] = weight * gradient
    if objective.derives and network.output == ACTIVATED:
        for j in range(n):
            deltas[j] *= (ONE - out[j]) * (ONE + out[j]) if network.activation == TANH else np.float32(out[j] > ZERO)
    return weight * loss


# Inlined: all arrays of the rows, passed in a call, take longer than the outputs of a small network.
@inlined
def output_deltas(objective, network, rows, i, out, deltas):
    """Compute the gradients of a row's loss by the output's sums.

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

    Returns
    -------
    float32
        Loss of the row.
    """
    weight = rows.weight[i] if rows.weight.shape[0] > 0 else ONE
    if objective.of_inputs:
        entries, first, n = rows.entries, 0, 0
        if entries.begin.shape[0] > 0:
            first, n = entries.begin[i], entries.length[i]
        of_row = span(entries.slot, first, n), span(entries.value, first, n)
        return reconstruction_deltas(objective, network, rows.dense[i], rows.active[i], of_row, out, weight, deltas)
    return target_deltas(objective, network.layers[-1, N_OUT], out, rows.target[i], weight, deltas)
