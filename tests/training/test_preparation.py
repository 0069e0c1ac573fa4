"""Encodings, skipped rows and balanced classes from end to end: fitted, stored in the model, the same at prediction."""

from __future__ import annotations

import warnings

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from training.levels import SETTINGS, make_table

from dask_dl import DeepLearningClassifier, DeepLearningRegressor, load
from dask_dl.errors import DaskDLWarning, SchemaError

SCHEMES = ["one_hot_internal", "binary", "eigen", "label_encoder", "sort_by_response", "enum_limited"]


@pytest.fixture(scope="module")
def table():
    return make_table()


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("kind", [DeepLearningClassifier, DeepLearningRegressor])
def test_every_encoding_is_the_same_at_prediction(table, scheme, kind, tmp_path):
    target, other = ("label", "y") if kind is DeepLearningClassifier else ("y", "label")
    train = table.drop(columns=other)
    model = kind(**SETTINGS, categorical_encoding=scheme).fit(dd.from_pandas(train, npartitions=3), target)
    assert model.parameters_["categorical_encoding"] == scheme
    strange = train.assign(few="never seen", many=None)
    whole = pd.concat([train, strange]).reset_index(drop=True)
    predict = model.predict if target == "y" else model.predict_proba
    together = predict(whole)
    assert np.isfinite(together).all()
    # Row by row, in the partitions of a Dask frame, and after loading.
    alone = np.concatenate([np.atleast_1d(predict(whole.iloc[[k]])) for k in range(0, len(whole), 151)])
    np.testing.assert_array_equal(alone, together[::151])
    lazy = predict(dd.from_pandas(whole, npartitions=4)).compute()
    np.testing.assert_array_equal(np.asarray(lazy), together)
    model.save(tmp_path / "model.zip")
    again = load(tmp_path / "model.zip")
    np.testing.assert_array_equal(predict.__func__(again, whole), together)
    assert again.encoder_ == model.encoder_
    # What is said of the columns is what the network has.
    names = model.encoder_.get_feature_names_out()
    assert len(names) == model.coefs_[0].shape[0] == model.model_.network.topology.n_inputs == len(set(names))
    described = model.encoder_.describe()
    assert list(described.index) == list(model.encoder_.columns)
    assert described["inputs"].sum() == len(names)


def test_encodings_learn_alike(table):
    errors = {}
    for scheme in SCHEMES:
        model = DeepLearningRegressor(**SETTINGS | {"epochs": 30}, categorical_encoding=scheme)
        model.fit(table.drop(columns="label"), "y")
        errors[scheme] = (model.history_["training_rmse"] ** 2).min() / table["y"].var()
    assert max(errors.values()) < 0.6  # the rest knows nothing of the columns of levels
    assert errors["one_hot_internal"] == pytest.approx(errors["sort_by_response"], rel=0.25)  # a permutation


def complete(table):
    return table.dropna().reset_index(drop=True)


@pytest.mark.parametrize("weight", [None, "w"])
def test_skip_learns_the_complete_rows_only(table, weight):
    train = table.drop(columns="label").assign(w=1.0)
    train = train if weight else train.drop(columns="w")
    given = SETTINGS | {"reproducible": True, "missing_values_handling": "skip", "shuffle_training_data": False}
    one = DeepLearningRegressor(**given).fit(train, "y", sample_weight=weight)
    other = DeepLearningRegressor(**given).fit(complete(train), "y", sample_weight=weight)
    assert one.model_.record.n_rows == other.model_.record.n_rows == len(complete(train)) < len(train)
    assert one.encoder_.to_json() == other.encoder_.to_json()
    for a, b in zip(one.coefs_, other.coefs_, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
    assert len(one.predict(train)) == len(train)  # prediction never skips


def test_skip_forgives_columns_that_are_dropped(table):
    train = table.drop(columns="label").assign(empty=np.nan, flat=np.where(table.index % 2, 1.0, np.nan))
    model = DeepLearningRegressor(**SETTINGS, missing_values_handling="skip")
    with pytest.warns(DaskDLWarning, match="dropped 2 columns"):
        model.fit(dd.from_pandas(train, npartitions=4), "y")
    assert model.model_.record.n_rows == len(complete(table))


def test_skip_forgives_any_number_of_columns_that_are_dropped():
    random = np.random.default_rng(0)
    n, n_flags = 3000, 100
    train = pd.DataFrame({"a": random.normal(size=n), "c": random.choice(list("uvw"), n), "w": random.random(n)})
    train["y"] = train["a"] + (train["c"] == "u")
    train.loc[::10, "a"] = np.nan
    flags = {f"flag{k}": np.where(random.random(n) < 0.5, 1.0, np.nan) for k in range(n_flags)}
    given = SETTINGS | {"epochs": 1, "missing_values_handling": "skip", "categorical_encoding": "label_encoder"}
    given |= {"reproducible": True}
    for weight in (None, "w"):
        models = []
        for frame in (train, pd.concat([train, pd.DataFrame(flags)], axis=1)):
            model = DeepLearningRegressor(**given)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DaskDLWarning)  # columns that are dropped
                models.append(model.fit(dd.from_pandas(frame, npartitions=3), "y", sample_weight=weight))
        assert models[0].model_.record.n_rows == models[1].model_.record.n_rows == 2700
        np.testing.assert_array_equal(models[0].model_.network.flat, models[1].model_.network.flat)


def test_skip_of_all_rows_says_why(table):
    train = table.drop(columns="label").assign(a=np.where(table.index % 2, table["y"], np.nan))
    train["b"] = np.where(table.index % 2, np.nan, table["y"])
    with pytest.raises(
        SchemaError, match="none of 900 rows has a value and no missing input, without which it is skipped"
    ):
        DeepLearningRegressor(**SETTINGS, missing_values_handling="skip").fit(train, "y")


def test_validation_is_never_skipped(table):
    held = make_table(300, seed=1).drop(columns="label")
    model = DeepLearningRegressor(**SETTINGS, missing_values_handling="skip", score_each_iteration=True)
    model.fit(table.drop(columns="label"), "y", eval_set=held)
    errors = held["y"] - model.predict(held.drop(columns="y"))
    assert (model.history_["validation_rmse"] ** 2).min() == pytest.approx((errors**2).mean(), rel=1e-4)
