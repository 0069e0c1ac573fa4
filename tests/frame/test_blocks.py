"""Encoded blocks: every row where its number says, weights in training's unit, and memory for what is encoded only."""

from __future__ import annotations

import itertools
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tables import make_table

from dask_dl.errors import SchemaError
from dask_dl.frame.blocks import Blocks, encode_blocks
from dask_dl.frame.encoder import Encoder, Encoding
from dask_dl.frame.order import visiting_places
from dask_dl.frame.recipe import Recipe
from dask_dl.frame.row_stats import ScanRequest
from dask_dl.frame.scan import scan
from dask_dl.frame.source import Schema, Source
from dask_dl.frame.subset import Subset, gather
from dask_dl.state import Rows, padded
from dask_dl.tasks import HEADS, Numbers


def source_of(*parts, **roles):
    """A table of these partitions; `roles` name its target, weight and offset."""
    predictors = tuple(name for name in parts[0].columns if name not in roles.values())
    return Source(Schema(predictors, roles, "the table"), len(parts), parts.__getitem__)


def encode(source, found, encoder, target, mean_weight=1.0, progress=None):
    store = Blocks(np.cumsum([0, *found.rows], dtype=np.int64))
    encode_blocks(store, source, found, Recipe.of(source, found, encoder, target, mean_weight), progress)
    return store


def rows_of(store):
    """The rows of every block."""
    return [store.blocks[k].handle for k in store.numbers]


def blocks_of(source, task="regression", *, again=None, standardize=True):
    """Scan and encode a table; `again` is what the second pass reads."""
    found = scan(source, ScanRequest(HEADS[task].target_kind))
    encoder = Encoder.fit(found, source.predictors, Encoding(standardize=standardize))
    target = HEADS[task].fit(found, standardize=standardize, link="identity")
    return encode(again or source, found, encoder, target, found.mean_weight)


def random_frame(n):
    return make_table(n)[["a", "b", "level", "w", "c", "y"]].set_axis(list("abcwoy"), axis=1)


def cut(frame, lengths):
    edges = np.cumsum([0, *lengths])
    return [frame.iloc[lo:hi] for lo, hi in itertools.pairwise(edges)]


# ---- gather -------------------------------------------------------------------------------------------------------------


def numbered(lengths, *, weighted):
    """Blocks whose every value is the number of its row."""
    blocks, start = [], 0
    for n in lengths:
        row = np.arange(start, start + n)
        weight = row.astype(np.float32) if weighted else np.zeros(0, np.float32)
        dense = np.repeat(row[:, None], 16, axis=1).astype(np.float32)
        blocks.append(Rows(dense, row[:, None].astype(np.int32), row.astype(np.float32), weight, weight[:0]))
        start += n
    store = Blocks(np.cumsum([0, *lengths], dtype=np.int64))
    for k, rows in enumerate(blocks):
        store.put(k, store.stored(k, rows))
    return store


@settings(derandomize=True, database=None, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=6), st.data(), st.booleans())
def test_gather_equals_indexing_in_any_order(lengths, data, weighted):
    n = sum(lengths)
    if not n:
        return
    rows = data.draw(st.lists(st.integers(0, n - 1), max_size=30))  # repeated and left out, too
    got = gather(Subset(numbered(lengths, weighted=weighted)), np.array(rows, np.int64))
    for part in (got.dense[:, 0], got.dense[:, 15], got.active[:, 0], got.target):
        assert part.tolist() == rows
    assert got.weight.tolist() == (rows if weighted else [])
    assert got.offset.size == 0
    assert got.n == len(rows)
    assert (got.dense.dtype, got.active.dtype) == (np.float32, np.int32)
    assert all(part.flags.c_contiguous for part in got.parts)


def test_a_visit_gathers_the_same_rows_however_the_table_is_cut():
    frame = random_frame(200)
    order = visiting_places(np.arange(200), seed=1, epoch=2)
    whole_source = source_of(frame, target="y", weight="w")
    found = scan(whole_source, ScanRequest("numbers"))
    encoder = Encoder.fit(found, whole_source.predictors, Encoding())
    target = Numbers.fit(found, standardize=True, link="identity")
    whole = encode(whole_source, found, encoder, target, found.mean_weight)
    for lengths in ([100, 100], [0, 1, 0, 150, 49, 0]):
        parts = source_of(*cut(frame, lengths), target="y", weight="w")
        again = scan(parts, ScanRequest("numbers"))
        pieces = encode(parts, again, encoder, target, found.mean_weight)
        assert pieces.starts.tolist() == np.cumsum([0, *lengths]).tolist()
        for a, b in zip(gather(Subset(whole), order), gather(Subset(pieces), order), strict=True):
            np.testing.assert_array_equal(a, b)


