"""Roles of rows: one that does not train shapes nothing, and weights, targets and offsets are what can be learned from."""

from __future__ import annotations

import contextlib
import itertools
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
import pytest
from frame.sources import roles_table
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from dask_dl.errors import SchemaError
from dask_dl.frame.blocks import Blocks, encode_blocks
from dask_dl.frame.encoder import Encoder, Encoding
from dask_dl.frame.inputs import settle
from dask_dl.frame.recipe import Recipe
from dask_dl.frame.row_stats import ScanRequest
from dask_dl.frame.scan import Scan, check_used, name_of_target, scan
from dask_dl.frame.source import Schema, Source, open_source
from dask_dl.frame.sparse import SparsePart
from dask_dl.tasks import HEADS

if TYPE_CHECKING:
    from dask_dl.tasks.head import Head

SCHEMES = ["one_hot_internal", "enum_limited", "sort_by_response", "binary", "label_encoder", "eigen"]
exact = settings(derandomize=True, database=None, deadline=None, max_examples=80)


class Prepared(NamedTuple):
    """What becomes of a table before training."""

    found: Scan
    encoder: Encoder
    head: Head
    blocks: list


def source_of(parts, predictors, roles):
    def read(k):
        part = parts[k]
        if not isinstance(part, tuple):
            return part
        matrix, beside = part
        return SparsePart(matrix, predictors, beside)

    return Source(Schema(predictors, roles, "the table"), len(parts), read)


def prepared(parts, predictors, roles, task, encoding, *, skips=False, standardize=True):
    """Scan and encode a table in these partitions."""
    source = source_of(parts, predictors, roles)
    request = encoding.request(HEADS[task].target_kind, skips=skips, is_weighted="weight" in roles)
    found, kept, _, required = settle(lambda wanted: scan(source, wanted), request, ignore_const_cols=True)
    check_used(found, source, request)
    HEADS[task].check(found, name_of_target(source))
    encoder = Encoder.fit(found, kept, encoding)
    head = HEADS[task].fit(found, standardize=standardize, link="identity")
    starts = np.cumsum([0, *found.rows])
    store = Blocks(starts)
    encode_blocks(store, source, found, Recipe.of(source, found, encoder, head, found.mean_weight, required=required))
    return Prepared(found, encoder, head, [store.blocks[k].handle for k in store.numbers])


def junk_of(way, task, draw):
    """A row that does not train, with whatever the others may not hold."""
    wild = draw(st.sampled_from([np.inf, -np.inf, 1e300, 1e6, np.nan]))
    row = {"a": wild, "b": wild, "c": draw(st.sampled_from(["ghost", None])), "d": "ghost", "flat": wild, "w": 1.0}
    row["y"] = draw(st.sampled_from([-np.inf, 1e300] if task == "regression" else ["ghost", "\udfff"]))
    if way == "skip":
        return row | {"d": None, "o": draw(st.sampled_from([np.inf, 0.0]))}
    row |= {"a": draw(st.sampled_from([wild, b"bytes", (1, 2)])), "c": draw(st.sampled_from(["ghost", "\ud800"]))}
    row["o"] = np.nan
    if way == "target":
        return row | {"y": None, "w": draw(st.sampled_from([1.0, -1.0, np.inf, np.nan]))}
    return row | {"w": 0.0}


