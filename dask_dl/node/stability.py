"""Whether weights are still of this world (algorithm.md#stability)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from dask_dl.node.replica import predict
from dask_dl.state import Rows, padded

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from dask_dl.kernels.layout import Topology

#: Largest mean and deviation of a layer's weights, and of its biases, that are taken for learning.
MAX = {"weights": 1e10, "biases": 1e5}
#: ... and of the bias of a linear output: it is in the unit of the target or the offset, however large those are.
MAX_OUTPUT_BIAS = 1e19
#: Numbers that are checked together: float64 temporaries of a whole layer would weigh more than the network itself.
CHUNK = 2**16
#: Rows, and active one-hot inputs of each, that a network is tried with.
N_TRIED, N_ACTIVE = 32, 8


def is_finite(values: NDArray[np.float32]) -> bool:
    """Whether all numbers are finite."""
    return all(np.isfinite(chunk).all() for chunk in chunks_of(values))


def instability(topology: Topology, flat: NDArray[np.float32]) -> str | None:
    """Fault of the first layer that is not finite or has exploded; None when all are sound."""
    for k, parts in enumerate(zip(*topology.unpack(flat), strict=True)):
        for name, values in zip(MAX, parts, strict=True):
            n_bad = sum(int(np.count_nonzero(~np.isfinite(chunk))) for chunk in chunks_of(values))
            if n_bad:
                return f"{n_bad:,} of {values.size:,} {name} of layer {k + 1} are not finite"
            mean = sum(float(chunk.sum(dtype=np.float64)) for chunk in chunks_of(values)) / max(1, values.size)
            squares = sum(float(((chunk - mean) ** 2).sum()) for chunk in chunks_of(values, np.float64))
            deviation = math.sqrt(squares / max(1, values.size))
            is_output_bias = name == "biases" and k == len(topology.hidden) and topology.output == "linear"
            limit = MAX_OUTPUT_BIAS if is_output_bias else MAX[name]
            if abs(mean) > limit or deviation > limit:
                return f"the {name} of layer {k + 1} have exploded: mean {mean:.3g}, deviation {deviation:.3g}"
    return None


def overflows(topology: Topology, flat: NDArray[np.float32]) -> bool:
    """Whether a network whose layers are sound, one by one, answers inputs of ordinary size with what float32 cannot hold.

    Sums of absolute weights bound the answers of nearly every network; rows are tried where that bound is beyond float32.
    """
    bound = largest = 1.0
    for weights, biases in zip(*topology.unpack(flat), strict=True):
        bound *= max(float(np.abs(chunk).sum(axis=1, dtype=np.float64).max()) for chunk in chunks_of(weights))
        bound += float(np.abs(biases).max())
        largest = max(largest, bound)
        bound = min(bound, 1.0) if topology.activation == "tanh" else bound
    if largest < float(np.finfo(np.float32).max):
        return False
    random, nothing = np.random.default_rng(0), np.zeros(0, np.float32)
    dense = np.zeros((N_TRIED, padded(topology.n_dense)), np.float32)
    dense[:, : topology.n_dense] = random.normal(size=(N_TRIED, topology.n_dense))
    active = random.integers(
        max(1, topology.n_onehot), size=(N_TRIED, min(N_ACTIVE, topology.n_onehot)), dtype=np.int32
    )
    return not is_finite(predict(topology, flat, Rows(dense, active, nothing, nothing, nothing)))


def chunks_of(values: NDArray[np.float32], dtype: type[np.floating] = np.float32) -> Iterator[NDArray[np.floating]]:
    """Runs of rows with about CHUNK numbers each."""
    n_rows = max(1, CHUNK * len(values) // max(1, values.size))
    for start in range(0, len(values), n_rows):
        yield values[start : start + n_rows].astype(dtype, copy=False)
