"""Autoencoders that are trained layer by layer, and networks that begin with one."""

from __future__ import annotations

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import cross_val_score

from dask_dl import (
    DeepLearningAutoEncoder,
    DeepLearningClassifier,
    DeepLearningRegressor,
    load,
    prepare,
    stacked_autoencoder,
)
from dask_dl.errors import DaskDLWarning, ParameterError, SchemaError

SMALL = {"activation": "tanh", "epochs": 2, "random_state": 1, "n_jobs": 1, "stopping_rounds": 0}
#: A network as it begins.
BEGUN = SMALL | {"epochs": 0, "overwrite_with_best_model": False}


def make_table(n=200, seed=0):
    random = np.random.default_rng(seed)
    table = pd.DataFrame(random.normal(3, 2, (n, 4)), columns=list("abcd"))
    table["level"] = random.choice(["u", "v", "w"], n)
    table["y"] = table["a"] * 2 + table["b"]
    table["label"] = np.where(table["y"] > 9, "yes", "no")
    return table


TABLE = make_table()
X = TABLE[["a", "b", "c", "d", "level"]]


@pytest.fixture(scope="module")
def autoencoder():
    return DeepLearningAutoEncoder(**SMALL, hidden=(5, 3, 5)).fit(X)


@pytest.mark.parametrize("hidden", [(5,), (5, 3), (5, 3, 5)])
@pytest.mark.parametrize(("estimator", "y"), [(DeepLearningClassifier, "label"), (DeepLearningRegressor, "y")])
def test_a_network_begins_with_the_codes_of_the_autoencoder(autoencoder, hidden, estimator, y):
    model = estimator(**BEGUN, hidden=hidden, pretrained_autoencoder=autoencoder).fit(X, TABLE[y])
    for layer in range(len(hidden)):
        np.testing.assert_array_equal(model.deep_features(X, layer), autoencoder.deep_features(X, layer))
    without = estimator(**BEGUN, hidden=hidden).fit(X, TABLE[y])
    assert not np.array_equal(model.deep_features(X, 0), without.deep_features(X, 0))
    np.testing.assert_array_equal(model.coefs_[-1], without.coefs_[-1])  # drawn as ever
    assert model.get_params()["pretrained_autoencoder"] is autoencoder


def test_inputs_are_in_the_units_of_the_autoencoder(autoencoder):
    """Also of other rows, whose means are others, and in every fold of a cross-validation."""
    few = TABLE.query("a > 3")
    given = SMALL | {"hidden": (5,), "pretrained_autoencoder": autoencoder}
    model = DeepLearningRegressor(**given, nfolds=3).fit(few[X.columns], few["y"])
    for each in (model, *model.cross_validation_models_):
        assert each.model_.encoder.to_json() == autoencoder.model_.encoder.to_json()


def test_an_autoencoder_in_a_file_and_a_dask_table(autoencoder, tmp_path):
    autoencoder.save(tmp_path / "ae.zip")
    given = SMALL | {"hidden": (5, 3), "reproducible": True, "storage": "memory"}
    lazy = dd.from_pandas(TABLE.drop(columns="y"), npartitions=3)
    models = [
        DeepLearningClassifier(**given, pretrained_autoencoder=each).fit(table, "label")
        for each in (autoencoder, tmp_path / "ae.zip", autoencoder.model_)
        for table in (TABLE.drop(columns="y"), lazy)
    ]
    for model in models[1:]:
        np.testing.assert_array_equal(model.model_.network.flat, models[0].model_.network.flat)
    models[0].save(tmp_path / "model.zip")
    assert load(tmp_path / "model.zip").get_params()["pretrained_autoencoder"] is None


def test_clones_need_a_frozen_autoencoder(autoencoder):
    given = SMALL | {"hidden": (5,)}
    frozen = DeepLearningClassifier(**given, pretrained_autoencoder=FrozenEstimator(autoencoder))
    assert cross_val_score(frozen, X, TABLE["label"], cv=2, error_score="raise").shape == (2,)
    with pytest.raises(ParameterError, match="FrozenEstimator"):
        cross_val_score(
            DeepLearningClassifier(**given, pretrained_autoencoder=autoencoder),
            X,
            TABLE["label"],
            cv=2,
            error_score="raise",
        )


