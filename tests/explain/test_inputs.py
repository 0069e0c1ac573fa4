"""Inputs by column: hashed levels stay apart, their values are those of the network, and tables are shown as they are."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from predicted import SMALL
from scipy.sparse import csr_array
from tables import make_table

from dask_dl import DeepLearningRegressor
from dask_dl.explain.inputs import Apart, InputValues, table_values

TABLE = make_table(200, gaps=0.2).assign(kind=lambda t: np.where(t["a"] > 0, "p", "q"))
X = TABLE[["a", "b", "level", "kind"]]


def of_network(rows, n_onehot):
    """Inputs as the network reads them: of entries that meet the sum."""
    inputs = np.zeros((rows.n, n_onehot + 2))
    inputs[:, n_onehot:] = rows.dense[:, :2]
    for i in range(rows.n):
        for slot in rows.active[i][rows.active[i] >= 0]:
            inputs[i, slot] += 1
        for e in range(rows.entries.length[i] if len(rows.entries.begin) else 0):
            place = rows.entries.begin[i] + e
            inputs[i, rows.entries.slot[place]] += rows.entries.value[place]
    return inputs


@pytest.mark.parametrize("maximum", [1000, 3, 1])
def test_levels_stay_apart_and_mean_the_same(maximum):
    model = DeepLearningRegressor(max_categorical_features=maximum, **SMALL).fit(X, TABLE["y"])
    assert (model.encoder_.hashing is None) == (maximum == 1000)
    whole = model.model_.predictor
    dense, active, entries = model.encoder_.encode(X, "a table")
    nothing = np.zeros(0, np.float32)
    rows = Apart.of(whole).encoded(X, None, "a table")
    assert rows.active.shape == (200, 2) and (rows.active >= 0).all()
    expected = of_network(
        rows._replace(dense=dense, active=active, entries=entries, target=nothing), model.encoder_.n_onehot
    )
    assert (of_network(rows, model.encoder_.n_onehot) == expected).all()
    assert np.allclose(InputValues.of(whole).answers(X, None, "a table"), expected)


def test_numbers_that_are_kept_by_their_non_zeros_follow_hashed_levels():
    given = SMALL | {"sparse": True, "max_categorical_features": 2}
    model = DeepLearningRegressor(**given).fit(X, TABLE["y"])
    whole, encoder = model.model_.predictor, model.encoder_
    rows = Apart.of(whole).encoded(X, None, "a table")
    assert {*rows.entries.slot.tolist()} == {2, 3}
    found = InputValues.of(whole).answers(X, None, "a table")
    assert np.allclose(
        found[:, 2:], X[["a", "b"]].fillna(X["b"].mean()) * [n.factor for n in encoder.numbers], atol=1e-5
    )
    assert (found[:, :2].sum(axis=1) == 2).all()


def test_a_table_is_shown_as_it_is():
    model = DeepLearningRegressor(**SMALL).fit(X, TABLE["y"]).model_
    shown = table_values(model, TABLE[["kind", "b", "w"]], ["a", "b", "kind", "w"])
    expected = TABLE[["b", "kind", "w"]].assign(a=np.nan)[["a", "b", "kind", "w"]]
    pd.testing.assert_frame_equal(shown, expected)


@pytest.mark.parametrize("kind", [np.asarray, csr_array, pd.DataFrame])
def test_columns_without_names_are_known_by_their_places(kind):
    numbers = TABLE[["a", "c"]].to_numpy()
    model = DeepLearningRegressor(sparse=True, **SMALL).fit(numbers, TABLE["y"]).model_
    assert (table_values(model, kind(numbers), ["x0", "x1"]).to_numpy() == numbers).all()
