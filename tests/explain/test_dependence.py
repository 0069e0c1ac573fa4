"""Partial dependence is the mean of what the model predicts when a column is replaced, for tables and models of every kind."""

from __future__ import annotations

from collections import Counter

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from distributed import Client
from sklearn.inspection import partial_dependence as of_sklearn
from tables import UNSCORED, make_table

import dask_dl
from dask_dl import DeepLearningClassifier, DeepLearningRegressor
from dask_dl.errors import DaskDLWarning, ParameterError, SchemaError

N = 400
SMALL = UNSCORED | {"hidden": (6,), "epochs": 2, "random_state": 1, "n_jobs": 1}
TABLE = make_table(N, gaps=0.1)
NUMBERS = TABLE[list("acde")]
MIXED = TABLE[["a", "b", "level", "y"]]


@pytest.fixture(scope="module")
def regressor():
    return DeepLearningRegressor(**SMALL).fit(NUMBERS, TABLE["y"])


@pytest.fixture(scope="module")
def mixed():
    return DeepLearningRegressor(**SMALL).fit(MIXED, "y")


def replaced(model, X, column, points, **call):
    """Predictions (rows, points) of a model when a column is replaced by each point."""
    answer = getattr(model, "predict_proba", model.predict)
    return np.stack([np.asarray(answer(X.assign(**{column: point}), **call)) for point in points], axis=1)


@pytest.mark.parametrize("weights", [None, TABLE["w"].to_numpy()], ids=["plain", "weighted"])
def test_it_is_that_of_scikit_learn_for_numbers(regressor, weights):
    columns = ["a", ("c", "d")]
    found = regressor.partial_dependence(NUMBERS, columns, kind="both", subsample=N, sample_weight=weights)
    for result, column in zip(found, columns, strict=True):
        features = list(column)
        theirs = of_sklearn(
            regressor, NUMBERS, features, grid_resolution=20, method="brute", kind="both", sample_weight=weights
        )
        assert result.columns == tuple(features) and result.n_rows == (N if weights is None else (weights > 0).sum())
        for mine, values in zip(result.grid_values, theirs.grid_values, strict=True):
            np.testing.assert_allclose(mine, values, rtol=1e-12)
        np.testing.assert_allclose(result["average"], theirs["average"], atol=1e-6)
        counted = theirs["individual"][:, result.index]
        np.testing.assert_allclose(result["individual"], counted, atol=1e-6)


def test_it_is_that_of_scikit_learn_for_classes():
    for labels in (("no", "yes"), ("p", "q", "r")):
        table = make_table(N, labels=labels)
        X = table[list("abc")]
        model = DeepLearningClassifier(**SMALL).fit(X, table["label"])
        mine = model.partial_dependence(X, "b", grid_resolution=7, kind="both", subsample=N)
        theirs = of_sklearn(model, X, ["b"], grid_resolution=7, method="brute", kind="both")
        np.testing.assert_allclose(mine.average, theirs["average"], atol=1e-6)
        np.testing.assert_allclose(mine.individual, theirs["individual"], atol=1e-6)
        assert mine.targets == (labels[1:] if len(labels) == 2 else labels)
        first = model.partial_dependence(X, "b", grid_resolution=7, target=labels[0], kind="both")
        assert first.targets == labels[:1] and first.individual.shape == (1, 100, 7)
        np.testing.assert_allclose(
            first.average[0], 1 - mine.average[0] if len(labels) == 2 else mine.average[0], atol=1e-6
        )


ENCODINGS = {
    "one-hot": {},
    "one-hot without the first level": {"use_all_factor_levels": False},
    "limited levels": {"categorical_encoding": "enum_limited"},
    "label codes": {"categorical_encoding": "label_encoder"},
    "binary codes": {"categorical_encoding": "binary"},
    "eigen codes": {"categorical_encoding": "eigen"},
    "levels by response": {"categorical_encoding": "sort_by_response"},
    "hashed levels": {"max_categorical_features": 4},
    "sparse numbers": {"sparse": True},
    "sparse numbers and hashed levels": {"sparse": True, "max_categorical_features": 3},
    "numbers as they are": {"standardize": False},
}


