"""Inputs of a network as values of the table again: the encoder's rule, undone."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dask_dl.frame.encoder import Encoder


def decoded(encoder: Encoder, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
    """Numbers in the units of their columns, and probabilities of the levels of each column.

    A level's probability is its positive part over the sum of those of its column; where none is positive, the largest has
    1. Inputs that levels share by hashing stay as they are.

    Parameters
    ----------
    encoder : Encoder
        Made the inputs.
    inputs : (n, inputs) float32
        In the order of `Encoder.input_names`.

    Returns
    -------
    (n, inputs) float64
    """
    found = inputs.astype(np.float64)
    if not encoder.hashing:
        for first, stop in pairwise(encoder.starts.tolist()):
            found[:, first:stop] = _probabilities(found[:, first:stop])
    start = encoder.n_level_inputs
    for number in encoder.numbers:
        found[:, start] = found[:, start] / number.factor + number.shift
        start += 1
    for code in encoder.codes:
        if code.is_standardized:
            scale = [deviation or 1.0 for deviation in code.deviations]
            found[:, start : start + code.width] = found[:, start : start + code.width] * scale + np.array(code.means)
        start += code.width
    return found


def _probabilities(block: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities (n, levels) of what the network gives back for the levels of a column."""
    positive = np.maximum(block, 0.0)
    total = positive.sum(axis=1, keepdims=True)
    largest = np.arange(block.shape[1]) == block.argmax(axis=1)[:, None]
    found: NDArray[np.float64] = np.divide(positive, total, out=largest.astype(np.float64), where=total > 0)
    return found
