"""Sparse matrices: the same figures and inputs as the table written out, from non-zeros alone."""

from __future__ import annotations

import pickle

import dask
import dask.array as da
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from tables import UNSCORED

from dask_dl import DeepLearningRegressor
from dask_dl.errors import SchemaError
from dask_dl.frame.column_stats import ColumnStats
from dask_dl.frame.encoder import Encoder, Encoding
from dask_dl.frame.inputs import settle, usable_predictors
from dask_dl.frame.row_stats import ScanRequest
from dask_dl.frame.scan import scan
from dask_dl.frame.source import open_source
from dask_dl.frame.sparse import SparsePart, as_csr

exact = settings(derandomize=True, database=None, deadline=None)


@st.composite
def matrices(draw):
    """Small matrices with zeros, gaps, columns of one value, and empty rows; stored zeros too."""
    n, p = draw(st.integers(1, 12)), draw(st.integers(1, 6))
    value = st.sampled_from([0.0, 0.0, 0.0, 1.0, -2.5, 7.0, np.nan])
    whole = np.array(draw(st.lists(value, min_size=n * p, max_size=n * p))).reshape(n, p)
    if draw(st.booleans()):
        whole[:, 0] = 3.0
    csr = sparse.csr_array(whole)
    stored = sparse.csr_array((np.zeros(n), (np.arange(n), np.arange(n) % p)), shape=(n, p))  # zeros that are stored
    return whole, sparse.csr_array(csr + stored) if draw(st.booleans()) else csr


@exact
@given(matrices(), st.booleans(), st.booleans())
def test_figures_are_those_of_the_table_written_out(case, weighted, skips):
    whole, csr = case
    n = len(whole)
    random = np.random.default_rng(n)
    y = random.normal(size=n)
    weights = np.where(np.arange(n) % 4, random.random(n), 0.0) if weighted else None
    request = ScanRequest("numbers", skips=skips, sparse=True)
    sparse_, dense = (scan(open_source(X, y, weights), request) for X in (csr, whole))
    assert list(sparse_.columns) == list(dense.columns)
    np.testing.assert_array_equal(sparse_.columns.is_constant, dense.columns.is_constant)
    for name, column in dense.columns.items():
        other = sparse_.columns[name]
        assert type(other) is type(column)
        assert other.n_missing == column.n_missing
        if not hasattr(column, "moments"):
            continue
        assert (other.minimum, other.maximum) == (column.minimum, column.maximum)
        a, b = other.moments, column.moments
        assert a.n == b.n
        np.testing.assert_allclose([a.weight, a.mean, a.m2], [b.weight, b.mean, b.m2], rtol=1e-12, atol=1e-12)
    assert (sparse_.n_used, sparse_.row_stats.weight) == (dense.n_used, pytest.approx(dense.row_stats.weight))
    if skips:
        np.testing.assert_array_equal(sparse_.candidates.is_constant, dense.candidates.is_constant)
        for name, column in dense.candidates.items():
            assert sparse_.candidates[name].n_missing == column.n_missing


@exact
@given(matrices(), st.booleans())
def test_inputs_are_those_of_the_table_written_out(case, standardize):
    whole, csr = case
    y = np.arange(float(len(whole)))
    found = scan(open_source(whole, y), ScanRequest("numbers", sparse=True))
    kept, _ = usable_predictors(found.columns, ignore_const_cols=True)
    encoder = Encoder.fit(found, kept, Encoding(standardize=standardize, sparse=True))
    frame = pd.DataFrame(whole, columns=[f"x{k}" for k in range(whole.shape[1])])
    if not kept:
        return
    dense = encoder.encode(frame, "the table")
    other = encoder.encode(SparsePart.of(csr, frame.columns), "the table")
    for a, b in zip(dense.entries, other.entries, strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == b.dtype
    assert encoder.n_dense == 0 and encoder.n_onehot == encoder.n_sparse == len(kept)
    assert (dense.entries.value != 0).all()


def test_any_format_becomes_canonical_and_the_users_matrix_stays():
    twice = sparse.coo_array(([1.0, 2.0, 4.0], ([0, 0, 1], [2, 2, 0])), shape=(2, 3))
    given_ = sparse.csr_matrix(([1.0, 2.0, 4.0], [2, 2, 0], [0, 2, 3]), shape=(2, 3))
    for X in (twice, twice.tocsc(), twice.tolil(), given_, sparse.csr_array(given_)):
        np.testing.assert_array_equal(as_csr(X, "t").toarray(), [[0, 0, 3], [4, 0, 0]])
    assert given_.nnz == 3
    assert as_csr(sparse.eye_array(3, dtype=bool).tocsr(), "t").dtype == bool


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (sparse.csr_array(np.array([[1j, 0]])), "Complex data not supported: t is a sparse matrix of complex128"),
        (sparse.csr_array(np.array([[np.inf, 0], [0, 1]])), "column 'x0' of .*: 1 infinite values in partition 0"),
        (
            sparse.csr_array(np.array([[1e300, 0], [0, 1]])),
            "column 'x0' of .*: values up to 1e.300 in partition 0",
        ),
        (sparse.coo_array(np.array([1.0, 0, 2])), "t must have two dimensions"),
    ],
)
def test_what_cannot_be_used_is_refused(X, message):
    with pytest.raises(SchemaError, match=message):
        scan(open_source(X, np.arange(float(X.shape[0])), label="t"), ScanRequest("numbers", sparse=True))