@pytest.mark.parametrize("given", ENCODINGS.values(), ids=ENCODINGS)
def test_it_is_the_mean_over_replaced_columns_however_they_are_encoded(given):
    X = MIXED.drop(columns="y").assign(more=np.random.default_rng(1).integers(0, 14, N).astype(str))
    X.loc[X["a"] < 0, "a"] = 0.0
    model = DeepLearningRegressor(**SMALL | given).fit(X, TABLE["y"])
    columns = ["a", "b", "level", "more", ("level", "b"), ("more", "level")]
    found = model.partial_dependence(X, columns, sample_weight=TABLE["w"], grid_resolution=5, kind="both", subsample=50)
    weights = TABLE["w"].to_numpy()
    for result, column in zip(found[:4], columns[:4], strict=True):
        points = result.grid_values[0]
        if column == "more" and "categorical_encoding" in given and given["categorical_encoding"] == "enum_limited":
            assert "other" in points or len(points) == 5
        expected = replaced(model, X, column, points)
        np.testing.assert_allclose(result.average[0], np.average(expected, axis=0, weights=weights), atol=1e-6)
        deviation = np.sqrt(np.average((expected - result.average) ** 2, axis=0, weights=weights))
        np.testing.assert_allclose(result.deviation[0], deviation, rtol=0.01, atol=1e-6)
        np.testing.assert_allclose(result.individual[0], expected[result.index], atol=1e-6)
    for result, (first, second) in zip(found[4:], columns[4:], strict=True):
        for k, point in enumerate(result.grid_values[0]):
            expected = replaced(model, X.assign(**{first: point}), second, result.grid_values[1])
            np.testing.assert_allclose(result.average[0, k], np.average(expected, axis=0, weights=weights), atol=1e-6)
    assert found[2].grid_values[0][-1] is None and len(found[3].grid_values[0]) == 5


@pytest.mark.parametrize("more", [{}, {"max_categorical_features": 2}], ids=str)
def test_offsets_and_links_count(more):
    table = MIXED.assign(y=MIXED["y"].abs() + 0.1, off=np.linspace(-1, 1, N))
    X = table.drop(columns="y")
    model = DeepLearningRegressor(**SMALL, **more, distribution="poisson").fit(table, "y", offset="off")
    for given in ({}, {"offset": table["off"] + 0.5}):
        found = model.partial_dependence(X if not given else X.drop(columns="off"), "level", kind="both", **given)
        expected = replaced(model, X, "level", found.grid_values[0], offset=given.get("offset", "off"))
        np.testing.assert_allclose(found.average[0], expected.mean(axis=0), rtol=1e-5)
        np.testing.assert_allclose(found.individual[0], expected[found.index], rtol=1e-5)
    with pytest.raises(ParameterError, match="columns: 'off' is the offset of the training"):
        model.partial_dependence(X, "off")


