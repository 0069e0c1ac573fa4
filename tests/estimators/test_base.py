"""The scikit-learn face: its conventions, its labels, its arguments, and that everything travels."""

from __future__ import annotations

import inspect
import pickle

import dask.array as da
import dask.dataframe as dd
import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.datasets import load_diabetes, load_iris
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from tables import UNSCORED

from dask_dl import DeepLearningClassifier, DeepLearningRegressor, parameters
from dask_dl.errors import DaskDLWarning, ParameterError, SchemaError

SMALL = UNSCORED | {"hidden": (8,), "epochs": 5, "random_state": 1}


def expected_failures(estimator):
    """What the field's conventions ask for and a network trained row by row does not promise."""
    return {
        "check_sample_weight_equivalence_on_dense_data": "a row of weight 2 takes one long step, two rows take two",
        "check_sample_weight_equivalence_on_sparse_data": "as on dense data",
    }


@parametrize_with_checks(
    [
        DeepLearningClassifier(hidden=(10,), epochs=20, random_state=0, **UNSCORED),
        DeepLearningRegressor(hidden=(10,), epochs=20, random_state=0, **UNSCORED),
    ],
    expected_failed_checks=expected_failures,
)
@pytest.mark.filterwarnings("ignore::dask_dl.errors.DaskDLWarning", "ignore:.*SCIPY_ARRAY_API")
def test_scikit_learn_conventions(estimator, check):
    check(estimator)


@pytest.mark.parametrize("kind", [DeepLearningClassifier, DeepLearningRegressor])
def test_constructor_is_the_table_of_parameters(kind):
    signature = inspect.signature(kind)
    assert {name: p.default for name, p in signature.parameters.items()} == parameters.constructor_defaults()
    assert all(p.kind is p.KEYWORD_ONLY for p in signature.parameters.values())
    with pytest.raises(ParameterError, match='did you mean "hidden"'):
        kind(hiden=(3,))
    with pytest.raises(
        ParameterError, match="eval_set=None: not a parameter of the constructor; write eval_set=None in fit"
    ):
        kind(eval_set=None)
    assert all(f"{name} : " in kind.__doc__ for name in parameters.constructor_defaults())
    arguments = [name for name, row in parameters.TABLE.items() if row.scope == "fit"]
    assert set(arguments) < set(inspect.signature(kind.fit).parameters)