def test_training_breaks_off_and_goes_on(autoencoder, tmp_path):
    given = SMALL | {"hidden": (5,), "pretrained_autoencoder": autoencoder, "train_samples_per_iteration": 100}
    whole = DeepLearningRegressor(**given).fit(X, TABLE["y"])
    saved = given | {"checkpoint_dir": tmp_path, "checkpoint_interval": 0.0, "score_interval": 0.0}
    seen = []
    first = DeepLearningRegressor(**saved | {"score_each_iteration": True})
    first.fit(X, TABLE["y"], callbacks=[lambda record: seen.append(record) or len(seen) == 3])
    again = DeepLearningRegressor(**saved).fit(X, TABLE["y"], resume=True)
    assert first.model_.record.n_seen < whole.model_.record.n_seen == again.model_.record.n_seen
    np.testing.assert_allclose(again.predict(X), whole.predict(X), rtol=1e-5)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"hidden": (5, 4)}, ParameterError, r"hidden layers \(5, 3, 5\), and hidden=\(5, 4\)"),
        ({"activation": "maxout"}, ParameterError, "twice as many weights"),
        ({"pretrained_autoencoder": DeepLearningAutoEncoder()}, ParameterError, "not fitted"),
        ({"pretrained_autoencoder": 3}, ParameterError, "pretrained_autoencoder is a int"),
        ({"pretrained_autoencoder": "nowhere.zip"}, FileNotFoundError, "nowhere.zip"),
    ],
)
def test_autoencoders_that_do_not_fit(autoencoder, given, error, message):
    given = SMALL | {"hidden": (5,), "pretrained_autoencoder": autoencoder} | given
    with pytest.raises(error, match=message):
        DeepLearningRegressor(**given).fit(X, TABLE["y"])


def test_tables_that_do_not_fit(autoencoder):
    given = SMALL | {"hidden": (5,), "pretrained_autoencoder": autoencoder}
    with pytest.raises(SchemaError, match=r"lacks 2 columns of pretrained_autoencoder: \['level', 'd'\]"):
        DeepLearningRegressor(**given).fit(X[["a", "b", "c"]], TABLE["y"])
    other = DeepLearningRegressor(**SMALL, hidden=(5,)).fit(X, TABLE["y"])
    with pytest.raises(ParameterError, match="learned a regression"):
        DeepLearningRegressor(**given | {"pretrained_autoencoder": other}).fit(X, TABLE["y"])
    with pytest.raises(ParameterError, match="encoded in another way"):
        DeepLearningRegressor(**given).fit(prepare(X, TABLE["y"], random_state=1))
    with pytest.warns(DaskDLWarning, match="learned with tanh"):
        DeepLearningRegressor(**given | {"activation": "rectifier"}).fit(X, TABLE["y"])


@pytest.mark.parametrize("layers", [(4, 2), (5, 4, 2)])
@pytest.mark.parametrize("activation", ["tanh", "rectifier"])
def test_a_stack_is_its_layers_one_after_another(layers, activation):
    given = SMALL | {"activation": activation}
    stack = stacked_autoencoder(X, layers, **given)
    rows, each = X, []
    for k, n in enumerate(layers):
        codes = {"standardize": False, "ignore_const_cols": False, "output_activation": "same"} if k else {}
        each.append(DeepLearningAutoEncoder(**given | codes, hidden=(n,)).fit(rows))
        rows = each[-1].deep_features(rows, 0)
    np.testing.assert_allclose(stack.transform(X), rows.to_numpy(), rtol=1e-5, atol=1e-6)
    back = rows.to_numpy()
    for layer in reversed(each[1:]):
        back = layer.inverse_transform(pd.DataFrame(back, columns=layer.get_feature_names_out())).to_numpy()
    inner = pd.DataFrame(back, columns=each[0].get_feature_names_out())
    expected = each[0].inverse_transform(inner)
    np.testing.assert_allclose(stack.reconstruct(X).to_numpy(), expected.to_numpy(), rtol=1e-4, atol=1e-4)
    assert stack.get_params()["hidden"] == (*layers, *layers[-2::-1]) and stack.get_params()["epochs"] == 2


def test_a_stack_learns_on_and_starts_a_classifier():
    table = dd.from_pandas(X, npartitions=2)
    first = stacked_autoencoder(table, (6, 3), eval_set=table, **SMALL)
    tuned = stacked_autoencoder(table, (6, 3), finetune_epochs=20, **SMALL)
    assert tuned.score(X) > first.score(X)
    model = DeepLearningClassifier(**BEGUN, hidden=(6, 3), pretrained_autoencoder=tuned).fit(X, TABLE["label"])
    np.testing.assert_array_equal(model.deep_features(X, 1), tuned.transform(X))


@pytest.mark.parametrize(
    ("layers", "given", "message"),
    [
        ((4,), {}, "two or more"),
        ((4, 2), {"hidden": (3,)}, "hidden: the layers decide"),
        ((4, 2), {"activation": "maxout", "output_activation": "linear"}, "maxout"),
        ((4, 2), {"activation": "tanh_with_dropout", "hidden_dropout_ratios": [0.5]}, "each of the 2 layers"),
    ],
)
def test_stacks_that_are_none(layers, given, message):
    with pytest.raises(ParameterError, match=message):
        stacked_autoencoder(X, layers, **SMALL | given)


def test_every_layer_has_its_own_dropout():
    given = SMALL | {"activation": "tanh_with_dropout", "hidden_dropout_ratios": [0.1, 0.4]}
    assert stacked_autoencoder(X, (4, 2), **given).parameters_["hidden_dropout_ratios"] == (0.1, 0.4, 0.1)
