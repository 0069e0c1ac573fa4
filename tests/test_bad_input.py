"""Bad input is refused before any training, with an error that names the column and a way out."""

from __future__ import annotations

import pickle
import warnings

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from tables import UNSCORED, make_table

from dask_dl import DeepLearningClassifier, DeepLearningRegressor
from dask_dl.cli import main
from dask_dl.errors import DaskDLError, DaskDLWarning, ParameterError, SchemaError

N = 24
SMALL = UNSCORED | {"hidden": (2,), "epochs": 1, "random_state": 1}


@pytest.fixture
def no_training(monkeypatch):
    """Whoever calls a kernel that trains fails."""

    def train_rows(*_):
        raise AssertionError("training has started")

    monkeypatch.setattr("dask_dl.node.replica.train_rows", train_rows)


def test_a_sound_table_would_reach_the_kernel(no_training):
    with pytest.raises(AssertionError, match="training has started"):
        DeepLearningRegressor(**SMALL).fit(table(), "y")


def table(**columns):
    """A sound table for regression (target y) and classification (target label), with some columns replaced."""
    frame = make_table(N)[["a", "level", "y", "w", "c"]].set_axis(["age", "town", "y", "w", "o"], axis=1)
    return frame.assign(**{"w": frame["w"] + 1, "label": np.resize(["no", "yes"], N)} | columns)


def refusal(kind, X, y, *, error=SchemaError, parameters=None, **call):
    """The text of the error that `fit` raises, which must be ours and survive the way from a worker."""
    estimator = kind(**SMALL | (parameters or {}))
    with pytest.raises(error) as caught:
        estimator.fit(X, y, **call)
    assert isinstance(caught.value, DaskDLError)
    assert isinstance(caught.value, ValueError)  # as scikit-learn's users expect
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    assert not hasattr(estimator, "model_")
    return str(caught.value)


def assert_says(text, *parts):
    for part in parts:
        assert part in text, text


def put(value, *places):
    """A column of ones with `value` in the given places."""
    column = np.ones(N)
    column[list(places)] = value
    return column


REGRESSOR, CLASSIFIER = DeepLearningRegressor, DeepLearningClassifier

# kind, what is wrong with the table, keyword arguments of fit, what the error must say
IN_THE_TABLE = {
    "missing target": (REGRESSOR, {}, {"y": "price"}, ["no column 'price' for the target", "Its columns are", "'age'"]),
    "misspelled target": (REGRESSOR, {}, {"y": "labl"}, ["no column 'labl'", "Did you mean 'label'?"]),
    "misspelled weight": (REGRESSOR, {}, {"sample_weight": "W"}, ["no column 'W' for the weight"]),
    "misspelled offset": (REGRESSOR, {}, {"offset": "offset"}, ["no column 'offset' for the offset"]),
    "constant target": (REGRESSOR, {"y": 0.1}, {}, ["target 'y' is constant (0.1)", "nothing to learn"]),
    "one class": (CLASSIFIER, {"label": "yes"}, {}, ["target 'label' has one class only, 'yes'", "Two or more"]),
    "one class and gaps": (CLASSIFIER, {"label": ["yes", None] * 12}, {}, ["one class only, 'yes'"]),
    "classes of weight zero": (
        CLASSIFIER,
        {"w": np.resize([0.0, 1.0], N)},
        {"sample_weight": "w"},
        ["target 'label' has one class only, 'yes'"],
    ),
    "no target value": (REGRESSOR, {"y": np.nan}, {}, ["target 'y'", "none of 24 rows has a value"]),
    "no label": (CLASSIFIER, {"label": None}, {}, ["target 'label'", "none of 24 rows has a value"]),
    "no weight": (
        REGRESSOR,
        {"w": 0.0},
        {"sample_weight": "w"},
        ["none of 24 rows has a value and a weight above zero"],
    ),
    "numbers wanted": (REGRESSOR, {}, {"y": "label"}, ["target 'label'", "not numbers", "use DeepLearningClassifier"]),
    "labels wanted": (CLASSIFIER, {}, {"y": "y"}, ["target 'y' is continuous", "use DeepLearningRegressor"]),
    "dates as labels": (
        CLASSIFIER,
        {"label": pd.to_datetime(np.resize(["2020-01-01", "2021-01-01"], N))},
        {},
        ["target 'label' has labels of type Timestamp", "Make them texts"],
    ),
    "mixed labels": (
        CLASSIFIER,
        {"label": pd.Series([1, "yes"] * 12, dtype=object)},
        {},
        ["target 'label'", "not all texts", "Convert it"],
    ),
    "infinite number": (
        REGRESSOR,
        {"age": put(np.inf, 3, 20)},
        {},
        ["column 'age' of the training table", "infinite", "partition 0", "Make them missing"],
    ),
    "enormous number": (REGRESSOR, {"age": put(1e200, 3)}, {}, ["column 'age'", "1e+200", "too large", "scale them"]),
    "infinite target": (
        REGRESSOR,
        {"y": put(-np.inf, 20)},
        {},
        ["target 'y'", "infinite", "Make them missing or drop"],
    ),
    "infinite weight": (
        REGRESSOR,
        {"w": put(np.inf, 1)},
        {"sample_weight": "w"},
        ["weight 'w'", "infinite", "Fill or"],
    ),
    "missing weight": (
        REGRESSOR,
        {"w": put(np.nan, 1)},
        {"sample_weight": "w"},
        ["weight 'w'", "1 of", "Fill or drop"],
    ),
    "negative weight": (
        REGRESSOR,
        {"w": put(-2, 1)},
        {"sample_weight": "w"},
        ["weight 'w'", "negative", "-2", "0 or more"],
    ),
    "weight of texts": (REGRESSOR, {}, {"sample_weight": "town"}, ["weight 'town'", "not numeric"]),
    "missing offset": (REGRESSOR, {"o": put(np.nan, 1)}, {"offset": "o"}, ["offset 'o'", "missing", "Fill or drop"]),
    "offset of texts": (REGRESSOR, {}, {"offset": "town"}, ["offset 'town'", "not numeric"]),
    "one column, two parts": (REGRESSOR, {}, {"sample_weight": "y"}, ["must be different columns", "'y'"]),
    "objects": (
        REGRESSOR,
        {"town": pd.Series([["Rome"], ["Oslo"]] * 12)},
        {},
        ["column 'town'", "['Rome']", "of type list", "Convert it to numbers or to texts"],
    ),
    "texts and numbers": (
        REGRESSOR,
        {"town": pd.Series(["Rome", 7] * 12, dtype=object)},
        {},
        ["column 'town'", "7 of type int", "Convert it"],
    ),
    "periods": (
        REGRESSOR,
        {"age": pd.period_range("2020", periods=N, freq="D")},
        {},
        ["column 'age'", "period[D]", ".dt.to_timestamp()"],
    ),
    "complex numbers": (REGRESSOR, {"age": 1j}, {}, ["column 'age'", "complex128", "two columns"]),
}

