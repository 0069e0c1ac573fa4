"""Rows as a view has them: their numbers, visits, slices and samples, against the table cut to them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from frame.test_block_store import assert_same, rows_of, store_of
from frame.test_row_selection import stratified
from hypothesis import given, settings
from hypothesis import strategies as st

from dask_dl.frame.affine import Affine, Line
from dask_dl.frame.balance import Balance
from dask_dl.frame.blocks import BlockOptions, Blocks, candidates
from dask_dl.frame.row_selection import AllBut, AllRows, Fold, Sample
from dask_dl.frame.scored_sample import ScoredSample
from dask_dl.frame.subset import Subset, drawn_rows, gather, n_selected, ranks, visited_rows
from dask_dl.frame.view import View
from dask_dl.state import joined

KINDS = ["memory", "disk", "stream"]
BALANCE = Balance((0.5, 1.0, 2.3), 7)
CHANGED = Affine(scale=np.full(16, 2, np.float32), shift=np.full(16, -1, np.float32), target=Line(0.5, 3.0), weight=2.0)


def table(n, *, weighted=False, sparse=False):
    """Rows of three classes."""
    classes = np.arange(n) * np.arange(n) % 11 % 3
    return rows_of(n, weighted=weighted, sparse=sparse)._replace(target=classes.astype(np.float32))


def stored(rows, lengths, block_store=None, **options):
    """A table in blocks of these lengths, with its classes as groups."""
    starts = np.cumsum([0, *lengths], dtype=np.int64)
    store = Blocks(starts, BlockOptions(groups=("class",), **options), block_store)
    for k, (lo, hi) in enumerate(itertools.pairwise(starts.tolist())):
        piece = rows.cut(lo, hi)
        store.put(k, store.stored(k, piece, lambda piece=piece: piece))
    return store


def marks(selection, rows):
    """Which rows of a whole table a selection has."""
    return selection.selects(np.arange(rows.n), {"class": rows.target.astype(np.uint16)})


def selections(n=600):
    """Strategy of selections."""
    classes = table(n).target.astype(np.uint16)
    folds = [Fold(0, 2, "modulo"), Fold(1, 3, "random", 5), stratified(3, 1, classes)[1]]
    return st.sampled_from([AllRows(), Sample(0.4, 2), *folds, *map(AllBut, folds)])


CUTS = st.lists(st.integers(0, 40), min_size=1, max_size=7)


@pytest.mark.parametrize("kind", KINDS)
@settings(derandomize=True, database=None, deadline=None, max_examples=40)
@given(
    lengths=CUTS.filter(any),
    selection=selections(),
    balance=st.sampled_from([None, BALANCE]),
    weighted=st.booleans(),
    segment=st.sampled_from([100, 700, 10**6]),
)
def test_rows_are_numbered_and_visited_as_those_of_the_cut_table(
    tmp_path_factory, kind, lengths, selection, balance, weighted, segment
):
    rows = table(sum(lengths), weighted=weighted)
    view = View("training", selection, balance)
    subset = Subset(stored(rows, lengths, store_of(kind, tmp_path_factory.mktemp("blocks"), segment)), view)
    kept = rows.take(marks(selection, rows))
    cut = Subset(stored(kept, [kept.n]), View("training", balance=balance))
    expected = visited_rows(cut)
    np.testing.assert_array_equal(visited_rows(subset), expected)
    assert sum(subset.n_visits().values()) == len(expected)
    assert int(subset.starts[-1]) == kept.n
    found = []
    for unit in subset.units():
        selected = subset.selected(unit.block, unit.lo, unit.lo + unit.n)
        assert selected is None or selected.any()
        places, numbers = subset.visits(unit.block, unit.lo, unit.lo + unit.n, unit.first)
        assert unit.n_visits == len(places) == len(numbers)
        assert (places < unit.n).all()
        found.append(numbers)
    np.testing.assert_array_equal(np.concatenate([np.zeros(0, np.int64), *found]), expected)
    if kind == "memory":
        assert_same(gather(subset, expected[::-1]), gather(cut, expected[::-1]))


@settings(derandomize=True, database=None, deadline=None, max_examples=40)
@given(CUTS.filter(any), selections(), st.sampled_from([None, BALANCE]), st.data())
def test_processes_with_some_of_the_blocks_have_the_rows_of_all(lengths, selection, balance, data):
    """Each tells how many rows of its blocks are selected, and is told where its blocks begin."""
    rows, view = table(sum(lengths)), View("training", selection, balance)
    whole = Subset(stored(rows, lengths), view)
    owner = data.draw(st.lists(st.integers(0, 2), min_size=len(lengths), max_size=len(lengths)))
    parts = []
    for process in range(3):
        store = stored(rows, lengths)
        for k, other in enumerate(owner):
            if other != process:
                store.drop(k)
        parts.append(store)
    counts = {k: n for store in parts for k, n in n_selected(store, view).items()}
    starts = ranks(counts, len(lengths))
    np.testing.assert_array_equal(starts, whole.starts)
    subsets = [Subset(store, view, starts=starts) for store in parts]
    np.testing.assert_array_equal(np.sort(np.concatenate(list(map(visited_rows, subsets)))), visited_rows(whole))
    assert {k: n for subset in subsets for k, n in subset.n_visits().items()} == whole.n_visits()
    for process in range(3):  # or a process that has all blocks, and several replicas which share them
        mine = [k for k, other in enumerate(owner) if other == process]
        again = Subset(whole.store, view, mine, starts)
        np.testing.assert_array_equal(visited_rows(again), visited_rows(subsets[process]))


def test_numbers_of_some_blocks_need_the_counts_of_all():
    store = stored(table(20), [10, 10])
    store.drop(0)
    with pytest.raises(AssertionError, match="others tell"):
        Subset(store, View("training", Fold(0, 2)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("inputs", [None, CHANGED])
@settings(derandomize=True, database=None, deadline=None, max_examples=25)
@given(lengths=CUTS.filter(any), selection=selections(), sparse=st.booleans(), n_max=st.integers(1, 90))
def test_slices_to_score_on_are_the_selected_rows(tmp_path_factory, kind, inputs, lengths, selection, sparse, n_max):
    rows = table(sum(lengths), weighted=True, sparse=sparse)
    before = rows.copy()
    store = stored(rows, lengths, store_of(kind, tmp_path_factory.mktemp("blocks"), 700))
    found = list(Subset(store, View("training", selection, BALANCE, inputs)).slices(n_max))
    expected = rows.take(marks(selection, rows)).copy()
    expected = expected if inputs is None else inputs.apply(expected)
    assert sum(piece.n for piece in found) == expected.n
    if found:
        assert_same(joined(found), expected)
    assert_same(joined(list(Subset(store).slices(50))), before)  # as they were stored


@pytest.mark.parametrize("inputs", [None, CHANGED])
def test_the_sample_of_a_view_is_its_part_of_the_sample_of_the_table(inputs):
    rows, fold = table(1000, weighted=True), stratified(3, 1, table(1000).target.astype(np.uint16))[1]
    store = stored(rows, [300, 0, 500, 200], sample=ScoredSample.of(0, "x", 100, [667]))
    cut = store.options.sample.cut([candidates(store)])
    whole = drawn_rows(Subset(store), cut)
    assert whole.n == 100
    kept = whole.take(marks(fold, rows)[whole.dense[:, 0].astype(int)])
    expected = kept.copy() if inputs is None else inputs.apply(kept.copy())
    found = drawn_rows(Subset(store, View("training", fold, inputs=inputs)), cut)
    assert 15 < found.n < 55
    assert_same(found, expected)
    assert_same(drawn_rows(Subset(store), cut), whole)  # which is as it was
    changed = drawn_rows(Subset(store, View("training", inputs=CHANGED)), cut)
    assert_same(changed, CHANGED.apply(whole.copy()))
    assert drawn_rows(Subset(store, View("training", Sample(0.0))), cut) is None


@pytest.mark.parametrize("n_classes", [3, 70_000])
def test_groups_take_two_bytes_a_row_or_four(n_classes):
    rows = rows_of(3)._replace(target=np.array([0, 2, n_classes - 1], np.float32))
    (block,) = stored(rows, [3]).blocks.values()
    assert block.groups["class"].tolist() == [0, 2, n_classes - 1]
    assert block.groups["class"].nbytes == (6 if n_classes == 3 else 12)
    assert not Blocks(np.array([0, 3])).stored(0, rows).groups
