"""Affine maps: stored values become those that another encoder would have made, within the bound that is stated."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from frame.test_blocks import source_of
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import random_array

from dask_dl.frame.affine import Affine
from dask_dl.frame.encoder import Encoder, Encoding
from dask_dl.frame.recipe import Recipe, encode_partition
from dask_dl.frame.row_stats import ScanRequest
from dask_dl.frame.scan import scan
from dask_dl.frame.source import open_source
from dask_dl.tasks import Numbers

EPS = 2.0**-24


def fitted(source, encoding, *, standardize=True):
    found = scan(source, ScanRequest("numbers", sparse=encoding.sparse))
    encoder = Encoder.fit(found, source.predictors, encoding)
    return found, encoder, Numbers.fit(found, standardize=standardize, link="identity")


def encoded(source, found, encoder, head, mean_weight):
    recipe = Recipe.of(source, found, encoder, head, mean_weight)
    return encode_partition(source.read(0), recipe, 0, found.n_rows)


def table(n, seed, shift, spread):
    random = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "a": random.normal(shift, spread, n),
            "b": random.integers(0, 4, n) * spread,
            "level": random.choice(["u", "v", "w"], n),
            "w": random.uniform(0.5, 2, n),
            "o": random.normal(size=n),
            "y": random.normal(shift, spread, n),
        }
    )
    frame.loc[:5, "level"] = ["u", "v", "w", "u", "v", "w"]
    frame.loc[:1, ["a", "b", "y"]] = [[0.0, 1, 0], [1, 0, 1]]  # not constant
    return frame


def is_met(found, expected, shift):
    """Whether values are met within the bound of `Affine`; a share of it is left for float64."""
    bound = EPS * (5 * np.abs(expected) + 4 * np.abs(shift)) * (1 + 1e-5)
    np.testing.assert_array_less(np.abs(found.astype(np.float64) - expected), bound + 1e-37)


@settings(derandomize=True, database=None, deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(20, 60),
    shift=st.sampled_from([0, 1, -1e3, 1e6]),
    spread=st.sampled_from([1e-3, 1, 1e4]),
    scheme=st.sampled_from(["one_hot_internal", "label_encoder", "binary"]),
)
def test_values_are_those_of_the_other_encoder_within_the_bound(seed, n, shift, spread, scheme):
    frame = table(n, seed, shift, spread)
    part = source_of(frame[: n // 2], target="y", weight="w", offset="o")
    whole = source_of(frame, target="y", weight="w", offset="o")
    theirs, own = (fitted(source, Encoding(scheme=scheme)) for source in (whole, part))
    means = theirs[0].mean_weight, own[0].mean_weight
    affine = Affine.between(theirs[1], own[1], (theirs[2], own[2]), means)
    stored = encoded(part, own[0], *theirs[1:], means[0])
    expected = encoded(part, own[0], *own[1:], means[1])
    found = affine.apply(stored.copy())
    is_met(found.dense, expected.dense, affine.shift)
    is_met(found.target, expected.target, affine.target.shift)
    is_met(found.offset, expected.offset, affine.target.shift)
    np.testing.assert_allclose(found.weight, expected.weight, rtol=2.0**-22, atol=0)
    np.testing.assert_array_equal(found.active, expected.active)
    # It is the map that meets them, and padding stays zero.
    assert (stored.dense != expected.dense).any() and (stored.target != expected.target).all()
    assert not found.dense[:, own[1].n_dense :].any()


def test_sparse_entries_are_scaled_and_zeros_stay():
    matrix = random_array((60, 5), density=0.4, format="csr", random_state=np.random.default_rng(0))
    whole, part = (open_source(m, np.arange(m.shape[0])) for m in (matrix, matrix[:30]))
    theirs, own = (fitted(source, Encoding(sparse=True)) for source in (whole, part))
    affine = Affine.between(theirs[1], own[1])
    stored, expected = (encoded(part, own[0], encoder, own[2], 1.0) for encoder in (theirs[1], own[1]))
    before = stored.entries.value.copy()
    found = affine.apply(stored)
    np.testing.assert_array_equal(found.entries.slot, expected.entries.slot)
    is_met(found.entries.value, expected.entries.value, 0)
    np.testing.assert_array_equal(stored.entries.value, before)  # pools may be shared
    assert (before != expected.entries.value).all() and affine.scale is affine.shift is affine.target is None


def test_nothing_changes_where_nothing_differs():
    frame = table(40, 0, 1, 2)
    found, encoder, head = fitted(source_of(frame, target="y"), Encoding())
    assert Affine.between(encoder, encoder, (head, head), (0.3, 0.3)) is None
    raw = [fitted(source_of(f, target="y"), Encoding(standardize=False), standardize=False) for f in (frame, frame[:9])]
    assert Affine.between(raw[0][1], raw[1][1], (raw[0][2], raw[1][2])) is None
    weights = Affine.between(encoder, encoder, (head, head), (0.3, 0.6))
    assert weights.weight == 0.5 and weights.scale is weights.shift is weights.entries is weights.target is None
    rows = encoded(source_of(frame, target="y"), found, encoder, head, 1.0)
    assert weights.apply(rows).weight.size == 0  # rows that all count 1 go on to do so


def test_missing_numbers_stay_at_the_stored_mean():
    frame = pd.DataFrame({"a": [0.0, 2, np.nan, 10, 12], "y": np.arange(5.0)})
    theirs, own = (fitted(source_of(f, target="y"), Encoding()) for f in (frame, frame[:3]))
    affine = Affine.between(theirs[1], own[1])
    rows = affine.apply(encoded(source_of(frame[:3], target="y"), own[0], theirs[1], own[2], 1.0))
    np.testing.assert_allclose(rows.dense[:, 0], np.array([-1, 1, 5]) / 2**0.5, rtol=1e-6)  # 6, where 1 is the own mean


@pytest.mark.parametrize(
    ("change", "scheme"),
    [
        (lambda f: f.rename(columns={"a": "A"}), "one_hot_internal"),
        (lambda f: f[f["level"] != "u"], "one_hot_internal"),
        (lambda f: f[f["level"] != "u"], "binary"),
        (lambda f: f[5:], "eigen"),
    ],
)
def test_encoders_of_other_inputs_are_refused(change, scheme):
    frame = table(40, 0, 1, 2)
    one, other = (fitted(source_of(f, target="y"), Encoding(scheme=scheme))[1] for f in (frame, change(frame)))
    with pytest.raises(ValueError, match="other columns or levels"):
        Affine.between(one, other)
