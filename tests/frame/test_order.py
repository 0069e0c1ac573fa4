"""The visiting order of rows: random, fair, and functions of seed, epoch and row number alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dask_dl.frame.order import visiting_places, windows

#: The value that a chi-square variable of 49 degrees of freedom passes once in a thousand times.
CHI2_49 = 85.35


def visiting_order(rows, seed, epoch):
    return rows[visiting_places(rows, seed, epoch)]


@settings(derandomize=True, database=None, deadline=None)
@given(st.sets(st.integers(0, 2**40), max_size=60), st.integers(0, 2**32), st.integers(0, 1000))
def test_order_is_a_permutation(rows, seed, epoch):
    rows = np.array(sorted(rows), np.int64)
    order = visiting_order(rows, seed, epoch)
    assert order.dtype == np.int64
    np.testing.assert_array_equal(np.sort(order), rows)


def test_epochs_and_seeds_differ_and_repeat_themselves():
    rows = np.arange(1000)
    orders = {(seed, epoch): visiting_order(rows, seed, epoch) for seed in range(5) for epoch in range(5)}
    assert len({order.tobytes() for order in orders.values()}) == 25
    assert not any(np.array_equal(order, rows) for order in orders.values())
    for (seed, epoch), order in orders.items():
        np.testing.assert_array_equal(visiting_order(rows, seed, epoch), order)


def test_two_rows_are_visited_in_the_same_order_whatever_is_beside_them():
    # So leaving rows out, or finding them in other partitions, does not reshuffle the rest.
    some = np.sort(np.random.default_rng(0).choice(10_000, 300, replace=False))
    whole = visiting_order(np.arange(10_000), seed=5, epoch=3)
    np.testing.assert_array_equal(visiting_order(some, seed=5, epoch=3), whole[np.isin(whole, some)])


def test_order_does_not_depend_on_the_order_of_the_rows_given():
    rows = np.arange(500)
    shuffled = np.random.default_rng(0).permutation(rows)
    np.testing.assert_array_equal(visiting_order(shuffled, 1, 2), visiting_order(rows, 1, 2))


def chi_square(places, n):
    counts = np.bincount(places, minlength=n)
    expected = len(places) / n
    return float(((counts - expected) ** 2 / expected).sum())


@pytest.mark.parametrize("place", [0, 1, 25, 49])
@pytest.mark.parametrize("varied", ["epoch", "seed"])
def test_every_row_is_as_likely_to_be_visited_first(place, varied):
    rows = np.arange(50)
    given = [(7, k) if varied == "epoch" else (k, 0) for k in range(3000)]
    assert chi_square([visiting_order(rows, seed, epoch)[place] for seed, epoch in given], 50) < CHI2_49


def test_what_follows_what_is_random():
    rows = np.arange(50)
    orders = [visiting_order(rows, 7, epoch) for epoch in range(300)]
    steps = np.concatenate([np.diff(order) % 50 for order in orders])
    assert chi_square(steps - 1, 49) < CHI2_49
    # A row's place in one epoch says nothing about its place in the next.
    places = np.argsort(orders, axis=1)
    assert abs(np.corrcoef(places[:-1].ravel(), places[1:].ravel())[0, 1]) < 4 / np.sqrt(places.size)


# ---- windows ------------------------------------------------------------------------------------------------------------


@settings(derandomize=True, database=None, deadline=None)
@given(n=st.integers(1, 200), share=st.floats(0, 1), seed=st.integers(0, 2**32), epoch=st.integers(0, 9))
def test_windows_deal_out_every_segment_once_and_reach_over_the_whole_table(n, share, seed, epoch):
    n_windows = 1 + int(share * (n - 1))
    starts = np.arange(n) * 7
    dealt = windows(starts, n_windows, seed, epoch)
    assert sorted(np.concatenate(dealt)) == list(range(n))
    runs = n // n_windows
    for window in dealt:
        assert len(window) in {runs, runs + 1}
        assert (np.diff(window) > 0).all()
        assert (window[:runs] // n_windows == np.arange(runs)).all()  # one of each run of neighbours


def test_windows_change_from_epoch_to_epoch_and_with_the_seed():
    starts = np.arange(1000) * 10
    found = {np.concatenate(windows(starts, 20, seed, epoch)).tobytes() for seed in (1, 2) for epoch in range(5)}
    assert len(found) == 10


def test_who_meets_whom_in_a_window_is_random():
    starts = np.arange(100)
    place = np.array(
        [[w for w in range(10) for s in windows(starts, 10, seed, 0)[w] if s == 57] for seed in range(2000)]
    )
    assert chi_square(place.ravel(), 10) < 27.9  # 9 degrees of freedom, one in a thousand