def test_tables_of_every_kind_give_the_same(regressor, mixed):
    expected = regressor.partial_dependence(NUMBERS, ["a", ("c", "e")], grid_resolution=4)
    tables = {
        "dask": dd.from_pandas(NUMBERS, npartitions=3),
        "an empty partition": dd.concat(
            [dd.from_pandas(NUMBERS[:0], npartitions=1), dd.from_pandas(NUMBERS, npartitions=2)]
        ),
    }
    alone = regressor.partial_dependence(tables["dask"], "a", kind="individual", subsample=50)
    assert alone.average is None and alone.individual.shape == (1, 50, 20) and alone.n_rows == N
    for table in tables.values():
        for mine, other in zip(
            regressor.partial_dependence(table, ["a", ("c", "e")], grid_resolution=4), expected, strict=True
        ):
            np.testing.assert_allclose(mine.average, other.average, atol=1e-9)
            np.testing.assert_allclose(mine.deviation, other.deviation, atol=1e-9)
            assert mine.n_rows == N
    array = NUMBERS.to_numpy()
    of_array = DeepLearningRegressor(**SMALL).fit(array, TABLE["y"])
    there = of_array.partial_dependence(array, [0, ("x1", 3)], grid_resolution=4, kind="both")
    lazy = of_array.partial_dependence(
        da.from_array(array, chunks=(150, 2)), [0, (1, -1)], grid_resolution=4, kind="both"
    )
    for mine, other in zip(lazy, there, strict=True):
        np.testing.assert_allclose(mine.average, other.average, atol=1e-9)
        assert mine.columns == other.columns and mine.individual.shape == other.individual.shape
        assert mine.index.tolist() == other.index.tolist() == list(range(100))
    matrix = np.where(np.abs(array) < 0.8, 0, array)
    csr = scipy.sparse.csr_array(matrix)
    of_sparse = DeepLearningRegressor(**SMALL, sparse=True).fit(csr, TABLE["y"])
    found = of_sparse.partial_dependence(csr, [0, 2], custom_values={2: [0.0, 1.5, np.nan]}, kind="both")
    frame = pd.DataFrame(matrix, columns=[f"x{k}" for k in range(4)])
    for result in found:
        points = result.grid_values[0]
        expected = np.stack(
            [of_sparse.predict(frame.assign(**{result.columns[0]: point}).to_numpy()) for point in points], axis=1
        )
        np.testing.assert_allclose(result.average[0], expected.mean(axis=0), atol=1e-6)


def test_tasks_of_workers_answer_as_this_process(mixed):
    expected = mixed.partial_dependence(MIXED, ["level", ("a", "level")], sample_weight=TABLE["w"], grid_resolution=3)
    lazy = dd.from_pandas(MIXED.assign(w=TABLE["w"]), npartitions=10)
    with Client(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=":0"):
        found = mixed.partial_dependence(lazy, ["level", ("a", "level")], sample_weight="w", grid_resolution=3)
        assert len(mixed.residuals(lazy, columns=["w"], n=30)) == 30
    for mine, others in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine.average, others.average, atol=1e-9)


def test_a_table_is_read_once_and_its_columns_once_more_where_points_follow_from_it(mixed):
    n_read = Counter()

    def read(k, columns=None):
        n_read[k, columns is None or len(columns)] += 1
        part = MIXED.iloc[k * 100 : (k + 1) * 100]
        return part if columns is None else part[list(columns)]

    table = dd.from_map(read, range(4), meta=MIXED[:0])
    mixed.partial_dependence(
        table, ["a", "level", ("a", "level")], custom_values={"a": [0, 1], "level": ["u", None]}, kind="both"
    )
    assert set(n_read.values()) == {1} and len(n_read) == 4
    n_read.clear()
    mixed.partial_dependence(table, ["a", "level", "b"])
    assert {k: sum(n for (j, _), n in n_read.items() if j == k) for k in range(4)} == dict.fromkeys(range(4), 2)


@pytest.mark.parametrize("storage", ["memory", "disk", "stream"])
@pytest.mark.parametrize("given", [{}, {"sparse": True}, {"categorical_encoding": "eigen"}], ids=str)
def test_rows_of_a_dataset_answer_as_those_of_its_table(storage, given):
    whole = MIXED.assign(w=TABLE["w"])
    whole.loc[:9, "y"] = None
    X = dd.from_pandas(whole, npartitions=3)
    given = SMALL | given | {"storage": storage}
    counted = whole[whole["y"].notna() & (whole["w"] > 0)]
    points = {"a": [-1.0, 0.0, 2.0]}
    with dask_dl.prepare(X, "y", sample_weight="w", **given) as data:
        model = DeepLearningRegressor(**given, nfolds=2).fit(data)
        for fitted in (model, *model.cross_validation_models_):  # folds have units of their own
            columns = ["a", "level", ("level", "a")]
            found = fitted.partial_dependence(data, columns, custom_values=points, kind="both", subsample=30)
            expected = fitted.partial_dependence(
                counted, columns, custom_values=points, sample_weight="w", kind="both", subsample=N
            )
            for mine, other in zip(found, expected, strict=True):
                np.testing.assert_allclose(mine.average, other.average, atol=1e-5)
                assert mine.n_rows == other.n_rows == len(counted)
                own = other.individual[
                    :, other.index.get_indexer(mine.index)
                ]  # global numbers are the labels of this table
                np.testing.assert_allclose(mine.individual, own, atol=1e-5)
            assert len(found[0].index) == 30
        b = model.partial_dependence(data, "b", grid_resolution=6)
        known = counted.assign(b=counted["b"].fillna(whole["b"].mean()))
        np.testing.assert_allclose(
            b.grid_values[0], model.partial_dependence(known, "b", grid_resolution=6).grid_values[0], rtol=0.1
        )
        with pytest.raises(ParameterError, match="a Dataset has its own sample_weight"):
            model.partial_dependence(data, "a", sample_weight="w")


