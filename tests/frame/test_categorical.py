"""Encodings of levels: the arithmetic by hand, the order of H2O's golden cases, and what unseen and missing levels become."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_dl.checkpoint.codec import decode
from dask_dl.documents.encoder import EncoderDocument
from dask_dl.frame.categorical import MOST_FREQUENT, principal_component
from dask_dl.frame.encoder import Encoder, Encoding
from dask_dl.frame.scan import scan
from dask_dl.frame.source import Schema, Source
from dask_dl.tasks import HEADS


def fit(frame, scheme, task="regression", *, use_all_factor_levels=True, standardize=True, **roles):
    predictors = tuple(name for name in frame.columns if name not in roles.values())
    encoding = Encoding(scheme, use_all_factor_levels, standardize)
    request = encoding.request(HEADS[task].target_kind, skips=False, is_weighted="weight" in roles)
    # In three partitions, as what is known of levels has to be merged.
    parts = [frame.iloc[k::3] for k in range(3)]
    found = scan(Source(Schema(predictors, roles, "the table"), 3, lambda k: parts[k]), request)
    encoder = Encoder.fit(found, predictors, encoding)
    text = json.dumps(encoder.to_json(), allow_nan=False).encode()
    assert decode(text, EncoderDocument, "the encoder").encoder() == encoder
    return encoder


def inputs(encoder, values, name="c"):
    """(rows, inputs) of one column."""
    dense, active, _ = encoder.encode(pd.DataFrame({name: pd.array(values, dtype="string")}), "the table")
    onehot = (active[:, :, None] == np.arange(encoder.n_onehot)).any(axis=1)
    return np.hstack([onehot, dense[:, : encoder.n_dense]])


ROWS = pd.DataFrame({"c": ["b", "a", "c", None, "a", "c", "c"], "y": [1.0, 5, 2, 9, 6, 2, np.nan]})


def test_label_encoder_gives_codes_standardised_as_numbers_are():
    encoder = fit(ROWS, "label_encoder", target="y")
    codes = np.array([1, 0, 2, 0, 2.0])  # of the rows with a target
    expected = (np.arange(3) - codes.mean()) / codes.std(ddof=1)
    found = inputs(encoder, ["a", "b", "c", None])
    np.testing.assert_allclose(found[:, 0], [*expected, 0], rtol=1e-6, atol=1e-7)
    assert encoder.input_names == ["c"]
    raw = inputs(fit(ROWS, "label_encoder", standardize=False, target="y"), ["a", "b", "c", None, "z", "y"])
    np.testing.assert_allclose(
        raw[:, 0], [0, 1, 2, codes.mean(), 4, 3], rtol=1e-6
    )  # unseen ones after the last, in order


def test_numbers_as_text_stay_in_the_order_of_numbers():
    frame = pd.DataFrame({"c": pd.Categorical([10, 9, 1]), "y": [1.0, 2, 3]})
    assert fit(frame, "label_encoder", target="y").codes[0].levels == ("1", "9", "10")


@pytest.mark.parametrize("n", [1, 2, 3, 4, 7, 8])
def test_binary_writes_the_level_in_base_2(n):
    # A missing value and three levels are 00, 10, 01, 11 (algorithm.md#binary-codes).
    levels = [f"v{k}" for k in range(n)]
    frame = pd.DataFrame({"c": [*levels, *levels, None], "y": np.arange(2.0 * n + 1)})
    encoder = fit(frame, "binary", standardize=False, target="y")
    width = int(np.floor(np.log2(n))) + 1
    assert encoder.input_names == [f"c:{bit}" for bit in range(width)]
    found = inputs(encoder, [None, *levels, "unseen"])
    for code, row in enumerate(found[:-1]):
        assert "".join(str(int(bit)) for bit in row[::-1]) == f"{code:0{width}b}"
    np.testing.assert_array_equal(found[-1], found[0])


def test_binary_counts_missing_values_in_its_means():
    encoder = fit(ROWS, "binary", target="y")
    bits = np.array([[0, 1], [1, 0], [1, 1], [0, 0], [1, 0], [1, 1.0]])
    np.testing.assert_allclose(encoder.codes[0].means, bits.mean(axis=0))
    np.testing.assert_allclose(encoder.codes[0].deviations, bits.std(axis=0, ddof=1))


@pytest.mark.parametrize("scheme", ["label_encoder", "binary", "eigen"])
def test_weighted_figures_are_those_of_repeated_rows(scheme):
    weighted = ROWS.assign(w=[2.0, 1, 3, 2, 0, 1, 1])
    rows = weighted
    repeated = rows.loc[rows.index.repeat(rows["w"].astype(int)), ["c", "y"]].reset_index(drop=True)
    one, other = fit(weighted, scheme, target="y", weight="w").codes[0], fit(repeated, scheme, target="y").codes[0]
    np.testing.assert_allclose(one.means, other.means)
    used = (frame[frame["y"].notna()] for frame in (rows[rows["w"] > 0], repeated))
    n, n_repeated = ((frame["c"].notna() | (scheme == "binary")).sum() for frame in used)
    # Rows are counted, whatever they weigh (algorithm.md#means-and-deviations).
    correction = np.sqrt(n / (n - 1) / (n_repeated / (n_repeated - 1)))
    np.testing.assert_allclose(one.deviations, np.array(other.deviations) * correction)


@pytest.mark.parametrize("scheme", ["label_encoder", "binary", "eigen"])
def test_weights_of_one_change_nothing(scheme):
    assert fit(ROWS.assign(w=1.0), scheme, target="y", weight="w") == fit(ROWS, scheme, target="y")


@given(st.lists(st.integers(1, 50), min_size=2, max_size=12))
def test_eigen_is_a_principal_component_of_the_onehot_inputs(counts):
    vector = principal_component(np.array(counts, float))
    shares = np.array(counts) / sum(counts)
    covariance = np.diag(shares) - np.outer(shares, shares)
    largest = np.linalg.eigvalsh(covariance)[-1]
    np.testing.assert_allclose(covariance @ vector, largest * vector, atol=1e-9)
    assert vector @ vector == pytest.approx(1)
    assert vector[np.argmax(counts)] > 0


def test_eigen_with_its_corner_cases():
    assert principal_component(np.array([5.0])).tolist() == [1.0]
    np.testing.assert_allclose(principal_component(np.ones(3)), [0.5**0.5, 0, -(0.5**0.5)])
    encoder = fit(ROWS.fillna({"y": 0.0}), "eigen", standardize=False, target="y")
    assert encoder.input_names == ["c.Eigen"]
    found = inputs(encoder, ["c", "b", None, "unseen"])[:, 0]
    assert found[0] > found[1]
    assert found[2] == found[3] == np.float32(encoder.codes[0].means[0])


def test_sort_by_response_orders_levels_by_mean_target():
    encoder = fit(ROWS, "sort_by_response", target="y")
    assert encoder.categories[0].levels == ("b", "c", "a")  # 1, 2, 5.5; the row without a target does not count
    heavy = ROWS.assign(w=[1, 1, 1, 1, 0.0, 1, 1], y=[5.0, 5, 2, 9, 0, 6, np.nan])
    assert fit(heavy, "sort_by_response", target="y", weight="w").categories[0].levels == ("c", "a", "b")


def test_sort_by_response_of_classes_goes_by_their_order():
    frame = pd.DataFrame({"c": ["a", "a", "b", "b", "d", "e"], "y": ["no", "yes", "no", "no", "yes", None]})
    encoder = fit(frame, "sort_by_response", "classification", target="y")
    assert encoder.categories[0].levels == ("b", "a", "d")  # 0, 0.5, 1; no row with a target has e
    assert inputs(encoder, ["b", "d", None, "e"]).argmax(axis=1).tolist() == [0, 2, 3, 3]


def limited(**options):
    values = [f"v{k:02}" for k in range(15) for _ in range(k + 1)] + [None] * 3
    return fit(pd.DataFrame({"c": values, "y": np.arange(float(len(values)))}), "enum_limited", target="y", **options)


def test_enum_limited_keeps_the_most_frequent_levels():
    encoder = limited()
    assert encoder.categories[0].levels == tuple(f"v{k:02}" for k in range(5, 15))
    assert encoder.input_names[0] == "c.top_10_levels.v05"
    assert encoder.input_names[-2:] == ["c.top_10_levels.other", "c.top_10_levels.missing(NA)"]
    places = inputs(encoder, ["v05", "v14", "v00", "unseen", None])
    assert places.sum(axis=1).tolist() == [1] * 5
    assert places.argmax(axis=1).tolist() == [0, 9, 10, 10, 11]
    without_first = inputs(limited(use_all_factor_levels=False), ["v05", "v06", "v00", None])
    assert [row.nonzero()[0].tolist() for row in without_first] == [[], [0], [9], [10]]


def test_enum_limited_leaves_few_levels_alone():
    frame = pd.DataFrame({"c": [f"v{k}" for k in range(MOST_FREQUENT)], "y": np.arange(float(MOST_FREQUENT))})
    encoder = fit(frame, "enum_limited", target="y")
    assert encoder.input_names[-1] == "c.missing(NA)"
    assert inputs(encoder, ["unseen"]).argmax() == MOST_FREQUENT


def test_enum_limited_has_a_name_for_the_others_that_no_level_has():
    values = [*["other"] * 50, *(f"v{k:02}" for k in range(15) for _ in range(20 - k))]
    encoder = fit(pd.DataFrame({"c": values, "y": np.arange(float(len(values)))}), "enum_limited", target="y")
    assert len(set(encoder.input_names)) == len(encoder.input_names)
    assert "c.top_10_levels.other_" in encoder.input_names