def test_nothing_asks_for_one_column_after_another(monkeypatch):
    # There may be hundreds of thousands: all at once are a few arrays.
    def asked(self, name):
        raise AssertionError(f"asked for {name}")

    monkeypatch.setattr(ColumnStats, "__getitem__", asked)
    monkeypatch.setattr("dask_dl.frame.source.ROWS_PER_SLICE", 20)
    X = sparse.random_array((50, 8), density=0.4, format="csr", rng=np.random.default_rng(0))
    X.data[::9] = np.nan
    source = open_source(X, np.arange(50.0), np.ones(50))
    assert source.n_partitions == 3
    found, predictors, _, _ = settle(
        lambda request: scan(source, request), ScanRequest("numbers", skips=True, sparse=True), ignore_const_cols=True
    )
    complete = X.toarray()[~np.isnan(X.toarray()).any(axis=1)]
    assert found.n_used == len(complete)
    assert found.columns.moments.mean == pytest.approx(complete.mean(axis=0))
    encoder = Encoder.fit(found, predictors, Encoding(sparse=True))
    assert [number.fill for number in encoder.numbers] == pytest.approx(complete.mean(axis=0).tolist())


# ---- what is not sound --------------------------------------------------------------------------------------------------

SOUND = sparse.random_array((40, 12), density=0.3, format="csr", rng=1)
SMALL = UNSCORED | {"hidden": (2,), "epochs": 1, "random_state": 1, "n_jobs": 1}


@pytest.fixture(scope="module")
def model():
    return DeepLearningRegressor(**SMALL).fit(SOUND, np.arange(40.0))


def forged(kind, **replaced):
    """A matrix of which some arrays are replaced behind SciPy's back."""
    X = SOUND.asformat(kind).copy()
    for name, values in replaced.items():
        setattr(X, name, values)
    return X


def put(name, place, value, kind="csr", dtype=None):
    values = np.array(getattr(SOUND.asformat(kind), name), dtype)
    values[place] = value
    return forged(kind, **{name: values})


def assert_refused(work, message=None):
    with pytest.raises(SchemaError, match=message) as caught:
        work()
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


FORGED = {
    f"{kind}, {what}": make(kind)
    for kind in ("csr", "csc", "bsr")
    for what, make in {
        "index too large": lambda kind: put("indices", 0, 10**6, kind),
        "negative index": lambda kind: put("indices", 3, -5, kind),
        "index of 64 bits": lambda kind: put("indices", 0, 2**40, kind, np.int64),
        "unsigned index": lambda kind: put("indices", 0, 2**63, kind, np.uint64),
        "indptr too large": lambda kind: put("indptr", 5, 10**6, kind),
        "negative indptr": lambda kind: put("indptr", 5, -3, kind),
        "indptr starts late": lambda kind: put("indptr", 0, 1, kind),
        "last indptr too large": lambda kind: put("indptr", -1, 10**8, kind),
        "last indptr negative": lambda kind: put("indptr", -1, -1, kind),
        "indices of floats": lambda kind: put("indices", 0, 0, kind, float),
        "fewer indices": lambda kind: forged(kind, indices=SOUND.asformat(kind).indices[:-3]),
        "fewer numbers": lambda kind: forged(kind, data=SOUND.asformat(kind).data[:-3]),
        "fewer rows": lambda kind: forged(kind, indptr=SOUND.asformat(kind).indptr[:-1]),
        "texts": lambda kind: forged(kind, data=SOUND.asformat(kind).data.astype(str)),
        "objects": lambda kind: forged(kind, data=SOUND.asformat(kind).data.astype(object)),
        "a list": lambda kind: forged(kind, data=SOUND.asformat(kind).data.tolist()),
    }.items()
} | {
    "csr, too few columns": sparse.csr_array((SOUND.data, SOUND.indices, SOUND.indptr), shape=(40, 5)),
    "coo, row": put("row", 0, 10**6, "coo"),
    "coo, column": put("col", 0, -1, "coo"),
    "coo, fewer rows": forged("coo", row=SOUND.tocoo().row[:-1]),
    "dia, fewer offsets": forged("dia", offsets=SOUND.todia().offsets[:-1]),
}  # fmt: skip