def test_hashed_levels_of_a_dataset_are_not_told_apart():
    given = SMALL | {"max_categorical_features": 2}
    with dask_dl.prepare(MIXED, "y", **given) as data:
        model = DeepLearningRegressor(**given).fit(data)
        assert model.partial_dependence(data, "a").n_rows == N
        with pytest.raises(ParameterError, match="levels of 'level' are hashed"):
            model.partial_dependence(data, ["a", "level"])


def test_results_are_frames_with_a_row_for_each_point(mixed):
    curve, surface = mixed.partial_dependence(
        MIXED, ["level", ("a", "level")], kind="both", grid_resolution=3, subsample=5
    )
    assert curve.to_pandas().columns.tolist() == ["level", "average", "deviation"]
    np.testing.assert_array_equal(curve.to_pandas()["average"], curve.average[0])
    table = surface.to_pandas()
    assert table.columns.tolist() == ["a", "level", "average", "deviation"] and len(table) == surface.average.size
    row = table[(table["a"] == surface.grid_values[0][2]) & (table["level"] == surface.grid_values[1][1])]
    assert row["average"].item() == surface.average[0, 2, 1]
    own = surface.to_pandas("individual")
    assert own.columns.tolist() == ["row", "a", "level", "individual"] and own["row"].nunique() == 5
    with pytest.raises(KeyError, match="nothing"):
        surface["nothing"]
    with pytest.raises(ParameterError, match="kind='individual': ask partial_dependence for it"):
        mixed.partial_dependence(MIXED, "a").to_pandas("individual")
    classes = DeepLearningClassifier(**SMALL).fit(MIXED[["a"]], make_table(N, labels=("p", "q", "r"))["label"])
    table = classes.partial_dependence(MIXED, "a", grid_resolution=4).to_pandas()
    assert table.columns.tolist() == ["target", "a", "average", "deviation"] and len(table) == 12
    np.testing.assert_allclose(table.groupby("a")["average"].sum(), 1, atol=1e-6)


FAULTS = {
    "columns: the model has no column 'leve'. Did you mean 'level'": {"columns": "leve"},
    "columns: there are 4 columns, and none at 5": {"columns": 5},
    "columns: 'y' is the target": {"columns": ["a", "y"]},
    "columns: the model has no column 'w'": {"columns": "w", "sample_weight": "w"},
    "columns: 'flat' was left out of the training": {"columns": "flat"},
    "columns: give one or more": {"columns": []},
    "a tuple of two different ones": {"columns": ("a", "a")},
    "found \\('a', 'b', 'level'\\)": {"columns": ("a", "b", "level")},
    "kind='mean': give one of": {"kind": "mean"},
    "subsample=0: give": {"kind": "both", "subsample": 0},
    "grid_resolution=0: give the number of points, 2 or more": {"grid_resolution": 0},
    "percentiles=\\(0.9, 0.1\\)": {"percentiles": (0.9, 0.1)},
    "percentiles=5": {"percentiles": 5},
    "target='yes': a model of numbers": {"target": "yes"},
    "has points of 'b', which columns does not ask for": {"custom_values": {"b": [1]}},
    "custom_values\\['a'\\]: give a list": {"custom_values": {"a": []}},
    "custom_values\\['a'\\]: the column is numeric": {"custom_values": {"a": ["x"]}},
    "training has not seen the levels 'z'": {"columns": "level", "custom_values": {"level": ["z", "u"]}},
    "custom_values=3: give a mapping": {"custom_values": 3},
    "ask for fewer columns at a time": {
        "columns": ("a", "b"),
        "custom_values": dict.fromkeys("ab", np.arange(6_000)),
    },
    "offset: the model was trained without offsets": {"offset": "b"},
}  # fmt: skip