def test_progress_is_told_of_every_partition():
    told = []
    source = source_of(*cut(random_frame(30), [10, 10, 10]), target="y")
    found = scan(source, ScanRequest("numbers"))
    encode(
        source,
        found,
        Encoder.fit(found, ["a"], Encoding()),
        Numbers.fit(found, standardize=True, link="identity"),
        progress=lambda done, of: told.append((done, of)),
    )
    assert told == [(1, 3), (2, 3), (3, 3)]


# ---- a source that changes ----------------------------------------------------------------------------------------------


def test_a_partition_that_changes_its_length_is_an_error():
    frame = random_frame(30)
    scanned, encoded = (source_of(*cut(frame, lengths), target="y") for lengths in ([10, 20], [10, 19]))
    message = (
        "the table changed while it was read: partition 1 had 20 rows in the scan and has 19 now. Save .* to Parquet"
    )
    with pytest.raises(SchemaError, match=message):
        blocks_of(scanned, again=encoded)


def test_a_target_that_vanishes_is_an_error():
    frame = random_frame(30)
    scanned, encoded = (source_of(f, target="y") for f in (frame, frame.assign(y=[*frame["y"][:-1], np.nan])))
    with pytest.raises(SchemaError, match="changed while it was read: partition 0 had every target"):
        blocks_of(scanned, again=encoded)


# ---- memory -------------------------------------------------------------------------------------------------------------


def test_a_block_holds_four_bytes_for_every_number_and_every_category():
    n, n_levels = 1000, 900
    frame = pd.DataFrame({f"x{k}": np.arange(n) % (k + 2) for k in range(17)})
    frame["many"] = [f"level {k % n_levels}" for k in range(n)]
    frame["few"] = ["a", "b"] * (n // 2)
    frame = frame.assign(w=1 + np.arange(n) % 3, o=0.5, y=np.arange(n))
    for roles, n_roles in [
        ({"target": "y"}, 1),
        ({"target": "y", "weight": "w"}, 2),
        ({"target": "y", "offset": "o"}, 2),
    ]:
        source = source_of(frame[[c for c in frame if c not in {"w", "o"} or c in roles.values()]], **roles)
        (block,) = rows_of(blocks_of(source))
        assert block.dense.shape == (n, padded(17)) == (n, 32)
        assert block.active.shape == (n, 2)
        assert block.nbytes == 4 * n * (32 + 2 + n_roles)  # a one-hot matrix would take 4 * n * 904
        assert (
            block.active.max() == n_levels + 1 + 1
        )  # the second level of the narrower column, behind the wider and its missing level


def peak_of(work):
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        result = work()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return result, peak - before


def test_a_table_is_scanned_and_encoded_in_memory_for_a_few_partitions():
    n, n_columns, n_partitions = 20_000, 8, 25

    def read(k):
        random = np.random.default_rng(k)
        part = pd.DataFrame({f"x{j}": random.normal(size=n) for j in range(n_columns)})
        part["c"] = pd.Categorical.from_codes(random.integers(0, 500, n), [f"level {j}" for j in range(500)])
        return part.assign(y=random.normal(size=n))

    schema = Schema((*(f"x{j}" for j in range(n_columns)), "c"), {"target": "y"}, "the table")
    source = Source(schema, n_partitions, read)
    partition = n * (8 * n_columns + 2 + 8)

    found, peak = peak_of(lambda: scan(source, ScanRequest("numbers")))
    assert peak < 8 * partition

    encoder = Encoder.fit(found, source.predictors, Encoding())
    target = Numbers.fit(found, standardize=True, link="identity")
    store, peak = peak_of(lambda: encode(source, found, encoder, target))
    n_bytes = sum(rows.nbytes for rows in rows_of(store))
    assert n_bytes == 4 * n * n_partitions * (padded(n_columns) + 1 + 1)
    assert peak < n_bytes + 6 * partition  # the table itself: 25