#: What a Dask frame cannot hold as it is, or turns into texts.
ONLY_LOCAL = {"objects", "texts and numbers", "mixed labels"}


def locally(frame):
    return frame


def with_dask(frame):
    return dd.from_pandas(frame, npartitions=3)


@pytest.mark.parametrize(
    "make, name",
    [(locally, name) for name in IN_THE_TABLE] + [(with_dask, name) for name in IN_THE_TABLE if name not in ONLY_LOCAL],
)
def test_what_is_wrong_in_a_table(no_training, make, name):
    kind, columns, call, parts = IN_THE_TABLE[name]
    frame = table(**columns)
    arguments = {"y": "label" if kind is CLASSIFIER else "y"} | call
    used = ["age", "town", *(value for value in arguments.values() if value in frame.columns)]
    X = make(frame[list(dict.fromkeys([*used, "label"]))])
    error = ParameterError if name == "one column, two parts" else SchemaError
    assert_says(refusal(kind, X, arguments.pop("y"), error=error, **arguments), *parts)


@pytest.mark.parametrize("make", [locally, with_dask])
def test_no_usable_column(no_training, make):
    frame = table(age=1.0, town="Rome", gone=np.nan)[["age", "town", "gone", "y"]]
    assert_says(
        refusal(REGRESSOR, make(frame), "y"), "no column is left to learn from", "'age', 'town', 'gone'", "constant"
    )
    assert_says(refusal(REGRESSOR, make(frame[["y"]]), "y"), "no column to learn from", "its columns are 'y'")


@pytest.mark.parametrize("make", [locally, with_dask])
def test_useless_columns_are_named_and_dropped(make):
    frame = table(age=1.0, gone=np.nan)[["age", "town", "gone", "y"]]
    with pytest.warns(DaskDLWarning, match="dropped 2 columns that are constant or empty: 'age', 'gone'"):
        model = DeepLearningRegressor(**SMALL).fit(make(frame), "y")
    assert model.encoder_.columns == ("town",)