@pytest.fixture(scope="module")
def with_weights():
    return DeepLearningRegressor(**SMALL).fit(MIXED.assign(flat=1.0, w=TABLE["w"]), "y", sample_weight="w")


@pytest.mark.filterwarnings("ignore:.*constant")
@pytest.mark.parametrize(("words", "call"), FAULTS.items(), ids=FAULTS)
def test_faults_are_told_before_rows_are_read(with_weights, words, call):
    n_read = Counter()

    def read(k):
        n_read[k] += 1
        return MIXED.assign(w=TABLE["w"])

    table = dd.from_map(read, [0], meta=MIXED.assign(w=TABLE["w"])[:0])
    with pytest.raises(ParameterError, match=words):
        with_weights.partial_dependence(table, **{"columns": "a"} | call)
    assert not n_read


def test_columns_of_one_value_say_so(mixed):
    with pytest.raises(ParameterError, match=r"column 'a' of the table to score holds nothing but 1\.0"):
        mixed.partial_dependence(MIXED.assign(a=1.0), "a")
    with pytest.raises(ParameterError, match="column 'level' of the table to score holds nothing but 'u'"):
        mixed.partial_dependence(MIXED.assign(level="u"), "level")
    with pytest.raises(ParameterError, match="holds no value that the model knows"):
        mixed.partial_dependence(MIXED.assign(level="never"), "level")
    few = MIXED.assign(a=np.where(np.arange(N) < 30, np.arange(N), 0.0))
    with pytest.raises(ParameterError, match=r"has the same value, 0, at both percentiles=\(0.2, 0.8\)"):
        mixed.partial_dependence(few, "a", percentiles=(0.2, 0.8))
    with pytest.raises(SchemaError, match="no rows with a weight above zero"):
        mixed.partial_dependence(MIXED, "a", sample_weight=np.zeros(N))
    with pytest.raises(SchemaError, match="column 'a' of the table to score was a number in training and is now"):
        mixed.partial_dependence(MIXED.assign(a="x"), "a")
    with pytest.raises(SchemaError, match="column 'a' of the table to score holds 1 infinite values"):
        mixed.partial_dependence(MIXED.assign(a=np.where(np.arange(N) == 7, np.inf, MIXED["a"])), "a")
    with pytest.warns(DaskDLWarning, match="lacks 1 columns"), pytest.raises(SchemaError, match="has no column 'a'"):
        mixed.partial_dependence(MIXED.drop(columns="a"), "a")


@pytest.mark.parametrize("zone", [None, "Asia/Tokyo"])
def test_dates_are_points_as_they_are(zone):
    days = pd.Timestamp("2024-01-01") + pd.to_timedelta(np.arange(N) % 50, "D")
    X = pd.DataFrame({"day": days.tz_localize(zone), "a": TABLE["a"]})
    model = DeepLearningRegressor(**SMALL).fit(X, TABLE["y"])
    found = model.partial_dependence(X, "day", grid_resolution=5)
    assert found.grid_values[0].dtype.kind == "M"
    points = pd.DatetimeIndex(found.grid_values[0])
    expected = replaced(model, X, "day", points if zone is None else points.tz_localize("UTC"))
    np.testing.assert_allclose(found.average[0], expected.mean(axis=0), atol=1e-5)
