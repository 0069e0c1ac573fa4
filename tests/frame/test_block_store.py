"""Blocks in every block store: the same rows come back, a full disk and a damaged file are told, nothing is left."""

from __future__ import annotations

import os
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dask_dl.errors import SchemaError, StorageError
from dask_dl.frame.block_store import FromSource, InMemory, OnDisk
from dask_dl.frame.blocks import BlockOptions, Blocks, added, candidates
from dask_dl.frame.scored_sample import ScoredSample
from dask_dl.frame.subset import Subset, drawn_rows, gather
from dask_dl.state import NO_ENTRIES, Entries, Rows, joined


def entries_of(row):
    """Of rows with these numbers: row k has k % 4 of them, and row 17 has 200; what follows tells the row, too."""
    length = np.where(row == 17, 200, row % 4).astype(np.int32)
    begin = np.cumsum(length, dtype=np.int64) - length
    place = np.arange(length.sum()) - np.repeat(begin, length)
    value = (np.repeat(row, length) + place / 256).astype(np.float32)
    return Entries(begin, length, (10 * place + np.repeat(row, length) % 10).astype(np.int32), value)


def rows_of(n, *, first=0, n_dense=16, n_active=2, weighted=False, has_offset=False, sparse=False):
    """Rows whose every value tells its row, and its column."""
    row = np.arange(first, first + n, dtype=np.float32)
    nothing = np.zeros(0, np.float32)
    dense = row[:, None] + np.arange(n_dense, dtype=np.float32) / 64
    active = (row[:, None] + np.arange(n_active)).astype(np.int32)
    weight, offset = (row % 3) if weighted else nothing, row * 3 if has_offset else nothing
    return Rows(dense, active, row * 2, weight, offset, entries=entries_of(row) if sparse else NO_ENTRIES)


def store_of(kind, folder, segment=1000):
    return {"memory": InMemory, "disk": lambda: OnDisk(folder, segment, "rows"), "stream": FromSource}[kind]()


def filled(block_store, lengths, options=None, first_of_all=0, **layout):
    """Blocks of these lengths in a block store."""
    starts = np.cumsum([0, *lengths], dtype=np.int64)
    store = Blocks(starts, options or BlockOptions(), block_store)
    for k, n in enumerate(lengths):
        rows = rows_of(n, first=first_of_all + int(starts[k]), **layout)
        store.put(k, store.stored(k, rows, lambda rows=rows: rows))
    return store


