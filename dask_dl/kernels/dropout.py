"""Masks of inputs and units that a row goes without, drawn from counters, so that no draw has to be remembered.

The rules: algorithm.md#dropout. A draw is a hash of the row's key, of the layer and of the place in the layer. The key
is a function of seed, epoch and global row number (`frame.order.keys_of`), so neither the cut of the table nor threads
nor workers have a say. The hash is Wellons' `lowbias32`, twice, with one half of a 64-bit key before each pass.
"""

from __future__ import annotations

import numpy as np

from dask_dl.jit import inlined, kernel
from dask_dl.kernels.layers import pad, width_of
from dask_dl.kernels.layout import N_OUT
from dask_dl.kernels.optimizers import ONE, ZERO
from dask_dl.kernels.spans import span
from dask_dl.kernels.team import unit_range


@inlined
def key_of(key, layer):
    """A row's key for the masks of a layer, -1 being the inputs: SplitMix64 of both."""
    z = key + np.uint64(0x9E3779B97F4A7C15) * np.uint64(layer + 2)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@inlined
def hashed(x):
    """`lowbias32`: every bit of a 32-bit number decides about every other."""
    x = np.uint32(x ^ (x >> np.uint32(16)))
    x = np.uint32(x * np.uint32(0x7FEB352D))
    x = np.uint32(x ^ (x >> np.uint32(15)))
    x = np.uint32(x * np.uint32(0x846CA68B))
    return np.uint32(x ^ (x >> np.uint32(16)))


@inlined
def is_kept(key, place, limit):
    """Whether the input or unit at a place is kept; `limit` is `limit_of` its probability."""
    low, high = np.uint32(key & np.uint64(0xFFFFFFFF)), np.uint32(key >> np.uint64(32))
    return hashed(np.uint32(hashed(np.uint32(np.uint32(place) + low)) + high)) < limit


@inlined
def limit_of(kept):
    """The number below which a draw keeps, for a probability below 1."""
    return np.uint32(np.float64(kept) * 4294967296.0)


@kernel
def draw_mask(key, first, kept, value, mask):
    """Draw a mask: a value where a place is kept, and 0 elsewhere.

    Parameters
    ----------
    key : uint64
        Key of the row and the layer: `key_of`.
    first : int
        Place in the layer of the mask's first element.
    kept : float32
        Probability to be kept, below 1.
    value : float32
        Value of the places that are kept.
    mask : (n,) float32
        Receives the mask.
    """
    limit = limit_of(kept)
    for i in range(mask.shape[0]):
        mask[i] = value if is_kept(key, first + i, limit) else ZERO


@kernel
def given_mask(kept, first, value, mask, n):
    """Make a mask from given flags: a value where a place is kept, and 0 elsewhere.

    Parameters
    ----------
    kept : (places,) uint8
        Flags of a row; 0: dropped.
    first : int
        Place of the mask's first flag.
    value : float32
        Value of the places that are kept.
    mask : (m,) float32
        Receives the mask.
    n : int
        Elements that have a flag; all beyond them are kept.
    """
    for i in range(mask.shape[0]):
        mask[i] = value if i >= n or kept[first + i] else ZERO


@inlined
def mask_of(rows, i, layer, place, first, kept, value, mask, n):
    """Make the mask of a part of a layer, for one row: drawn, or as the rows bring it.

    Parameters
    ----------
    rows : Rows
    i : int
        The row.
    layer : int
        Number of the hidden layer; -1: the inputs.
    place : int
        Place in the layer of the mask's first element.
    first : int
        Place of the layer in `Rows.kept`.
    kept : float32
        Probability to be kept, below 1.
    value : float32
        Value of the places that are kept.
    mask : (m,) float32
        Receives the mask.
    n : int
        Elements of the mask that are no padding.
    """
    if rows.kept.shape[0] > 0:
        given_mask(rows.kept[i], first + place, value, mask, n)
    else:
        draw_mask(key_of(rows.key[i], layer), place, kept, value, mask)


@kernel
def draw_masks(network, rows, i, n_inputs, rank, size, masks):
    """Draw which hidden units a row keeps: 1 or 0, laid out as the activations.

    Parameters
    ----------
    network : Network
    rows : Rows
    i : int
        The row.
    n_inputs : int
        Inputs of the network, whose flags come first in `Rows.kept`.
    rank, size : int
        Share of the units to draw, out of `size` shares.
    masks : (activations,) float32
        Receives the masks of this share.
    """
    last = network.layers.shape[0] - 1
    start, place = 0, n_inputs
    for k in range(last):
        n_out = network.layers[k, N_OUT]
        if network.kept[k] < ONE:
            lo, hi = unit_range(pad(n_out), rank, size)
            mask_of(rows, i, k, lo, place, network.kept[k], ONE, span(masks, start + lo, hi - lo), n_out - lo)
        start, place = start + width_of(network.layers[k]), place + n_out