@pytest.mark.parametrize("make", [locally, lambda frame: dd.from_pandas(frame, npartitions=1)], ids=["pandas", "dask"])
def test_an_empty_frame(no_training, make):
    assert_says(refusal(REGRESSOR, make(table().iloc[:0]), "y"), "the training table has no rows")
    assert_says(refusal(CLASSIFIER, make(table().iloc[:0]), "label"), "the training table has no rows")


# ---- values beside the table --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call, parts",
    [
        ({"y": np.zeros(N - 1)}, ["24 rows and its target 23", "Their lengths must match"]),
        (
            {"y": np.arange(N), "sample_weight": np.ones(N + 1)},
            ["24 rows and its weight 25", "Their lengths must match"],
        ),
        ({"y": np.arange(N), "offset": []}, ["24 rows and its offset 0", "Their lengths must match"]),
        ({"y": np.zeros((N, 2))}, ["the target must have one dimension", "(24, 2)"]),
        ({"y": 3}, ["has 2 columns, at the positions 0 to 1, and none at 3 for the target"]),
        ({"y": 3.5}, ["the target is 3.5", "name or position of a column"]),
        ({"y": np.ones(N)}, ["the target is constant (1)"]),
        ({"y": [None] * N}, ["the target of the training table", "none of 24 rows has a value"]),
        ({"y": [*np.arange(N - 1.0), np.inf]}, ["the target of the training table", "infinite"]),
        ({"y": np.resize(["a", "b"], N)}, ["the target of the training table", "use DeepLearningClassifier"]),
        ({"y": np.arange(N), "sample_weight": put(np.nan, 0)}, ["weight of the training table", "missing or infinite"]),
        ({"y": np.arange(N), "sample_weight": put(-1, 0)}, ["weight of the training table", "negative"]),
        ({"y": dd.from_pandas(pd.Series(np.arange(N)), npartitions=2)}, ["must be local too", "target.compute()"]),
    ],
)
@pytest.mark.parametrize("kind", ["pandas", "numpy"])
def test_what_is_wrong_beside_a_local_table(no_training, kind, call, parts):
    X = table()[["age", "o"]]
    call = dict(call)
    assert_says(refusal(REGRESSOR, X if kind == "pandas" else X.to_numpy(), call.pop("y"), **call), *parts)


def test_what_is_wrong_beside_a_dask_frame(no_training):
    X = dd.from_pandas(table(), npartitions=3)[["age", "town"]]
    y = pd.Series(np.arange(N, dtype=float))
    assert_says(
        refusal(REGRESSOR, X, y), "the target of a Dask DataFrame must be a Dask Series", "found Series", "its name"
    )
    assert_says(refusal(REGRESSOR, X, y.to_numpy()), "found ndarray", "Put it into the frame")
    shorter = dd.from_pandas(y.iloc[:-1], npartitions=3)
    assert_says(refusal(REGRESSOR, X, shorter), "rows and its target", "one frame")
    unknown = dd.from_pandas(y, npartitions=2).clear_divisions()
    assert_says(
        refusal(REGRESSOR, X, unknown), "3 partitions and its target 2", "divisions are unknown", "pass its name"
    )
    same = dd.from_pandas(y, npartitions=3)
    weight = dd.from_pandas(pd.Series(put(np.nan, N - 1)), npartitions=3)
    assert_says(
        refusal(REGRESSOR, X, same, sample_weight=weight), "weight of the training table", "partition 2", "missing"
    )


@pytest.mark.parametrize(
    "X, parts",
    [
        (np.arange(N), ["two dimensions", "X.reshape(-1, 1)"]),
        (np.zeros((N, 2, 2)), ["two dimensions", "(24, 2, 2)"]),
        (np.full((N, 2), np.inf), ["column 'x0'", "infinite"]),
        (pd.DataFrame(np.zeros((N, 3)), columns=["a", "b", "a"]), ["several columns named 'a'", "Rename or drop"]),
        (pd.DataFrame({"__target__": np.arange(N)}), ["'__target__' are reserved", "Rename"]),
        ("train.parquet", ["the training table is a str, not a table", "Read it first"]),
    ],
    ids=["vector", "cube", "infinite", "repeated names", "reserved name", "path"],
)
def test_what_is_no_table(no_training, X, parts):
    assert_says(refusal(REGRESSOR, X, np.arange(N)), *parts)


def test_no_target_at_all(no_training):
    assert_says(
        refusal(REGRESSOR, table(), None, error=ParameterError), "y is None", "give the name of the target's column"
    )


