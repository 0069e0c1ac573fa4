"""Which columns are inputs, and which rows are skipped for what they lack."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from frame.sources import cut, exact, source_of
from hypothesis import given
from hypothesis import strategies as st

from dask_dl.frame.inputs import settle
from dask_dl.frame.row_stats import ScanRequest
from dask_dl.frame.scan import scan


@st.composite
def tables_with_gaps(draw):
    """Columns of few values with gaps, some of them constant or empty, weights, and a cut into partitions."""
    n = draw(st.integers(1, 25))
    value = st.sampled_from([None, 1.0, 2.0, 4.0])
    frame = {name: draw(st.lists(value, min_size=n, max_size=n)) for name in ("a", "b")}
    frame["flat"] = draw(st.lists(st.sampled_from([None, 7.0]), min_size=n, max_size=n))
    frame["word"] = draw(st.lists(st.sampled_from([None, "x", "y"]), min_size=n, max_size=n))
    frame["y"] = draw(st.lists(st.sampled_from([None, 0.0, 1.0, 3.0]), min_size=n, max_size=n))
    frame["w"] = draw(st.lists(st.sampled_from([0.0, 1.0, 2.5]), min_size=n, max_size=n))
    table = pd.DataFrame(frame).astype(dict.fromkeys(["a", "b", "flat", "y", "w"], float) | {"word": "string"})
    return table, sorted(draw(st.lists(st.integers(0, n), max_size=3)))


@exact
@given(tables_with_gaps(), st.booleans(), st.booleans())
def test_inputs_are_of_use_in_the_rows_that_train_and_these_lack_none(case, weighted, ignores):
    # Which columns are inputs is known only at the end of the pass, and hangs on the rows that are skipped.
    table, edges = case
    roles = {"target": "y"} | ({"weight": "w"} if weighted else {})
    table = table if weighted else table.drop(columns="w")

    def settled(table, edges):
        source = source_of(*cut(table, edges), **roles)
        return settle(
            lambda request: scan(source, request), ScanRequest("numbers", skips=True), ignore_const_cols=ignores
        )

    found, predictors, dropped, required = settled(table, edges)
    weights = table["w"] if weighted else pd.Series(1.0, index=table.index)
    trains = table["y"].notna() & (weights > 0) & table[list(required)].notna().all(axis=1)
    assert required >= set(predictors) and set(predictors).isdisjoint(dropped)
    assert (found.n_used, found.row_stats.weight) == (trains.sum(), weights[trains].sum())
    assert found.row_stats.min_target == (table["y"][trains].min() if trains.any() else None)
    if not trains.any():
        return
    useful = {name for name in (*predictors, *dropped) if table[name][trains].nunique() > ignores}
    assert set(predictors) == useful
    assert found.target.mean == pytest.approx(np.average(table["y"][trains], weights=weights[trains]))
    for name in {"a", "b"}.intersection(predictors):
        values = table[name][trains]
        assert found.columns[name].moments.n == found.n_used
        assert found.columns[name].moments.mean == pytest.approx(np.average(values, weights=weights[trains]))

    alone = settled(table[trains], [int(trains.iloc[:edge].sum()) for edge in edges])
    assert alone.found.columns == found.columns and alone.found.row_stats == found.row_stats
    assert alone.predictors == predictors


def of_gaps(**columns):
    """What is settled of a table in one partition, and how often it is scanned."""
    table = pd.DataFrame(columns).astype(float)
    inquiries = []

    def scanned(request):
        inquiries.append(request)
        return scan(source_of(table, target="y"), request)

    return settle(scanned, ScanRequest("numbers", skips=True), ignore_const_cols=True), len(inquiries)


def test_skipping_scans_once_more_only_where_useless_columns_have_gaps():
    nan = np.nan
    once, n = of_gaps(a=[1, 2, nan, 4], flat=[5, 5, 5, 5], y=[1, 2, 3, 4])
    assert (once.predictors, once.found.n_used, n) == (["a"], 3, 1)
    gone, n = of_gaps(a=[1, 2, nan, 4], gone=[nan] * 4, y=[1, 2, 3, 4])
    assert (gone.predictors, gone.found.n_used, n) == (["a"], 3, 2)
    # Without the first row, which lacks b, nothing is left to learn from a, whose gap then costs no row.
    late, n = of_gaps(a=[9, 1, 1, nan], b=[nan, 1, 2, 3], y=[1, 2, 3, 4])
    assert (late.predictors, late.dropped, late.found.n_used, n) == (["b"], ["a"], 3, 2)


def test_columns_that_exclude_each_other_in_a_circle_end_with_the_fewer_rows():
    # c varies only in a row that lacks d, d in one that lacks e, e in one that lacks c; x keeps something to learn from.
    nan = np.nan
    found, n = of_gaps(
        x=[1, 2, 3, 4, 5],
        c=[1, 1, 2, 1, nan],
        d=[1, 1, nan, 2, 1],
        e=[1, 1, 1, nan, 2],
        y=[1, 2, 3, 4, 5],
    )
    assert (found.predictors, found.dropped, found.found.n_used, n) == (["x"], ["c", "d", "e"], 2, 2)