def assert_same(a, b):
    for one, other in zip(a.compact().parts, b.compact().parts, strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype


@pytest.mark.parametrize("kind", ["memory", "disk", "stream"])
@settings(derandomize=True, database=None, deadline=None, max_examples=40)
@given(
    n=st.integers(1, 60),
    segment=st.sampled_from([1, 100, 1000, 10**6]),
    n_dense=st.sampled_from([0, 16, 48]),
    n_active=st.integers(0, 3),
    weighted=st.booleans(),
    has_offset=st.booleans(),
    sparse=st.booleans(),
)
def test_rows_come_back_from_every_shelf(
    tmp_path_factory, kind, n, segment, n_dense, n_active, weighted, has_offset, sparse
):
    layout = {
        "n_dense": n_dense,
        "n_active": n_active,
        "weighted": weighted,
        "has_offset": has_offset,
        "sparse": sparse,
    }
    store = filled(store_of(kind, tmp_path_factory.mktemp("blocks"), segment), [3, n, 0, 5], **layout)
    out = store.buffer(n, store.n_entries(1, 0, n))
    store.fill(1, 0, out)
    assert_same(out, rows_of(n, first=3, **layout))
    together = store.block_store.n_together(store.blocks[1].handle, n)
    lo = (n // 2) // together * together
    part = store.buffer(n - lo, store.n_entries(1, lo, n - lo))
    store.fill(1, lo, part)
    assert_same(part, rows_of(n - lo, first=3 + lo, **layout))
    pieces = list(Subset(store).slices(7))
    assert_same(joined(pieces), rows_of(8 + n, **layout))
    used = np.arange(3, 3 + n) % 3 > 0 if weighted else np.ones(n, bool)
    np.testing.assert_array_equal(store.blocks[1].counting(0, n), used)
    np.testing.assert_array_equal(store.blocks[1].counting(n // 3, n // 2 + 1), used[n // 3 : n // 2 + 1])
    assert store.n_used == sum(np.arange(8 + n) % 3 > 0) if weighted else 8 + n


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path):
    (tmp_path / "rows-0.rows").symlink_to("/dev/full")
    store = Blocks(np.array([0, 1000]), BlockOptions(), OnDisk(tmp_path, 1000, "rows"))
    with pytest.raises(
        StorageError, match=r"disk is full: .* bytes .* temporary-directory.*storage='stream'"
    ) as caught:
        store.stored(0, rows_of(1000))
    assert str(tmp_path) in str(caught.value) and not store.blocks
    assert list(tmp_path.iterdir()) == []
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def flip(file, other):
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 16
    file.write_bytes(content)


def swap(file, other):
    content = file.read_bytes()
    file.write_bytes(other.read_bytes())
    other.write_bytes(content)


def replace_by(make):
    def harm(file, other):
        file.unlink()
        make(file)

    return harm


HARMS = {
    "one bit": flip,
    "zeros": lambda file, other: file.write_bytes(bytes(file.stat().st_size)),
    "truncated": lambda file, other: file.write_bytes(file.read_bytes()[:-100]),
    "emptied": lambda file, other: file.write_bytes(b""),
    "grown": lambda file, other: file.write_bytes(file.read_bytes() + b"more"),
    "swapped": swap,
    "removed": lambda file, other: file.unlink(),
    "a folder": replace_by(lambda file: file.mkdir()),
    "a pipe": replace_by(os.mkfifo),
    "a device": replace_by(lambda file: file.symlink_to("/dev/zero")),
    "a loop of links": replace_by(lambda file: file.symlink_to(file)),
}


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("harm", HARMS)
def test_a_file_that_is_not_as_it_was_written_is_refused(tmp_path, harm, sparse):
    store = filled(OnDisk(tmp_path, 500, "rows"), [50, 50], sparse=sparse, weighted=True)
    HARMS[harm](tmp_path / "rows-1.rows", tmp_path / "rows-0.rows")
    del store.blocks[0]
    text = r"rows-1\.rows on \S+ (is damaged|cannot be read): .* temporary-directory"
    with pytest.raises(StorageError, match=text) as caught:
        list(Subset(store).slices(10))
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


@settings(derandomize=True, database=None, deadline=None, max_examples=60)
@given(
    segment=st.sampled_from([100, 700, 10**6]),
    sparse=st.booleans(),
    n_active=st.integers(0, 2),
    where=st.floats(0, 1, exclude_max=True),
    change=st.integers(1, 255),
)
def test_every_byte_of_a_file_is_guarded(tmp_path_factory, segment, sparse, n_active, where, change):
    folder = tmp_path_factory.mktemp("blocks")
    store = filled(OnDisk(folder, segment, "rows"), [37], sparse=sparse, n_active=n_active)
    (file,) = folder.iterdir()
    content = bytearray(file.read_bytes())
    content[int(where * len(content))] ^= change
    file.write_bytes(content)
    with pytest.raises(StorageError, match="is damaged"):
        list(Subset(store).slices(10))


def test_rows_of_another_training_are_not_taken_for_these(tmp_path):
    """The same names and sizes in another folder, as of an earlier training on another version of the table."""
    stores = []
    for k in range(2):
        (tmp_path / str(k)).mkdir()
        stores.append(filled(OnDisk(tmp_path / str(k), 500, "rows"), [50], first_of_all=k))
    (tmp_path / "1" / "rows-0.rows").replace(tmp_path / "0" / "rows-0.rows")
    with pytest.raises(StorageError, match="rows 0 to 6 are not those that were written"):
        list(Subset(stores[0]).slices(10))


def test_two_tables_share_a_folder(tmp_path):
    stores = [filled(OnDisk(tmp_path, 500, name), [n]) for name, n in (("training", 20), ("validation", 5))]
    assert [next(Subset(store).slices(100)).n for store in stores] == [20, 5]


def test_dropped_and_replaced_blocks_leave_no_file(tmp_path):
    store = filled(OnDisk(tmp_path, 500, "rows"), [20, 30, 40])
    assert len(list(tmp_path.iterdir())) == 3
    store.drop(1)
    store.drop(1)
    store.put(2, store.stored(2, rows_of(40, first=50)))
    assert len(list(tmp_path.iterdir())) == 2 and store.numbers == [0, 2]


@pytest.mark.parametrize("kind", ["memory", "disk", "stream"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("sparse", [False, True])
def test_the_sample_is_the_same_on_every_shelf_and_in_memory_once(tmp_path, kind, weighted, sparse):
    layout = {"weighted": weighted, "sparse": sparse}
    store = filled(
        store_of(kind, tmp_path), [300, 0, 500, 200], BlockOptions(ScoredSample.of(3, "x", 50, [1000])), **layout
    )
    found = candidates(store)
    assert 50 < len(found.keys) < 150
    cut = store.options.sample.cut([found])
    sample = drawn_rows(Subset(store), cut)
    assert store.options.sample.cut([candidates(store)]) == cut  # others are gone: a block that is read again has them
    assert sample.n == 50 and (np.diff(sample.target) > 0).all()
    assert (sample.weight > 0).all() and len(sample.weight) == (50 if weighted else 0)
    assert all(np.shares_memory(b.drawn[1].dense, sample.dense) for b in store.blocks.values() if len(b.drawn[0]))
    if sparse:
        assert_same(sample, rows_of(1000, **layout).take((sample.target / 2).astype(int)))
        assert all(b.drawn[1].entries.slot is sample.entries.slot for b in store.blocks.values() if len(b.drawn[0]))
        assert len(sample.entries.slot) == sample.entries.n
    store.drop(0)
    assert_same(drawn_rows(Subset(store), cut), sample.take(sample.target >= 600))


def test_checksums_are_those_of_the_rows_wherever_they_lie(tmp_path):
    prints = [
        filled(store_of(kind, tmp_path), [30, 20], BlockOptions(has_digest=True)).fingerprint()
        for kind in ("memory", "disk")
    ]
    cut = filled(InMemory(), [10, 20, 0, 20], BlockOptions(has_digest=True)).fingerprint()
    assert prints[0] == prints[1] == cut
    assert filled(InMemory(), [30, 20], BlockOptions(has_digest=True), weighted=True).fingerprint() != cut


def test_checksums_know_of_sparse_inputs_how_ever_they_are_cut(tmp_path):
    options = BlockOptions(has_digest=True)
    whole = filled(InMemory(), [50], options, sparse=True).fingerprint()
    without = filled(InMemory(), [50], options).fingerprint()
    assert len(whole) == 6 and len(without) == 5 and whole[:5] == without
    for kind, lengths in (("disk", [10, 20, 0, 20]), ("stream", [1] * 50), ("memory", [49, 1])):
        assert filled(store_of(kind, tmp_path), lengths, options, sparse=True).fingerprint() == whole
    rows = rows_of(50, sparse=True)
    shuffled = rows.take(np.arange(50)[::-1]).compact().take(np.arange(50)[::-1])
    assert print_of(shuffled) == whole  # where they lie in their pools is not part of it
    for change in (
        rows.entries._replace(value=np.nextafter(rows.entries.value, 1e9)),
        rows.entries._replace(slot=rows.entries.slot + 1),
        rows.entries.of(np.r_[1:50, 0]),
    ):
        assert print_of(rows._replace(entries=change))[:5] == without
        assert print_of(rows._replace(entries=change)) != whole
    # Workers without rows, or without entries, do not know that there are any.
    assert added([whole, [0] * 5]) == whole and added([without, without[:0]]) == without


def print_of(rows):
    store = Blocks(np.array([0, rows.n]), BlockOptions(has_digest=True))
    store.put(0, store.stored(0, rows))
    return store.fingerprint()


PARTS = ["dense", "active", "target", "weight", "offset", "length", "slot", "value"]


@pytest.mark.parametrize("part", PARTS)
def test_a_source_of_which_anything_has_changed_is_noticed(part):
    before = rows_of(20, sparse=True, weighted=True, has_offset=True)
    store, given_rows = Blocks(np.array([0, 20]), block_store=FromSource()), [before]
    store.put(0, store.stored(0, before, lambda: given_rows[-1]))
    out = store.buffer(20, store.n_entries(0, 0, 20))
    store.fill(0, 0, out)
    assert_same(out, before)
    changed = before.copy()
    owner = changed.entries if part in {"length", "slot", "value"} else changed
    getattr(owner, part)[[3, 8]] = getattr(owner, part)[[8, 3]] + (0 if part == "length" else 1)
    given_rows.append(changed)
    with pytest.raises(SchemaError, match="other rows than when training began"):
        store.fill(0, 0, out)


def test_where_entries_lie_in_their_pools_is_no_change_of_a_source():
    before = rows_of(20, sparse=True)
    store = Blocks(np.array([0, 20]), block_store=FromSource())
    store.put(0, store.stored(0, before, lambda: rows_of(40, first=0, sparse=True).cut(0, 20)))
    out = store.buffer(20, store.n_entries(0, 0, 20))
    store.fill(0, 0, out)
    assert_same(out, before)


@pytest.mark.parametrize("kind", ["memory", "disk", "stream"])
def test_the_size_of_a_row_is_the_mean_of_the_table(tmp_path, kind):
    store = filled(store_of(kind, tmp_path), [40, 0, 60], sparse=True)
    n_entries = rows_of(100, sparse=True).entries.n
    assert n_entries == sum(k % 4 for k in range(100)) - 1 + 200
    assert store.row_bytes == 4 * (16 + 2 + 1) + 12 + -(-8 * n_entries // 100)
    assert store.template.entries.n == 0


@settings(derandomize=True, database=None, deadline=None)
@given(st.lists(st.integers(0, 20), min_size=1, max_size=6).filter(any), st.data())
def test_gathered_rows_bring_their_entries(lengths, data):
    n = sum(lengths)
    rows = np.array(data.draw(st.lists(st.integers(0, n - 1), max_size=30)), np.int64)  # repeated and left out, too
    found = gather(Subset(filled(InMemory(), lengths, sparse=True)), rows)
    assert_same(found, rows_of(n, sparse=True).take(rows))
    assert len(found.entries.slot) == found.entries.n
    assert all(part.flags.c_contiguous and part.flags.writeable for part in found.parts)