@pytest.mark.parametrize("cut", [[0], [0, 1], [0, 0, 0, 1, 1], [1, 1, 1, 1, 0]])
def test_a_column_whose_type_changes_between_partitions(no_training, cut):
    parts = [table(), table(age="forty")]
    X = dd.from_map(lambda k: parts[k], [0, *cut, 1], meta=parts[0].iloc[:0], enforce_metadata=False)
    first = [0, *cut, 1].index(1)
    text = refusal(REGRESSOR, X, "y")
    assert_says(text, f"column 'age' of the training table: partition {first} holds a category, partition 0 a number")
    assert_says(text, "one type")


def test_empty_partitions_are_not_named(no_training):
    parts = [table().iloc[:0], table(age=np.nan), table(), table(age=None), table(age="forty")]
    X = dd.from_map(lambda k: parts[k], range(5), meta=parts[0], enforce_metadata=False)
    assert_says(refusal(REGRESSOR, X, "y"), "partition 4 holds a category, partition 2 a number")


def test_labels_whose_type_changes_between_partitions(no_training):
    parts = [table(label=1), table()]
    X = dd.from_map(lambda k: parts[k], [0, 1], meta=parts[1].iloc[:0], enforce_metadata=False)
    text = refusal(CLASSIFIER, X, "label")
    assert_says(text, "target 'label' has labels of different types, 'no' of type str and 1 of type int", "one type")


@pytest.mark.parametrize("make", [locally, with_dask])
def test_identifiers_that_become_one_are_warned_of_once(make):
    frame = table(age=np.append(np.arange(N - 1), 10**12), id=np.append(10**12, np.arange(N - 1)))
    with pytest.warns(DaskDLWarning, match="differ become one in float32.*in 'age', 'id'.*identifiers") as caught:
        DeepLearningRegressor(**SMALL).fit(make(frame[["age", "id", "y"]]), "y")
    assert len([w for w in caught if "float32" in str(w.message)]) == 1


# ---- the validation table -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "held, parts",
    [
        (table().drop(columns="age"), ["the validation table lacks columns of training: ['age']", "same columns"]),
        (table().drop(columns="label"), ["the validation table has no column 'label' for the target"]),
        (table().iloc[:0], ["the validation table has no rows"]),
        (table(label=None), ["the validation table has no row with a target"]),
        (table(label="perhaps"), ["no label of the validation table was seen in training"]),
        (table(age=np.inf), ["column 'age' of the validation table", "infinite", "Make them missing"]),
        (table(age="forty"), ["column 'age' of the validation table", "a number in training", "Convert it"]),
        (table()[["y", "label"]].rename(columns={"y": "z"}), ["the validation table has no column to learn from"]),
    ],
    ids=["a column", "target", "rows", "labels", "known labels", "infinite", "texts for numbers", "all columns"],
)
@pytest.mark.parametrize("make", [locally, with_dask])
def test_what_is_wrong_in_the_validation_table(no_training, make, held, parts):
    X = make(table()[["age", "town", "label"]])
    held = dd.from_pandas(held, npartitions=1) if make is with_dask else held
    assert_says(refusal(CLASSIFIER, X, "label", eval_set=held), *parts)


@pytest.mark.parametrize(
    "eval_set, parts",
    [
        ((table()[["age"]],), ["eval_set has 1 parts", "(X, y)"]),
        ((table()[["age"]], np.zeros(N - 1)), ["the validation table has 24 rows and its target 23"]),
        (table(), ["eval_set is a table alone", "y is not the name of one of its columns", "(X, y)"]),
    ],
)
def test_what_is_wrong_with_eval_set(no_training, eval_set, parts):
    error = (ParameterError, SchemaError)
    assert_says(refusal(REGRESSOR, table()[["age"]], np.arange(N), error=error, eval_set=eval_set), *parts)


def test_labels_that_only_the_validation_table_has_are_left_out():
    held = table(label=["no", "yes", "perhaps"] * 8)
    frame = table()[["age", "town", "label"]]
    with pytest.warns(DaskDLWarning, match="8 rows of the validation table have labels that training never saw"):
        model = DeepLearningClassifier(**SMALL).fit(frame, "label", eval_set=held[["age", "town", "label"]])
    known = held[held["label"] != "perhaps"]
    expected = DeepLearningClassifier(**SMALL).fit(frame, "label", eval_set=known[["age", "town", "label"]])
    column = "validation_logloss"
    assert model.history_[column].iloc[-1] == pytest.approx(expected.history_[column].iloc[-1], rel=1e-12)


# ---- prediction ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model():
    return DeepLearningRegressor(**SMALL).fit(table()[["age", "town", "y"]], "y")