def with_long_row():
    X = SOUND.tolil()
    X.rows[0].append(3)
    return X


FORGED["lil, lists of two lengths"] = with_long_row()


def unchecked(kind):
    """A matrix of a class of its own that checks nothing, and hands out indices beyond its shape."""

    class Unchecked(kind):
        def check_format(self, full_check=True):
            pass

        def tocsr(self, copy=False):
            X = sparse.csr_array(SOUND)
            X.indices = X.indices + 10**6
            return X

    return Unchecked(SOUND.copy())


@pytest.mark.parametrize("kind", [sparse.csr_array, sparse.csc_array, sparse.bsr_matrix])
def test_a_subclass_is_checked_as_its_base_is(kind, model):
    X = unchecked(kind)
    np.testing.assert_allclose(model.predict(X), model.predict(SOUND))
    X.indices[0] = 10**6
    assert_refused(lambda: model.predict(X), "not sound")


@pytest.mark.parametrize("kind", [sparse.coo_array, sparse.dia_array])
def test_what_another_format_becomes_is_checked(kind, model):
    assert_refused(lambda: model.predict(unchecked(kind)), "not sound")


@pytest.mark.parametrize("X", FORGED.values(), ids=FORGED)
def test_a_forged_matrix_is_refused_before_any_kernel(X, model):
    y = np.arange(40.0)
    assert_refused(lambda: DeepLearningRegressor(**SMALL).fit(X, y), "the training table")
    assert_refused(lambda: DeepLearningRegressor(**SMALL).fit(SOUND, y, eval_set=(X, y)), "the validation table")
    assert_refused(lambda: model.predict(X))
    assert_refused(lambda: model.score(X, y))


@pytest.mark.parametrize(
    "block, message",
    [
        (put("indices", 0, 10**6), "block 1 of .* not sound"),
        (SOUND[:, :5], "block 1 of .* has 5 columns, where the array says 12"),
        (None, "block 1 of .* is None, not an array"),
        ({}, "block 1 of .* is a dict, not an array"),
        (np.ones(40), r"block 1 of .* of shape \(40,\), not an array of two dimensions"),
        (np.ones((40, 12, 1)), "block 1 of .* not an array of two dimensions"),
    ],
    ids=["forged", "columns", "none", "dict", "vector", "cube"],
)
@pytest.mark.parametrize("is_sparse", [True, False])
def test_odd_blocks_of_a_dask_array_are_refused(block, message, is_sparse, model):
    meta = SOUND[:0, :0] if is_sparse else np.zeros((0, 0))
    first = SOUND if is_sparse else SOUND.toarray()
    blocks = (da.from_delayed(dask.delayed(lambda b=b: b)(), (40, 12), float, meta) for b in (first, block))
    X, y = da.concatenate(list(blocks)), np.arange(80.0)
    assert_refused(lambda: DeepLearningRegressor(**SMALL).fit(X, y), message)
    assert_refused(model.predict(X).compute, message)


@pytest.mark.parametrize(
    "X",
    [
        sparse.csr_array((3, 2**31)),
        sparse.coo_array((3, 2**40)),
        sparse.dok_array((3, 2**31 - 1)),
        da.zeros((3, 2**31), chunks=(3, 2**31)),
        np.broadcast_to(0.0, (3, 2**31)),
    ],
    ids=["csr", "coo", "dok", "dask", "dense"],
)
def test_too_many_columns_are_refused_before_they_are_named(X):
    # Their names alone would fill the memory of the machine that runs this.
    assert_refused(lambda: DeepLearningRegressor(**SMALL).fit(X, np.arange(3.0)), "columns, more than 16,777,216")


@pytest.mark.parametrize("kind", ["csc", "coo", "bsr", "lil", "dok", "dia"])
def test_every_format_and_width_of_index_gives_the_same_model(kind, model):
    y = np.arange(40.0)
    for X in (SOUND.asformat(kind), sparse.csr_matrix(SOUND)):
        other = DeepLearningRegressor(**SMALL).fit(X, y)
        np.testing.assert_array_equal(other.predict(SOUND), model.predict(SOUND))
        np.testing.assert_array_equal(model.predict(X), model.predict(SOUND))


def test_the_matrix_that_is_given_stays_as_it_is():
    parts = np.array([1.0, 2, 3]), np.array([5, 2, 2], np.int64), np.array([0, 3], np.int64)
    X = sparse.csr_array(parts, shape=(1, 6))
    X.has_canonical_format = True  # which is not so
    csr = as_csr(X, "the table")
    assert (csr.indices.tolist(), csr.data.tolist()) == ([2, 5], [5, 1])
    assert (X.indices.tolist(), X.data.tolist()) == ([5, 2, 2], [1, 2, 3])