def test_learns_classes_and_numbers(table):
    X = table[["a", "b", "c"]]
    classifier = DeepLearningClassifier(hidden=(20,), epochs=30, random_state=1).fit(X, table["label"])
    regressor = DeepLearningRegressor(hidden=(20,), epochs=30, random_state=1).fit(X, table["number"])
    assert classifier.score(X, table["label"]) > 0.85
    assert regressor.score(X, table["number"]) > 0.9
    assert classifier.classes_.tolist() == ["high", "low", "middle"]
    np.testing.assert_allclose(classifier.predict_proba(X).sum(axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize(
    "labels", [[0, 1, 2], [-5, 7, 3], ["a", "b", "c"], [True, False], [0.0, 1.0, 2.0], ["1", "2", "10"]], ids=str
)
def test_labels_come_back_in_their_type(table, labels):
    y = np.array(labels)[pd.factorize(table["label"])[0] % len(labels)]
    model = DeepLearningClassifier(**SMALL).fit(table[["a", "b", "c"]], y)
    predicted = model.predict(table)
    assert sorted(labels) == model.classes_.tolist()
    assert {type(v) for v in predicted.tolist()} == {type(v) for v in labels}
    assert predicted.dtype.kind == (y.dtype.kind if y.dtype.kind != "U" else "O")
    assert set(predicted.tolist()) <= set(labels)
    again = model.predict(dd.from_pandas(table, npartitions=3)).compute()
    np.testing.assert_array_equal(again.to_numpy(), predicted)


def test_clone_pickle_joblib_and_parameters_survive(table, tmp_path):
    model = DeepLearningClassifier(**SMALL, activation="Tanh", l1=1e-4)
    assert clone(model).get_params() == model.get_params()
    model.fit(table, "label")
    assert model.activation == "Tanh"  # the constructor's arguments stay as they were given
    assert model.parameters_["activation"] == "tanh"
    joblib.dump(model, tmp_path / "model.joblib")
    for again in (pickle.loads(pickle.dumps(model)), joblib.load(tmp_path / "model.joblib")):
        np.testing.assert_array_equal(again.predict_proba(table), model.predict_proba(table))
    assert not hasattr(clone(model), "model_")


def test_works_in_pipelines_and_cross_validation(table):
    X, y = load_iris(return_X_y=True)
    piped = make_pipeline(StandardScaler(), DeepLearningClassifier(hidden=(10,), epochs=20, random_state=1))
    assert cross_val_score(piped, X, y, cv=3).mean() > 0.85
    select = make_column_transformer(
        (StandardScaler(), make_column_selector(dtype_include=float)),
        (FunctionTransformer(), ["c"]),
        verbose_feature_names_out=False,
    ).set_output(transform="pandas")
    mixed = make_pipeline(select, DeepLearningClassifier(**SMALL))
    mixed.fit(table[["a", "b", "c"]], table["label"])
    assert mixed[-1].encoder_.categories[0].name == "c"


def test_attributes_describe_the_network(table):
    model = DeepLearningClassifier(**SMALL | {"score_duty_cycle": 0.1}).fit(table.drop(columns="number"), "label")
    assert model.n_features_in_ == 3
    assert model.feature_names_in_.tolist() == ["a", "b", "c"]
    assert [w.shape for w in model.coefs_] == [(6, 8), (8, 3)]
    assert [b.shape for b in model.intercepts_] == [(8,), (3,)]
    assert model.encoder_.input_names == ["c.x", "c.y", "c.z", "c.missing(NA)", "a", "b"]
    assert model.n_iter_ >= 10
    assert model.parameters_["distribution"] == "multinomial"
    assert model.parameters_["loss"] == "cross_entropy"
    history = model.history_
    assert history["samples"].tolist()[0] == 0 and history["samples"].iloc[-1] == 5 * len(table)
    assert history["training_logloss"].isna().tolist() == [True] + [False] * (len(history) - 1)


def test_coefs_and_intercepts_are_the_network(table):
    model = DeepLearningRegressor(**SMALL).fit(table[["a", "number"]], "number")
    a = (table[["a"]].to_numpy() - model.encoder_.numbers[0].shift) * model.encoder_.numbers[0].factor
    hidden = np.maximum(a @ model.coefs_[0] + model.intercepts_[0], 0)
    z = (hidden @ model.coefs_[1] + model.intercepts_[1])[:, 0]
    target = model.model_.head
    np.testing.assert_allclose(model.predict(table), z / target.factor + target.shift, rtol=1e-5)


def test_initial_weights_are_given_as_coefs_are_read(table):
    first = DeepLearningRegressor(**SMALL).fit(table[["a", "b", "number"]], "number")
    start = {"initial_weights": first.coefs_, "initial_biases": [first.intercepts_[0], None]}
    model = DeepLearningRegressor(**SMALL | {"epochs": 0}, **start).fit(table[["a", "b", "number"]], "number")
    for mine, given in zip(model.coefs_, first.coefs_, strict=True):
        np.testing.assert_array_equal(mine, given)
    np.testing.assert_array_equal(model.intercepts_[0], first.intercepts_[0])
    assert not model.intercepts_[1].any()
    wrong = {"initial_weights": [first.coefs_[0].T, None]}
    with pytest.raises(ParameterError, match=r"initial_weights\[0\] has shape \(8, 2\); this network needs \(2, 8\)"):
        DeepLearningRegressor(**SMALL, **wrong).fit(table[["a", "b", "number"]], "number")


@pytest.mark.parametrize("make", [lambda t: t, lambda t: dd.from_pandas(t, npartitions=4)], ids=["pandas", "dask"])
def test_names_and_aligned_collections_mean_the_same(table, make):
    table = table.assign(w=np.linspace(0, 2, len(table)), o=np.linspace(-3, 3, len(table)))
    frame = make(table)
    named = DeepLearningRegressor(**SMALL).fit(
        frame[["a", "b", "w", "o", "number"]], "number", sample_weight="w", offset="o"
    )
    aligned = DeepLearningRegressor(**SMALL).fit(
        frame[["a", "b"]], frame["number"], sample_weight=frame["w"], offset=frame["o"]
    )
    for one, other in zip(named.coefs_, aligned.coefs_, strict=True):
        np.testing.assert_array_equal(one, other)
    answers = [
        named.predict(frame),
        named.predict(frame, offset="o"),
        aligned.predict(frame[["a", "b"]], offset=frame["o"]),
    ]
    first, *others = [np.asarray(a) for a in answers]
    for other in others:
        np.testing.assert_array_equal(first, other)


def test_a_row_of_weight_zero_is_as_good_as_absent(table):
    weights = np.where(np.arange(len(table)) % 3 == 0, 0.0, 2.0)
    with_zeros = DeepLearningRegressor(**SMALL, shuffle_training_data=False).fit(
        table[["a", "c"]], table["number"], sample_weight=weights
    )
    kept = table[weights > 0]
    without = DeepLearningRegressor(**SMALL, shuffle_training_data=False).fit(kept[["a", "c"]], kept["number"])
    for one, other in zip(with_zeros.coefs_, without.coefs_, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    assert with_zeros.history_["samples"].iloc[-1] == without.history_["samples"].iloc[-1] == 5 * len(kept)
    assert with_zeros.history_["training_rmse"].iloc[-1] == pytest.approx(
        without.history_["training_rmse"].iloc[-1], rel=1e-4
    )


def test_rows_without_target_do_not_train(table):
    gaps = table["label"].where(np.arange(len(table)) % 4 > 0)
    model = DeepLearningClassifier(**SMALL).fit(table[["a", "c"]], gaps)
    assert model.history_["samples"].iloc[-1] == 5 * gaps.notna().sum()
    assert model.classes_.tolist() == ["high", "low", "middle"]


def test_offsets_are_added_to_predictions_of_any_sign(table):
    X, offset = table[["a", "b"]], np.where(table["a"] > 0, 50.0, -50.0)
    shifted = DeepLearningRegressor(hidden=(20,), epochs=30, random_state=1).fit(
        X, table["number"] + offset, offset=offset
    )
    assert shifted.score(X, table["number"] + offset, offset=offset) > 0.9
    zero, fifty = (shifted.predict(X, offset=np.full(len(X), o)) for o in (0.0, 50.0))
    np.testing.assert_allclose(fifty - zero, 50, rtol=1e-4)


@pytest.mark.parametrize("form", ["tuple", "weighted tuple", "frame", "dask frame"])
def test_eval_set_is_scored_beside_the_training_table(table, form):
    train, valid = table.iloc[:300], table.iloc[300:]
    X = ["a", "b", "c"]
    eval_set = {
        "tuple": (valid[X], valid["label"]),
        "weighted tuple": (valid[X], valid["label"], np.ones(len(valid))),
        "frame": valid[[*X, "label"]],
        "dask frame": dd.from_pandas(valid, npartitions=2),
    }[form]
    model = DeepLearningClassifier(**SMALL).fit(train[[*X, "label"]], "label", eval_set=eval_set)
    last = model.history_.iloc[-1]
    assert last["validation_classification_error"] == pytest.approx(1 - model.score(valid, "label"))
    p = model.predict_proba(valid)[np.arange(len(valid)), pd.Index(model.classes_).get_indexer(valid["label"])]
    assert last["validation_logloss"] == pytest.approx(-np.log(p.astype(float)).mean(), rel=1e-5)


@pytest.mark.parametrize("make", [lambda t: t, lambda t: dd.from_pandas(t, npartitions=4)], ids=["pandas", "dask"])
def test_positions_mean_the_same_as_names(table, make):
    table = table[["a", "number", "b"]].assign(w=np.linspace(0, 2, len(table)), o=np.linspace(-3, 3, len(table)))
    train, held = make(table.iloc[:300]), make(table.iloc[300:])
    named = DeepLearningRegressor(**SMALL).fit(train, "number", sample_weight="w", offset="o", eval_set=held)
    placed = DeepLearningRegressor(**SMALL).fit(train, 1, sample_weight=3, offset=-1, eval_set=held)
    swapped = held[["o", "w", "b", "number", "a"]]  # by the names of training, wherever they stand
    moved = DeepLearningRegressor(**SMALL).fit(train, 1, sample_weight=3, offset=-1, eval_set=swapped)
    paired = DeepLearningRegressor(**SMALL).fit(train, 1, sample_weight=3, offset=-1, eval_set=(swapped, 3, 1, 0))
    for model in (placed, moved, paired):
        for one, other in zip(named.coefs_, model.coefs_, strict=True):
            np.testing.assert_array_equal(one, other)
        assert model.history_["validation_deviance"].iloc[-1] == named.history_["validation_deviance"].iloc[-1]
        np.testing.assert_array_equal(model.predict(held, offset=4), named.predict(held))
        np.testing.assert_array_equal(model.predict(swapped, offset=0), named.predict(held))
    assert placed.score(held, 1, 3) == named.score(held, "number", "w")


@pytest.mark.parametrize("make", [lambda a: a, lambda a: da.from_array(a, chunks=(90, 2))], ids=["numpy", "dask"])
def test_positions_in_arrays(table, make):
    array = table[["a", "number", "b"]].assign(w=np.linspace(0, 2, len(table))).to_numpy()
    train, held, X = make(array[:300]), make(array[300:]), make(array[:, [0, 2]])
    placed = DeepLearningRegressor(**SMALL).fit(train, 1, sample_weight=3, eval_set=held)
    aligned = DeepLearningRegressor(**SMALL).fit(
        X[:300], array[:300, 1], sample_weight=array[:300, 3], eval_set=(X[300:], array[300:, 1], array[300:, 3])
    )
    for one, other in zip(placed.coefs_, aligned.coefs_, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(placed.predict(X), aligned.predict(X))
    assert placed.score(held, 1, 3) == pytest.approx(aligned.score(X[300:], array[300:, 1], array[300:, 3]), rel=1e-12)
    column = "validation_deviance"
    assert placed.history_[column].iloc[-1] == pytest.approx(aligned.history_[column].iloc[-1], rel=1e-12)


def test_eval_set_has_to_fit(table):
    model = DeepLearningRegressor(**SMALL)
    with pytest.raises(ParameterError, match=r"eval_set is a table alone.*\(X, y\)"):
        model.fit(table[["a"]], table["number"], eval_set=table[["a"]])
    with pytest.raises(ParameterError, match="eval_set has 1 parts"):
        model.fit(table[["a"]], table["number"], eval_set=(table[["a"]],))
    with pytest.raises(ParameterError, match="exactly when the training table has one"):
        model.fit(table[["a"]], table["number"], offset=np.ones(len(table)), eval_set=(table[["a"]], table["number"]))
    with pytest.raises(SchemaError, match="lacks columns of training"):
        model.fit(table[["a", "b"]], table["number"], eval_set=(table[["a"]], table["number"]))


def test_dask_pandas_and_numpy_train_the_same_network():
    data = load_diabetes(as_frame=True)
    frames = {
        "pandas": data.frame,
        "one partition": dd.from_pandas(data.frame, npartitions=1),
        "seven partitions": dd.from_pandas(data.frame, npartitions=7),
    }
    models = {name: DeepLearningRegressor(**SMALL).fit(frame, "target") for name, frame in frames.items()}
    models["numpy"] = DeepLearningRegressor(**SMALL).fit(data.data.to_numpy(), data.target.to_numpy())
    for model in models.values():
        for one, other in zip(model.coefs_, models["pandas"].coefs_, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7)  # means of partitions are merged: last bits


def test_same_seed_same_bits_another_seed_another_network(table):
    fits = [DeepLearningClassifier(**SMALL | {"random_state": s}).fit(table, "label") for s in (3, 3, 4)]
    np.testing.assert_array_equal(fits[0].coefs_[0], fits[1].coefs_[0])
    assert (fits[0].coefs_[0] != fits[2].coefs_[0]).any()


def test_a_drawn_seed_is_reported(table):
    model = DeepLearningClassifier(**SMALL | {"random_state": None}).fit(table, "label")
    again = DeepLearningClassifier(**SMALL | {"random_state": model.parameters_["random_state"]}).fit(table, "label")
    np.testing.assert_array_equal(model.coefs_[0], again.coefs_[0])


def test_parameters_without_effect_are_named(table):
    with pytest.warns(DaskDLWarning, match="rate=0.1 has no effect"):
        DeepLearningClassifier(**SMALL, rate=0.1).fit(table, "label")


def test_quiet_unless_asked(table, capsys):
    DeepLearningClassifier(**SMALL).fit(table, "label")
    assert capsys.readouterr().out == ""
    DeepLearningClassifier(**SMALL, verbose=True).fit(table, "label", eval_set=table)
    out = capsys.readouterr().out
    assert "memory: at most" in out and "train logloss" in out and "valid logloss" in out and "time left" in out
    DeepLearningClassifier(**SMALL, verbose=True, quiet_mode=True).fit(table, "label")
    assert capsys.readouterr().out == ""


def test_score_leaves_out_rows_without_truth(table):
    model = DeepLearningClassifier(**SMALL).fit(table[["a", "c"]], table["label"])
    gaps = np.arange(len(table)) % 3 > 0
    weights = np.linspace(0, 1, len(table))
    expected = model.score(table[gaps], "label", weights[gaps])
    assert model.score(table.assign(label=table["label"].where(gaps)), "label", weights) == expected
    regressor = DeepLearningRegressor(**SMALL).fit(table[["a", "c"]], table["number"])
    assert regressor.score(table, table["number"].where(gaps)) == regressor.score(table[gaps], "number")


def test_an_offset_column_may_have_any_name(table):
    frame = table[["a", "number"]].assign(__e=np.linspace(-1, 1, len(table)))
    model = DeepLearningRegressor(**SMALL).fit(frame, "number", offset="__e")
    np.testing.assert_array_equal(model.predict(frame), model.predict(frame, offset=frame["__e"]))