@st.composite
def tables(draw):
    """Partitions of a table whose rows all train, the same with rows between them that do not, and what they are for."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    task = draw(st.sampled_from(["regression", "classification"]))
    weighted, skips = draw(st.booleans()), draw(st.booleans())
    ways = ["target", *(["weight"] if weighted else []), *(["skip"] if skips else [])]
    n = draw(st.integers(8, 40))
    clean = pd.DataFrame(
        {
            "a": random.normal(size=n),
            "b": random.integers(0, 5, n) + 2.0**24,
            "c": random.choice([*"pqrstuvwxyzkl"], n).astype(object),
            "d": random.choice(["left", "right"], n).astype(object),
            "flat": 7.0,
            "y": random.normal(size=n) if task == "regression" else np.resize(["no", "yes"], n).astype(object),
            "w": random.choice([0.5, 1.0, 3.0], n) if weighted else 1.0,
            "o": random.normal(size=n),
        }
    )
    if not skips:
        clean.loc[clean.index[::5], ["b", "c"]] = np.nan
    edges = [0, *sorted(draw(st.lists(st.integers(0, n), max_size=2))), n]
    alone, mixed = [], []
    for lo, hi in itertools.pairwise(edges):
        part = clean.iloc[lo:hi]
        junk = [junk_of(draw(st.sampled_from(ways)), task, draw) for _ in range(draw(st.integers(0, 4)))]
        places = np.sort(random.permutation(len(part) + len(junk))[: len(part)])
        order = np.full(len(part) + len(junk), -1)
        order[places] = np.arange(len(part))
        order[order < 0] = len(part) + np.arange(len(junk))
        rows = [*part.to_dict("records"), *junk]
        table = pd.DataFrame([rows[k] for k in order], columns=clean.columns, dtype=object)
        for name in ("a", "b", "flat", "y", "w", "o"):
            with contextlib.suppress(TypeError, ValueError):
                table[name] = table[name].astype(float)
        alone.append(part)
        mixed.append((table, order < len(part)))
    return alone, mixed, task, {"target": "y", "offset": "o"} | ({"weight": "w"} if weighted else {}), skips


@exact
@given(tables(), st.sampled_from(SCHEMES), st.booleans())
def test_the_table_without_the_rows_that_do_not_train_gives_the_same(case, scheme, is_sparse):
    alone, mixed, task, roles, skips = case
    predictors = ("a", "b", "c", "d", "flat")
    columns = [*predictors, *roles.values()]
    encoding = Encoding(scheme, sparse=is_sparse)
    expected = prepared([part[columns] for part in alone], predictors, roles, task, encoding, skips=skips)
    given_ = prepared([part[columns] for part, _ in mixed], predictors, roles, task, encoding, skips=skips)
    assert given_.encoder.to_json() == expected.encoder.to_json()
    assert given_.head == expected.head
    assert given_.found.row_stats == expected.found.row_stats
    for rows, other, (_, trains) in zip(given_.blocks, expected.blocks, mixed, strict=True):
        for part, wanted in zip(
            (rows.dense, rows.active, rows.target), (other.dense, other.active, other.target), strict=True
        ):
            np.testing.assert_array_equal(part[trains], wanted)
        np.testing.assert_array_equal(rows.entries.of(trains).compact().value, other.entries.value)
        assert not len(rows.weight) or ((rows.weight > 0) == trains).all()
        assert all(np.isfinite(part).all() for part in (rows.dense, rows.target, rows.weight, rows.offset))


@pytest.mark.parametrize("skips", [False, True])
def test_a_sparse_matrix_without_such_rows_gives_the_same(skips):
    random = np.random.default_rng(0)
    X = sparse.random_array((60, 9), density=0.4, rng=random, format="csr")
    y, w = random.normal(size=60), random.choice([0.0, 1.0, 2.5], 60)
    y[::7] = np.nan
    trains = ~np.isnan(y) & (w > 0)
    for row in np.flatnonzero(~trains)[::2]:
        X.data[X.indptr[row] : X.indptr[row + 1]] = np.inf
    if skips:
        X.data[X.indptr[np.flatnonzero(trains)[3]]] = np.nan
        trains[np.flatnonzero(trains)[3]] = False
    frame, roles = pd.DataFrame({"y": y, "w": w}), {"target": "y", "weight": "w"}
    names = tuple(f"x{k}" for k in range(9))
    cuts = [slice(0, 17), slice(17, 40), slice(40, 60)]
    encoding = Encoding(sparse=True)
    both = [[(X[cut], frame.iloc[cut].reset_index(drop=True)) for cut in cuts]]
    both += [[(X[cut][trains[cut]], frame.iloc[cut][trains[cut]].reset_index(drop=True)) for cut in cuts]]
    given_, expected = (prepared(parts, names, roles, "regression", encoding, skips=skips) for parts in both)
    assert given_.encoder.to_json() == expected.encoder.to_json() and given_.head == expected.head
    for rows, other, cut in zip(given_.blocks, expected.blocks, cuts, strict=True):
        entries = rows.entries.of(trains[cut]).compact()
        np.testing.assert_array_equal(entries.slot, other.entries.slot)
        np.testing.assert_array_equal(entries.value, other.entries.value)
        assert (rows.entries.length[~trains[cut]] == 0).all()


def one_column(values, w=None, y=None, **encoding):
    """A column with targets and weights, in two partitions."""
    n = len(values)
    table = pd.DataFrame(
        {"x": values, "y": np.arange(n) * 1.0 if y is None else y, "w": np.ones(n) if w is None else w}
    )
    parts = [table.iloc[: n // 2], table.iloc[n // 2 :]]
    return prepared(parts, ("x",), {"target": "y", "weight": "w"}, "regression", Encoding(**encoding))


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1, 1, 1e300, 1], r"weight 'w' of the table: partition 1 holds a weight of 1e\+300"),
        ([1, 5e-324, 1, 1], r"weight 'w' of the table: partition 0 holds a weight of 4.94066e-324"),
        ([1, 1, 1, 1e90], r"weight 'w' of the table: 1e\+90 in partition 1 and 1 in partition 0 are too far apart"),
        ([1, np.inf, 1, 1], r"weight 'w' of the table: 1 of 2 values in partition 0 are missing or infinite"),
    ],
)
def test_weights_that_leave_float64_are_named_as_weights(weights, message):
    with pytest.raises(SchemaError, match=message):
        one_column([1e6, 2.0, 3.0, 5e6], w=weights)


def test_weights_of_any_size_in_between_are_taken():
    plain = one_column([1.0, 2.0, 4.0, 9.0])
    for weight in (2**60, 1e-90, 1e90):
        scaled = one_column([1.0, 2.0, 4.0, 9.0], w=[weight] * 4)
        assert scaled.encoder.numbers[0].deviation == pytest.approx(plain.encoder.numbers[0].deviation)
        assert [block.weight.tolist() for block in scaled.blocks] == [[1, 1], [1, 1]]


@pytest.mark.parametrize(
    ("column", "standardize", "message"),
    [
        (
            {"o": [0, 1e300, 0, 0]},
            True,
            r"offset 'o' of the table: partition 0 holds 1e\+300, too large for the network",
        ),
        (
            {"o": [0, 0, -1e18, 0], "y": [1e-9, 2e-9, 3e-9, 4e-9]},
            True,
            "offset 'o' of the table: partition 1 holds -1e.18",
        ),
        ({"y": [1, 2, 1e300, 3]}, True, r"target 'y' of the table: values up to 1e\+300 in partition 1 are too large"),
        ({"y": [1e200, 1e200, 1, 1]}, True, "target 'y' holds values that are too large"),
        (
            {"y": [1, 2, 3, 1e30]},
            False,
            r"target 'y' of the table: partition 1 holds 1e\+30, too large for the network",
        ),
        ({"x": [1e200, 1e200, 1, 1]}, True, r"column 'x' of the table: values up to 1e\+200 are too large for a mean"),
    ],
)
def test_huge_targets_offsets_and_numbers_are_named(column, standardize, message):
    table = pd.DataFrame({"x": [1.0, 2, 3, 4], "y": [1.0, 2, 3, 5], "o": 0.0}).assign(**column)
    parts, roles = [table.iloc[:2], table.iloc[2:]], {"target": "y", "offset": "o"}
    with pytest.raises(SchemaError, match=message):
        prepared(parts, ("x",), roles, "regression", Encoding(), standardize=standardize)


def test_half_a_surrogate_pair_is_found_by_the_scan():
    table = pd.DataFrame({"c": ["a", "b", "\ud800", "a"], "y": ["u", "v", "u", "v\udc00"]}, dtype=object)
    parts = [table.iloc[:2], table.iloc[2:]]
    with pytest.raises(
        SchemaError, match=r"column 'c' of the table: partition 1 holds the level '\\ud800', which is not"
    ):
        prepared(parts, ("c",), {"target": "y"}, "classification", Encoding())
    labels = [part.assign(c=1.0) for part in parts]
    with pytest.raises(
        SchemaError, match=r"target 'y' of the table: partition 1 holds the label 'v\\udc00', which is not"
    ):
        prepared(labels, ("c",), {"target": "y"}, "classification", Encoding())
    named = pd.DataFrame([[1, 2]], columns=pd.Index(["a", "\ud83d"], dtype=object))
    for target in ("a", "\ud83d"):
        with pytest.raises(SchemaError, match=r"the table has a column '\\ud83d', which is not valid Unicode"):
            open_source(named, target, label="the table")


def test_rows_without_target_or_weight_are_not_used():
    found = scan(roles_table(y=[1.0, np.nan, 3, 5], w=[2.0, 3, 0, 4]), ScanRequest("numbers"))
    assert (found.n_rows, found.n_used, found.row_stats.weight, found.mean_weight) == (4, 2, 6, 3)
    assert (found.target.n, found.target.mean) == (2, (2 * 1 + 4 * 5) / 6)
    assert (found.columns["x"].moments.weight, found.columns["x"].maximum) == (6, 4)


@pytest.mark.parametrize(
    "columns, message",
    [
        ({"w": [1, 2, np.nan, 1]}, "weight 'w' of the table: 1 of 2 values in partition 1 are missing or infinite"),
        ({"w": [1, np.inf, 1, 1]}, "weight 'w' of the table: 1 of 2 values in partition 0 are missing or infinite"),
        ({"w": [1, 1, 1, -0.5]}, "weight 'w' of the table: partition 1 holds negative weights, the least -0.5"),
        ({"w": list("abcd")}, "weight 'w' of the table is not numeric"),
        ({"o": [0, 0, 0, np.nan]}, "offset 'o' of the table: 1 of 2 values in partition 1 are missing"),
        ({"y": [1, 2, 3, np.inf]}, "target 'y' of the table: partition 1 holds infinite"),
        ({"y": list("abcd")}, "target 'y' of the table holds str, not numbers: use DeepLearningClassifier"),
    ],
)
def test_faults_of_the_roles_name_column_and_partition(columns, message):
    with pytest.raises(SchemaError, match=message):
        scan(roles_table(**columns), ScanRequest("numbers"))
