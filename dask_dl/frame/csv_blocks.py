"""Cutting CSV files into blocks of whole records: a line break inside quotes ends no record.

A quote opens a quoted field only where a field begins; inside one, two quotes stand for one. So an automaton of three
states reads the quotes of a file, and what a stretch of bytes does to its state is one of 27 functions. These compose in
any grouping: a file is looked at once, in pieces, by several threads, without a Python loop over its quotes.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

#: Outside of quotes, inside, and outside directly after the quote that closed a field (or is the first of two).
OUTSIDE, INSIDE, CLOSED = range(3)
#: Bytes looked at in one go.
CHUNK = 4 * 2**20
#: Bytes in which the end of a record is looked for, at first.
NEAR = 2**16

QUOTE, NEWLINE, CARRIAGE_RETURN = b'"\n\r'
#: A map from state to state, as its images of the three states in base 3.
_IMAGES = np.array([[f // 9, f // 3 % 3, f % 3] for f in range(27)], np.uint8)
_IDENTITY = 0 * 9 + 1 * 3 + 2
#: [first, second] -> first, then second.
_THEN = np.array([[[9, 3, 1] @ _IMAGES[g][_IMAGES[f]] for g in range(27)] for f in range(27)], np.uint8)
#: What a quote does, by what stands before it: a separator or line break, another quote, anything else.
_AFTER_SEPARATOR = INSIDE * 9 + CLOSED * 3 + INSIDE
_AFTER_QUOTE = OUTSIDE * 9 + CLOSED * 3 + INSIDE
_AFTER_OTHER = OUTSIDE * 9 + CLOSED * 3 + OUTSIDE


def _quotes(data: NDArray[np.uint8], before: int, sep: int) -> tuple[NDArray[np.intp], NDArray[np.uint8]]:
    """(positions of the quotes, map of each)."""
    places = np.flatnonzero(data == QUOTE)
    if not len(places):
        return places, np.empty(0, np.uint8)
    map_after = np.full(256, _AFTER_OTHER, np.uint8)
    map_after[[sep, NEWLINE, CARRIAGE_RETURN]] = _AFTER_SEPARATOR
    map_after[QUOTE] = _AFTER_QUOTE
    preceding = data[places - 1]
    if places[0] == 0:
        preceding[0] = before
    return places, map_after[preceding]


def effect(data: bytes, before: int, sep: int) -> int:
    """Effect of a stretch of bytes on the state of the automaton.

    Parameters
    ----------
    data : bytes
    before : int
        The byte that stands before them; at the beginning of a file a line break.
    sep : int
        The separator's byte.

    Returns
    -------
    int
        Number of a map from state to state: its images of the three states in base 3.
    """
    maps = _quotes(np.frombuffer(data, np.uint8), before, sep)[1]
    while len(maps) > 1:
        if len(maps) % 2:
            maps = np.append(maps, np.uint8(_IDENTITY))
        maps = _THEN[maps[::2], maps[1::2]]
    return int(maps[0]) if len(maps) else _IDENTITY


def record_ends(
    data: bytes, sep: int, before: int = NEWLINE, state: int = OUTSIDE, newline: int = NEWLINE
) -> NDArray[np.intp]:
    """Positions after the line breaks that end a record.

    Parameters
    ----------
    data : bytes
    sep, newline : int
        The separator's byte, and the one that ends a record.
    before, state : int
        The byte before `data`, and the automaton's state there.

    Returns
    -------
    (n,) intp
        Positions in `data`, ascending.
    """
    array = np.frombuffer(data, np.uint8)
    places, maps = _quotes(array, before, sep)
    step = 1
    while step < len(maps):  # maps[k] becomes that of all quotes up to k
        maps = np.concatenate([maps[:step], _THEN[maps[:-step], maps[step:]]])
        step *= 2
    states = np.concatenate([[state], _IMAGES[maps, state]])
    ends = np.flatnonzero(array == newline)
    is_end = states[np.searchsorted(places, ends)] != INSIDE
    found: NDArray[np.intp] = ends[is_end] + 1
    return found


def cut(
    read: Callable[[int, int], bytes],
    start: int,
    stop: int,
    block_size: int,
    sep: int,
    map_chunks: Callable[..., Sequence[int]],
    newline: int = NEWLINE,
) -> list[int]:
    """Offsets from `start` to `stop` between which lie blocks of whole records, of about a given size.

    Parameters
    ----------
    read : callable
        The bytes of the file from one offset to another.
    start, stop : int
        Where the first record begins, and the last one ends.
    block_size : int
        Bytes of a block: up to one record more.
    sep, newline : int
        The separator's byte, and the one that ends a record.
    map_chunks : callable
        `map`, or that of a pool of threads.

    Returns
    -------
    list of int
        Ascending, `start` and `stop` included.
    """
    chunk = min(CHUNK, block_size)
    per_block = block_size // chunk
    starts = range(start, stop, chunk)

    def look(at: int) -> int:
        first = at == start
        data = read(at - (not first), min(at + chunk, stop))
        return effect(data, NEWLINE, sep) if first else effect(data[1:], data[0], sep)

    states = itertools.accumulate(map_chunks(look, starts), lambda state, f: int(_IMAGES[f][state]), initial=OUTSIDE)
    offsets = [start]
    for wanted, state in list(zip(starts, states, strict=False))[per_block::per_block]:
        if wanted > offsets[-1]:
            end = _next_record(read, wanted, stop, sep, state, newline)
            if end < stop:
                offsets.append(end)
    return [*offsets, stop]


def _next_record(read: Callable[[int, int], bytes], at: int, stop: int, sep: int, state: int, newline: int) -> int:
    """Where the first record begins after an offset."""
    size = NEAR
    while True:
        data = read(at - 1, min(at + size, stop))
        ends = record_ends(data[1:], sep, data[0], state, newline)
        if len(ends):
            return at + int(ends[0])
        if at + size >= stop:
            return stop
        size *= 2
