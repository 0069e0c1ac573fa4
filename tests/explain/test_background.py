"""Background rows: all of a small table, or the same random ones of a large one, however it comes."""

from __future__ import annotations

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pytest
from predicted import SMALL
from scipy.sparse import csr_array
from tables import make_table

from dask_dl import DeepLearningRegressor
from dask_dl.errors import ParameterError, SchemaError
from dask_dl.explain.background import background_rows
from dask_dl.explain.inputs import Apart

TABLE = make_table(300)
NUMBERS = TABLE[list("abcde")]


@pytest.fixture(scope="module")
def model():
    return DeepLearningRegressor(**SMALL).fit(NUMBERS, TABLE["y"])


def rows(model, table, n=100, offset=None):
    return background_rows(model.model_, table, offset, n, Apart.of(model.model_.predictor), "Regressor")


def values(model, found):
    """Rows in the units of the table."""
    encoder = model.encoder_
    return found.dense[:, :5] / [n.factor for n in encoder.numbers] + [n.shift for n in encoder.numbers]


def test_all_rows_of_a_small_table_count(model):
    for n in (300, None):
        assert np.allclose(values(model, rows(model, NUMBERS, n)), NUMBERS, atol=1e-5)


def test_of_a_large_table_random_rows_count(model):
    found = values(model, rows(model, NUMBERS, 40))
    apart = np.abs(found[:, None] - NUMBERS.to_numpy()[None]).max(axis=2)
    places = apart.argmin(axis=1)
    assert len({*places}) == 40 and apart.min(axis=1).max() < 1e-5
    assert places.min() < 60 and places.max() > 240  # from all over the table
    assert (values(model, rows(model, NUMBERS, 40)) == found).all()


def test_a_lazy_table_is_sampled_from_all_partitions(model):
    lazy = dd.from_pandas(NUMBERS, npartitions=5)
    found = values(model, rows(model, lazy, 50))
    assert len(found) == 50
    apart = np.abs(found[:, None] - NUMBERS.to_numpy()[None]).max(axis=2)
    assert len({*(apart.argmin(axis=1) // 60)}) == 5
    assert len(rows(model, lazy, None).dense) == 300


def test_a_model_of_an_array_takes_arrays():
    X = np.where(NUMBERS > 0, NUMBERS, 0)
    model = DeepLearningRegressor(sparse=True, **SMALL).fit(X, TABLE["y"])
    kinds = [X, da.from_array(X, chunks=(100, 5)), csr_array(X)]
    assert [rows(model, table, None).entries.n for table in kinds] == [np.count_nonzero(X)] * 3


def test_offsets_come_along():
    model = DeepLearningRegressor(**SMALL).fit(TABLE[[*"abcde", "w"]], TABLE["y"], offset="w")
    encoded = model.model_.head.offsets(TABLE["w"].to_numpy())
    assert np.allclose(rows(model, TABLE, None).offset, encoded)
    with pytest.raises(ParameterError, match="trained with offsets and column 'w' is not in the table"):
        rows(model, NUMBERS)


@pytest.mark.parametrize("n", [0, -1, 2.5, True, "all"])
def test_what_is_no_number_of_rows_is_refused(model, n):
    with pytest.raises(ParameterError, match=r"n_background=.*: give a number of rows"):
        rows(model, NUMBERS, n)


def test_a_table_that_does_not_fit_is_refused_by_its_name(model):
    with pytest.raises(SchemaError, match="the background has no rows"):
        rows(model, NUMBERS[:0])
    with pytest.raises(SchemaError, match="the background has none of the columns of training"):
        rows(model, TABLE[["level"]])
    with pytest.raises(SchemaError, match="of the background was a number in training"):
        rows(model, NUMBERS.assign(a="x"))
