"""Encodings, skipped rows and balanced classes from end to end: fitted, stored in the model, the same at prediction."""

from __future__ import annotations

import warnings

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from tables import UNSCORED

from dask_dl import DeepLearningClassifier, DeepLearningRegressor, load
from dask_dl.errors import DaskDLWarning, ParameterError, SchemaError

SETTINGS = UNSCORED | {"hidden": (16,), "epochs": 8, "random_state": 1, "n_jobs": 1, "stopping_rounds": 0}
SCHEMES = ["one_hot_internal", "binary", "eigen", "label_encoder", "sort_by_response", "enum_limited"]


def make_table(n=900, seed=0):
    """Numbers and levels with gaps, a number and a rare class that follow from them."""
    random = np.random.default_rng(seed)
    frame = pd.DataFrame({"a": random.normal(size=n), "b": random.exponential(size=n)})
    frame["few"] = random.choice(["u", "v", "w"], n)
    frame["many"] = [f"v{k:02}" for k in random.integers(0, 30, n)]
    score = frame["a"] + frame["b"] * (frame["few"] == "u") + (frame["many"] < "v10") + random.normal(size=n) / 4
    frame["y"] = score
    frame["label"] = np.where(score > np.quantile(score, 0.93), "rare", "usual")
    for name in ("a", "few", "many"):
        frame.loc[random.random(n) < 0.05, name] = None
    return frame


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


def rare(table):
    return table.drop(columns="y")


def test_balanced_classes_find_the_rare_one_and_keep_the_priors(table):
    given = SETTINGS | {"epochs": 20}
    usual = DeepLearningClassifier(**given).fit(rare(table), "label")
    balanced = DeepLearningClassifier(**given, balance_classes=True).fit(rare(table), "label")
    counts = table["label"].value_counts()
    expected = 2 * counts["usual"]
    assert abs(balanced.model_.record.n_rows - expected) < 6 * counts["rare"] ** 0.5
    assert usual.model_.record.n_rows == len(table)
    held = make_table(2000, seed=3)
    for model in (usual, balanced):
        share = model.predict_proba(rare(held))[:, 0]
        assert np.asarray(share).mean() == pytest.approx(0.07, abs=0.03)  # as in the table, not a half
        assert np.corrcoef(share, held["label"] == "rare")[0, 1] > 0.5


def test_balance_is_scored_on_the_original_rows(table):
    # H2O scores the resampled rows with corrected probabilities, a mixture that is neither.
    from sklearn.metrics import log_loss

    model = DeepLearningClassifier(**SETTINGS, balance_classes=True, score_training_samples=0)
    model.fit(rare(table), "label")
    shares = model.predict_proba(rare(table)).astype(np.float64)
    expected = log_loss(
        table["label"], shares / shares.sum(axis=1, keepdims=True)
    )  # of float32, they add up to nearly 1
    assert model.history_["training_logloss"].min() == pytest.approx(expected, rel=1e-4)


def test_factors_and_size(table):
    counts = table["label"].value_counts()
    given = SETTINGS | {"epochs": 1, "balance_classes": True}
    one = DeepLearningClassifier(**given, class_sampling_factors=[3, 1]).fit(rare(table), "label")
    assert one.model_.record.n_rows == 3 * counts["rare"] + counts["usual"]
    small = DeepLearningClassifier(**given, max_after_balance_size=0.5).fit(rare(table), "label")
    assert abs(small.model_.record.n_rows - 450) < 6 * 450**0.5
    binary = rare(table).assign(w=np.arange(len(table)) % 2)
    half = DeepLearningClassifier(**given, class_sampling_factors=[3, 1]).fit(binary, "label", sample_weight="w")
    kept = binary.loc[binary["w"] > 0, "label"].value_counts()
    assert half.model_.record.n_rows == 3 * kept["rare"] + kept["usual"]


@pytest.mark.filterwarnings("ignore:balance_classes.*rarely")
@pytest.mark.parametrize(
    ("given", "weights", "message"),
    [
        ({}, "w", "rows have weights other than 0 and 1"),
        ({"class_sampling_factors": [1, 2, 3]}, None, "give one factor per class"),
        ({"max_after_balance_size": 1e-9, "random_state": 0}, None, "no row was drawn"),
        ({"class_sampling_factors": [1e-9, 1e-9]}, None, "no row was drawn. Raise class_sampling_factors"),
    ],
)
def test_what_cannot_be_balanced_is_refused(table, given, weights, message):
    if message == "no row was drawn":  # a chance of one in seven
        given = given | {"random_state": unlucky(table)}
    train = rare(table).assign(w=0.5) if weights else rare(table)
    model = DeepLearningClassifier(**SETTINGS | given, balance_classes=True)
    with pytest.raises(ParameterError, match=message):
        model.fit(train, "label", sample_weight=weights)


def test_a_class_that_may_never_be_visited_is_warned_of(table):
    with pytest.warns(DaskDLWarning, match="rows of class 'rare' are visited rarely or never. Raise its factor"):
        DeepLearningClassifier(**SETTINGS | {"epochs": 1}, balance_classes=True, class_sampling_factors=[0.01, 1]).fit(
            rare(table), "label"
        )


def unlucky(table):
    from dask_dl.frame.balance import Balance

    codes = (table["label"] == "usual").to_numpy().astype(np.uint16)
    counts = [int((codes == k).sum()) for k in (0, 1)]
    rows = np.arange(len(codes))
    return next(k for k in range(1000) if not Balance.of(counts, None, 1e-9, k).visits(codes, rows).any())
