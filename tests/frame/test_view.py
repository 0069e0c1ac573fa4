"""Views: the rows that they select, and visits to them, by the rows' numbers in the view."""

from __future__ import annotations

import numpy as np

from dask_dl.frame.balance import Balance
from dask_dl.frame.block import Block
from dask_dl.frame.row_selection import AllBut, Fold
from dask_dl.frame.view import View

N, START = 12, 100
COUNTS = np.arange(N) != 4
CLASSES = np.arange(N) % 2
BLOCK = Block(None, N, N - 1, {"class": CLASSES}, np.packbits(COUNTS), 0, None, None)
EVEN = Fold(0, 2, "modulo")


def test_a_view_of_all_rows_visits_those_that_count_by_their_numbers():
    view = View("training")
    assert view.has_all and view.groups == () and view.selected(BLOCK, START, 2, 8) is None
    places, numbers = view.visits(BLOCK, START, 50, 2, 8)
    assert places.tolist() == [0, 1, 3, 4, 5] and numbers.tolist() == [50, 51, 53, 54, 55]


def test_rows_are_numbered_by_their_rank_among_the_selected_ones():
    """Whether or not they count: row 4 has a number, and is not visited."""
    view = View("training", EVEN)
    assert not view.has_all
    np.testing.assert_array_equal(view.selected(BLOCK, START, 1, 8), np.arange(1, 8) % 2 == 0)
    places, numbers = view.visits(BLOCK, START, 7, 1, 8)  # rows 2, 4 and 6 of the block
    assert places.tolist() == [1, 5] and numbers.tolist() == [7, 9]
    rest, _ = View("training", AllBut(EVEN)).visits(BLOCK, START, 0, 0, N)
    assert rest.tolist() == [1, 3, 5, 7, 9, 11]


def test_balanced_classes_are_visited_as_often_as_was_drawn():
    view = View("training", balance=Balance((0.0, 2.0), 7))
    assert view.groups == ("class",)
    places, numbers = view.visits(BLOCK, START, 0, 0, N)
    assert places.tolist() == numbers.tolist() == np.repeat([1, 3, 5, 7, 9, 11], 2).tolist()
