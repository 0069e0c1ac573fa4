"""Residuals of a sample are those of the model on its rows, beside their columns, from one pass over a table of any kind."""

from __future__ import annotations

from collections import Counter

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pytest
import scipy.sparse
from tables import UNSCORED, make_table

from dask_dl import DeepLearningRegressor
from dask_dl.errors import ParameterError, SchemaError

N = 500
SMALL = UNSCORED | {"hidden": (4,), "epochs": 2, "random_state": 1, "n_jobs": 1}
TABLE = make_table(N, gaps=0.1).drop(columns="label")
TABLE.index = TABLE.index[::-1] + 7
TABLE.iloc[:20, TABLE.columns.get_loc("y")] = np.nan
X = TABLE[["a", "b", "level"]]


@pytest.fixture(scope="module")
def model():
    return DeepLearningRegressor(**SMALL).fit(TABLE[["a", "b", "level", "y"]], "y")


def test_they_are_the_truth_less_the_prediction_of_the_rows_that_count(model):
    found = model.residuals(TABLE, columns=["level", "c"], sample_weight="w")
    counted = TABLE[TABLE["y"].notna() & (TABLE["w"] > 0)]
    assert found.columns.tolist() == ["actual", "predicted", "residual", "weight", "level", "c"]
    np.testing.assert_array_equal(found.index, counted.index)
    np.testing.assert_array_equal(found["actual"], counted["y"])
    np.testing.assert_allclose(found["predicted"], model.predict(counted), rtol=1e-6)
    np.testing.assert_array_equal(found["residual"], found["actual"] - found["predicted"])
    for name, own in (("weight", "w"), ("c", "c"), ("level", "level")):
        assert found[name].equals(counted[own].rename(name))
    assert model.residuals(X, TABLE["y"]).equals(model.residuals(TABLE))
    assert model.residuals(TABLE, columns=3).columns[-1] == TABLE.columns[3]
    assert model.residuals(TABLE, columns="y")["y"].equals(model.residuals(TABLE)["actual"].rename("y"))


def test_a_lazy_table_is_read_once_and_gives_a_random_sample(model):
    n_read = Counter()

    def read(k):
        n_read[k] += 1
        return TABLE.iloc[k * 100 : (k + 1) * 100]

    found = model.residuals(dd.from_map(read, range(5), meta=TABLE[:0]), columns=["c"], n=60)
    assert set(n_read.values()) == {1} and len(n_read) == 5
    whole = model.residuals(TABLE, columns=["c"])
    assert len(found) == 60 and found.index.is_unique
    for name in found:
        np.testing.assert_allclose(found[name], whole.loc[found.index, name], rtol=1e-6)
    assert {(7 + N - 1 - index) // 100 for index in found.index} == set(range(5))


def test_offsets_and_links_count():
    table = TABLE.assign(y=TABLE["y"].abs(), off=np.linspace(-1, 1, N))[["a", "level", "y", "off"]]
    model = DeepLearningRegressor(**SMALL, distribution="poisson").fit(table, "y", offset="off")
    known = table.dropna(subset="y")
    np.testing.assert_allclose(model.residuals(table)["predicted"], model.predict(known), rtol=1e-6)
    some = model.residuals(table, n=50)
    np.testing.assert_allclose(some["predicted"], model.predict(known.loc[some.index]), rtol=1e-6)
    moved = known["off"] + 1
    found = model.residuals(known.drop(columns="off"), offset=moved)
    np.testing.assert_allclose(found["predicted"], model.predict(known, offset=moved), rtol=1e-6)


def test_arrays_and_sparse_matrices():
    array, y = TABLE[["a", "c", "d"]].to_numpy(), TABLE["y"].fillna(0.0).to_numpy()
    model = DeepLearningRegressor(**SMALL, sparse=True).fit(array, y)
    expected = y - model.predict(array)
    tables = {
        "array": (array, y),
        "matrix": (scipy.sparse.csr_array(array), y),
        "lazy": (da.from_array(array, chunks=(200, 3)), da.from_array(y, chunks=200)),
    }
    for table, truth in tables.values():
        found = model.residuals(table, truth, columns=[1])
        np.testing.assert_allclose(found["residual"], expected, atol=1e-6)
        np.testing.assert_array_equal(found["x1"], array[:, 1])


def test_faults_are_told(model):
    for call, words in (
        ({"n": 0}, "n=0: give the number of rows, 1 or more"),
        ({"columns": ["nothing"]}, "has no column 'nothing' for the columns"),
        ({"columns": [[1]]}, "give names or positions of columns"),
    ):
        with pytest.raises((ParameterError, SchemaError), match=words):
            model.residuals(TABLE, **call)
    with pytest.raises(ParameterError, match="'predicted' is the name of a figure"):
        model.residuals(TABLE.assign(predicted=1), columns=["predicted"])
    with pytest.raises(ParameterError, match="requires y, but it is None"):
        DeepLearningRegressor(**SMALL).fit(X, TABLE["y"]).residuals(X)
    with pytest.raises(SchemaError, match="no row has a known value and a weight above zero"):
        model.residuals(TABLE, sample_weight=np.zeros(N))
