"""Who holds which rows, and how many of them everybody trains."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dask_dl.cluster.placement import apportioned, placed, row_ranges_of

exact = settings(derandomize=True, database=None, deadline=None)
weights = st.lists(st.integers(0, 30), min_size=1, max_size=9).filter(sum)


@exact
@given(weights, st.integers(0, 300))
def test_portions_add_up_grow_and_are_fair(rows, n):
    parts, more = apportioned(n, rows), apportioned(n + 1, rows)
    assert sum(parts) == n
    assert sorted(b - a for a, b in zip(parts, more, strict=True)) == [0] * (len(rows) - 1) + [1]
    for part, weight in zip(parts, rows, strict=True):
        assert abs(part - n * weight / sum(rows)) < max(1, len(rows) / 2)


@exact
@given(weights, st.integers(0, 5))
def test_after_whole_epochs_everybody_has_visited_all_rows(rows, epochs):
    assert apportioned(epochs * sum(rows), rows) == [epochs * n for n in rows]


def test_one_worker_gets_everything():
    assert apportioned(123_456_789_012, [7]) == [123_456_789_012]


@pytest.mark.parametrize(
    ("rows", "n_threads", "n_ranges"),
    [([100] * 20, 0, 20), ([100], 0, 1), ([100], 2, 16), ([100, 100], 3, 24), ([100] * 20, 2, 20), ([3, 0, 2], 2, 6)],
)
def test_few_partitions_are_cut_for_many_threads(rows, n_threads, n_ranges):
    row_ranges = row_ranges_of(rows, n_threads)
    assert len(row_ranges) == n_ranges
    for k, n in enumerate(rows):
        mine = [piece for piece in row_ranges if piece.partition == k]
        assert (mine[0].lo, mine[-1].hi) == (0, n)
        assert all(a.hi == b.lo for a, b in itertools.pairwise(mine))


def loads(place, rows):
    found = {}
    for block, worker in place.items():
        found[worker] = found.get(worker, 0) + rows[block]
    return found


@exact
@given(st.lists(st.integers(0, 50), min_size=1, max_size=40), st.integers(1, 6), st.randoms())
def test_blocks_are_placed_evenly_and_held_ones_stay_where_they_can(sizes, n_workers, random):
    rows = dict(enumerate(sizes))
    strengths = {f"w{k}": random.randint(1, 3) for k in range(n_workers)}
    held = {block: random.choice([*strengths, "gone"]) for block in rows if random.random() < 0.5}
    place = placed(rows, strengths, held)
    assert place.keys() == rows.keys() and set(place.values()) <= strengths.keys()
    load = loads(place, rows)
    per_thread = sum(sizes) / sum(strengths.values())
    for worker, n in load.items():
        assert n <= per_thread * strengths[worker] + 2 * max(sizes)


def test_equal_blocks_are_divided_equally():
    rows = dict.fromkeys(range(20), 500)
    assert loads(placed(rows, {"a": 1, "b": 1}, {}), rows) == {"a": 5000, "b": 5000}
    assert loads(placed(rows, {"a": 1, "b": 3}, {}), rows) == {"a": 2500, "b": 7500}


def test_every_worker_gets_rows_from_all_over_the_table():
    place = placed(dict.fromkeys(range(60), 100), {"a": 1, "b": 2}, {})
    for lo in range(0, 60, 6):
        assert [place[k] for k in range(lo, lo + 6)].count("a") == 2


def test_no_worker_gets_more_than_it_may_hold_while_others_have_room():
    rows = dict.fromkeys(range(20), 100)
    assert loads(placed(rows, {"a": 1, "b": 9}, {}, 1200), rows) == {"a": 800, "b": 1200}
    held = dict.fromkeys(range(20), "a")
    assert loads(placed(rows, {"a": 1, "b": 9}, held, 1200), rows) == {"a": 800, "b": 1200}
    assert sum(loads(placed(rows, {"a": 1, "b": 1}, {}, 500), rows).values()) == 2000  # nobody has room


def test_a_newcomer_gets_its_share_and_nothing_else_moves():
    rows = dict.fromkeys(range(12), 100)
    held = {k: "a" if k < 6 else "b" for k in rows}
    place = placed(rows, {"a": 1, "b": 1, "c": 1}, held)
    moved = {k for k in rows if place[k] != held[k]}
    assert len(moved) == 4 and {place[k] for k in moved} == {"c"}
    assert loads(place, rows) == {"a": 400, "b": 400, "c": 400}


def test_blocks_of_the_dead_are_shared_by_the_others():
    rows = dict.fromkeys(range(12), 100)
    held = {k: "abc"[k % 3] for k in rows}
    place = placed(rows, {"a": 1, "b": 1}, held)
    assert all(place[k] == held[k] for k in rows if held[k] != "c")
    assert loads(place, rows) == {"a": 600, "b": 600}
