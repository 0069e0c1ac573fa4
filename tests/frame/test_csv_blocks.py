"""CSV files cut into blocks: every block is a run of whole records, whatever stands inside quotes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_dl.frame.csv_blocks import CARRIAGE_RETURN, INSIDE, NEWLINE, cut, effect, record_ends

#: Pieces of which quotes, separators and line breaks of every kind are made.
TEXT = st.lists(st.sampled_from(["a", ",", '"', '""', "\n", "\r\n", ',"', '"\n', ';"', " "])).map("".join)


def naive_ends(text, sep=",", newline="\n"):
    """Positions after the line breaks outside of quotes, by reading character after character as pandas does."""
    ends, state, before = [], "field start", "\n"
    for k, c in enumerate(text):
        if state == "quoted":
            state = "quote in quotes" if c == '"' else "quoted"
        elif c == '"' and (state == "quote in quotes" or before in f"{sep}\r\n"):
            state = "quoted"
        else:
            state = "plain"
            if c == newline:
                ends.append(k + 1)
        before = c
    return ends


@given(TEXT)
def test_ends_of_records_are_those_of_a_reader_of_single_characters(text):
    assert record_ends(text.encode(), ord(",")).tolist() == naive_ends(text)


@given(TEXT, st.integers(1, 20), st.integers(0, 5))
def test_blocks_are_whole_records_of_about_the_size_asked_for(text, block_size, start):
    data = b"x" * start + text.encode()
    offsets = cut(lambda a, b: data[a:b], start, len(data), block_size, ord(","), map)
    ends = [start + end for end in naive_ends(text)]
    assert offsets[0] == start and offsets[-1] == len(data)
    assert set(offsets[1:-1]) <= set(ends)
    for a, b in itertools.pairwise(offsets):
        # A block goes on to the first end of a record after its size: no further one lies between.
        assert not [end for end in ends if a + block_size < end < b]


@given(TEXT, st.integers(0, 60), st.integers(0, 60))
def test_effects_of_neighbours_compose(text, a, b):
    data = text.encode()
    a, b = sorted((min(a, len(data)), min(b, len(data))))
    state = 0
    for start, stop in ((0, a), (a, b), (b, len(data))):
        f = effect(data[start:stop], data[start - 1] if start else NEWLINE, ord(","))
        state = (f // 9, f // 3 % 3, f % 3)[state]
    whole = effect(data, NEWLINE, ord(","))
    assert state == whole // 9


def test_an_inch_mark_opens_no_quotes():
    assert record_ends(b'5" disk,1\nx,2\n', ord(",")).tolist() == [10, 14]
    assert record_ends(b'5;"\n";1\n', ord(";")).tolist() == [8]
    assert record_ends(b'5;"\n;1\n', ord(",")).tolist() == [4, 7]  # with this separator it stands inside a field


def test_records_may_end_with_carriage_returns():
    assert record_ends(b'a\r"\r"\r', ord(","), newline=CARRIAGE_RETURN).tolist() == [2, 6]


@pytest.mark.parametrize("inside", [True, False])
def test_a_long_field_is_not_cut(inside):
    line = b'"' + b"x\n" * 10_000 + b'"\n' if inside else b"x\n" * 10_000
    offsets = cut(lambda a, b: line[a:b], 0, len(line), 1000, ord(","), map)
    assert len(offsets) == 2 if inside else np.diff(offsets).max() <= 1002


def test_a_stretch_in_quotes_ends_nothing():
    assert record_ends(b'x\ny"\nz\n', ord(","), before=ord("a"), state=INSIDE).tolist() == [5, 7]