@pytest.mark.parametrize(
    "columns, parts",
    [
        ({"age": "forty"}, ["column 'age' of the table to predict was a number in training", "now str", "Convert it"]),
        ({"age": pd.Categorical(["forty"] * N)}, ["column 'age'", "was a number in training", "now category"]),
        ({"age": put(np.inf, 0)}, ["column 'age' of the table to predict holds 1 infinite", "Make them missing"]),
        ({"age": put(1e80, 0)}, ["column 'age' of the table to predict", "1e+80, too large", "Make them missing"]),
        ({"town": pd.Series([b"Rome"] * N)}, ["column 'town' of the table to predict", "b'Rome'", "convert"]),
        ({"age": "x", "town": pd.Series([b"Rome"] * N)}, ["column 'age'", "column 'town'"]),
    ],
)
def test_what_is_wrong_in_a_table_to_predict(model, columns, parts):
    frame = table(**columns)
    with pytest.raises(SchemaError) as caught:
        model.predict(frame)
    assert_says(str(caught.value), *parts)


@pytest.mark.parametrize("make", [locally, with_dask])
def test_a_table_to_predict_without_a_known_column(model, make):
    with pytest.raises(SchemaError, match=r"none of the columns of training.*'town', 'age'.*it has \['height'"):
        model.predict(make(table().rename(columns={"age": "height", "town": "city"})))


def test_an_array_to_predict_with_other_columns(model):
    with pytest.raises(SchemaError, match="X has 3 features, but DeepLearningRegressor is expecting 2 features"):
        model.predict(np.zeros((4, 3)))


# ---- parameters ---------------------------------------------------------------------------------------------------------


def test_wrong_parameters_come_before_anything_is_read(no_training):
    def read(_):
        raise AssertionError("the table was read")

    X = dd.from_map(read, [0, 1], meta=table().iloc[:0])
    wrong = {"hidden": (0,), "activation": "rectifer", "epochs": -1}
    text = refusal(REGRESSOR, X, "y", error=ParameterError, parameters=wrong)
    assert_says(text, "hidden", "activation", "rectifier", "epochs")


def test_unknown_parameters_get_the_near_name():
    with pytest.raises(ParameterError, match='epohcs=3: no such parameter; did you mean "epochs"'):
        DeepLearningRegressor(epohcs=3)
    with pytest.raises(ValueError, match="epochs"):
        DeepLearningRegressor().set_params(epohcs=3)


# ---- the command line ---------------------------------------------------------------------------------------------------


def run(capsys, *arguments):
    with warnings.catch_warnings():
        code = main([str(argument) for argument in arguments])
    return code, capsys.readouterr().err


@pytest.mark.parametrize(
    "data, options, parts",
    [
        ("nowhere.csv", ["--target", "y"], ["nowhere.csv: no such file", "Give a Parquet or CSV file"]),
        ("nowhere/*.parquet", ["--target", "y"], ["nowhere/*.parquet: no such file"]),
        ("empty.csv", ["--target", "y"], ["empty.csv cannot be read as CSV"]),
        ("broken.parquet", ["--target", "y"], ["not all files can be read as Parquet", "broken.parquet"]),
        ("latin.csv", ["--target", "y"], ["latin.csv is not utf-8", "Name its encoding"]),
        ("t.csv", ["--target", "price"], ["no column 'price'", "'age'"]),
        ("t.csv", ["--target", "y", "--weights", "W"], ["no column 'W' for the weight"]),
        ("t.csv", ["--target", "y", "--columns", "age,size"], ["no columns ['size']"]),
        ("t.csv", ["--target", "y", "--categorical", "size"], ["no columns ['size']"]),
        ("constant.csv", ["--target", "y"], ["target 'y' is constant (3)"]),
        ("t.csv", ["--target", "y", "--epochs", "-1"], ["epochs"]),
        ("t.csv", ["--target", "y", "--validation", "nowhere.csv"], ["nowhere.csv: no such file"]),
    ],
)
def test_the_command_line_says_it_in_one_line(no_training, tmp_path, monkeypatch, capsys, data, options, parts):
    monkeypatch.chdir(tmp_path)
    table()[["age", "town", "y"]].to_csv("t.csv", index=False)
    table(y=3)[["age", "town", "y"]].to_csv("constant.csv", index=False)
    (tmp_path / "empty.csv").touch()
    (tmp_path / "broken.parquet").write_bytes(b"no")
    (tmp_path / "latin.csv").write_bytes("größe,y\n1,2\n".encode("latin-1"))
    code, err = run(capsys, "train", data, *options, "--model", "model", "--quiet")
    assert code == 1
    assert err.startswith("dask-dl: ")
    assert "Traceback" not in err
    assert_says(err, *parts)
    assert not (tmp_path / "model").exists()
