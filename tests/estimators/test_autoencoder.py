"""The autoencoder's estimator: codes, reconstructions and anomalies of every kind of table, and its arguments."""

from __future__ import annotations

import pickle

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from dask.dataframe.utils import assert_eq
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks
from tables import UNSCORED, make_table

from dask_dl import DeepLearningAutoEncoder, DeepLearningClassifier, DeepLearningRegressor, check, load, prepare
from dask_dl.errors import DaskDLWarning, ParameterError, SchemaError

SMALL = UNSCORED | {"hidden": (7, 3, 6), "activation": "tanh", "epochs": 5, "random_state": 1, "n_jobs": 1}
NUMBERS = list("abcde")


def expected_failures(estimator):
    """What the field's conventions ask for and a network trained row by row does not promise."""
    return {
        "check_sample_weight_equivalence_on_dense_data": "a row of weight 2 takes one long step, two rows take two",
        "check_sample_weight_equivalence_on_sparse_data": "as on dense data",
    }


@parametrize_with_checks(
    [DeepLearningAutoEncoder(hidden=(10,), epochs=5, random_state=0, **UNSCORED)],
    expected_failed_checks=expected_failures,
)
@pytest.mark.filterwarnings("ignore::dask_dl.errors.DaskDLWarning", "ignore:.*SCIPY_ARRAY_API")
def test_scikit_learn_conventions(estimator, check):
    check(estimator)


def inputs_table(n=300, seed=0):
    """Numbers on a curve, in units of their own; a level that follows from them; and gaps in both."""
    random = np.random.default_rng(seed)
    hidden = random.normal(size=(n, 2))
    numbers = np.tanh(hidden @ np.random.default_rng(5).normal(size=(2, 5)))
    frame = pd.DataFrame(numbers * [1, 10, 100, 0.1, 5] + [0, 50, -7, 0, 1], columns=NUMBERS)
    frame["level"] = np.where(hidden[:, 0] > 0.5, "right", np.where(hidden[:, 0] < -0.5, "left", "middle"))
    frame.loc[random.random(n) < 0.05, "b"] = np.nan
    frame.loc[random.random(n) < 0.05, "level"] = None
    return frame.set_index(pd.Index(np.arange(n) * 3 + 7, name="row"))


@pytest.fixture(scope="module")
def table():
    return inputs_table()


@pytest.fixture(scope="module")
def model(table):
    return DeepLearningAutoEncoder(**SMALL).fit(table)


def outputs_and_inputs(model, table):
    """Outputs of the network for every row, and its inputs."""
    predictor = model.model_.predictor
    dense, active, _ = model.encoder_.encode(table, "the table")
    inputs = np.zeros((len(table), len(model.encoder_.input_names)))
    inputs[np.arange(len(table)), active[:, 0]] = 1
    inputs[:, -5:] = dense[:, :5]
    return predictor.answers(table, None, "the table").astype(float), inputs


def test_anomalies_are_squared_errors_in_the_networks_unit(model, table):
    outputs, inputs = outputs_and_inputs(model, table)
    errors = (outputs - inputs) ** 2
    anomalies, each = model.anomaly(table), model.anomaly(table, per_feature=True)
    np.testing.assert_allclose(each, errors, rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(anomalies, errors.mean(axis=1), rtol=1e-5)
    assert anomalies.name == "Reconstruction.MSE" and anomalies.index.equals(table.index)
    assert each.index.equals(table.index) and each.columns[-1] == "reconstr_e.SE"
    np.testing.assert_array_equal(model.score_samples(table), -anomalies)
    assert model.score(table) == pytest.approx(-anomalies.mean())
    weights = np.arange(len(table)) % 3
    assert model.score(table, sample_weight=weights) == pytest.approx(-np.average(anomalies, weights=weights), rel=1e-5)


def test_reconstructions_are_in_the_units_of_the_table(model, table):
    found, (outputs, _) = model.reconstruct(table), outputs_and_inputs(model, table)
    assert [*found] == [f"reconstr_{name}" for name in model.encoder_.input_names]
    assert found.index.equals(table.index) and (found.dtypes == np.float64).all()
    low, high, mean = (getattr(table[NUMBERS], name)() for name in ("min", "max", "mean"))
    expected = outputs[:, -5:] * (high - low).to_numpy() + mean.to_numpy()
    np.testing.assert_allclose(found.iloc[:, -5:], expected, rtol=1e-5, atol=1e-5)
    levels, raw = found.iloc[:, :-5].to_numpy(), np.maximum(outputs[:, :-5], 0)
    assert model.encoder_.input_names[:4] == ["level.left", "level.middle", "level.right", "level.missing(NA)"]
    np.testing.assert_allclose(levels, raw / raw.sum(axis=1, keepdims=True), rtol=1e-5, atol=1e-9)


def test_where_no_level_is_positive_the_largest_has_all(model, table):
    heads, outputs = model.model_.head, np.zeros((2, 9), np.float32)
    outputs[0, :4], outputs[1, :4] = [-3, -1, -2, -4], [0, 0, 0.5, 0.25]
    np.testing.assert_allclose(heads.decoded(outputs, model.encoder_)[:, :4], [[0, 1, 0, 0], [0, 0, 2 / 3, 1 / 3]])


@pytest.mark.parametrize(
    "given", [{"output_activation": "linear"}, {"standardize": False}, {"loss": "absolute"}], ids=str
)
def test_numbers_of_linear_outputs_are_standardized_and_others_divided_by_their_range(table, given):
    model = DeepLearningAutoEncoder(**SMALL | given).fit(table)
    spread = table["b"].max() - table["b"].min() if "loss" in given else table["b"].std()
    number = next(n for n in model.encoder_.numbers if n.name == "b")
    assert number.factor == pytest.approx(1.0 if "standardize" in given else 1 / spread)
    outputs, _ = outputs_and_inputs(model, table)
    expected = outputs[:, -4] / number.factor + number.shift
    np.testing.assert_allclose(model.reconstruct(table)["reconstr_b"], expected, rtol=1e-5)


def test_codes_are_those_of_the_middle_layer_or_of_any(model, table):
    codes = model.transform(table)
    assert codes.shape == (300, 3) and codes.dtype == np.float32
    weights, biases = model.coefs_, model.intercepts_
    _, inputs = outputs_and_inputs(model, table)
    first = np.tanh(inputs @ weights[0] + biases[0])
    np.testing.assert_allclose(model.transform(table, layer=0), first, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(codes, np.tanh(first @ weights[1] + biases[1]), rtol=1e-4, atol=1e-5)
    assert model.get_feature_names_out().tolist() == ["DF.L2.C1", "DF.L2.C2", "DF.L2.C3"]
    np.testing.assert_array_equal(codes, clone(model).fit_transform(table))


def test_deep_features_have_h2os_names(model, table):
    features = model.deep_features(table, 1)
    assert [*features] == model.get_feature_names_out().tolist() and features.index.equals(table.index)
    np.testing.assert_array_equal(features, model.transform(table))
    for layer in ("DF.L2", "df.l2", "L2", -2, np.int64(1)):
        pd.testing.assert_frame_equal(model.deep_features(table, layer), features)


@pytest.mark.parametrize("layer", [3, -4, "DF.L0", "DF.L4", "two", 1.0, True, None])
def test_layers_that_are_not_there_are_refused(model, table, layer):
    with pytest.raises(ParameterError, match="hidden layer"):
        model.deep_features(table, layer)


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_rows_come_back_from_codes(model, table, layer):
    codes, expected = model.transform(table, layer), model.reconstruct(table)
    np.testing.assert_allclose(model.inverse_transform(codes, layer), expected, rtol=1e-5, atol=1e-6)
    framed = model.deep_features(table, layer)
    pd.testing.assert_frame_equal(model.inverse_transform(framed, layer), expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(SchemaError, match="features"):
        model.inverse_transform(codes[:, 1:], layer)


# ---- tables of every kind -----------------------------------------------------------------------------------------------


ANSWERS = ["transform", "reconstruct", "anomaly", "per feature", "score_samples", "deep_features", "inverse"]


def answers_of(model):
    """Everything that answers to rows, by name."""
    return {
        "transform": model.transform,
        "reconstruct": model.reconstruct,
        "anomaly": model.anomaly,
        "per feature": lambda X: model.anomaly(X, per_feature=True),
        "score_samples": model.score_samples,
        "deep_features": lambda X: model.deep_features(X, "DF.L1"),
        "inverse": lambda X: model.inverse_transform(model.transform(X)),
    }


@pytest.mark.parametrize("name", ANSWERS)
def test_answers_to_a_dask_frame_are_lazy_with_index_divisions_and_meta(model, table, name):
    answer = answers_of(model)[name]
    parts = dd.from_pandas(table, npartitions=4)
    found = answer(parts)
    assert found.divisions == parts.divisions and found.npartitions == 4
    here = answer(table)
    assert_eq(found, found.compute())  # its meta is exact
    np.testing.assert_array_equal(found.compute().to_numpy(), np.asarray(here))
    pd.testing.assert_index_equal(found.compute().index, table.index)
    if not isinstance(here, np.ndarray):
        (pd.testing.assert_frame_equal if here.ndim == 2 else pd.testing.assert_series_equal)(found.compute(), here)


def test_scores_of_a_dask_frame_are_those_of_its_rows(model, table):
    parts = dd.from_pandas(table, npartitions=4)
    assert model.score(parts) == pytest.approx(model.score(table), rel=1e-9)
    assert model.evaluate(parts)["rmse"] == pytest.approx((-model.score(table)) ** 0.5)
    assert "mae" not in model.evaluate(parts)


def test_arrays_answer_with_arrays_in_their_chunks(table):
    X = table[["a", "c", "d", "e"]].to_numpy()
    lazy = da.from_array(X, chunks=(80, 2))
    model = DeepLearningAutoEncoder(**SMALL).fit(lazy)
    assert model.n_features_in_ == 4 and not hasattr(model, "feature_names_in_")
    assert [*answers_of(model)] == ANSWERS
    for name, answer in answers_of(model).items():
        here, there = answer(X), answer(lazy)
        assert isinstance(here, np.ndarray) and isinstance(there, da.Array), name
        assert there.dtype == here.dtype and there.chunks[0] == (80, 80, 80, 60), name
        np.testing.assert_array_equal(there.compute(), here)
    assert model.score(lazy) == pytest.approx(model.score(X), rel=1e-9)


def test_sparse_matrices_and_the_same_numbers_dense():
    X = scipy.sparse.random(200, 30, 0.2, format="csr", random_state=0)
    model = DeepLearningAutoEncoder(**SMALL).fit(X)
    dense = clone(model).set_params(sparse=True).fit(X.toarray())
    np.testing.assert_array_equal(model.model_.network.flat, dense.model_.network.flat)
    scale = np.ptp(X.toarray(), axis=0)
    np.testing.assert_allclose([n.factor for n in model.encoder_.numbers], 1 / scale)
    errors = (model.reconstruct(X) - X.toarray()) / scale
    np.testing.assert_allclose(model.anomaly(X, per_feature=True), errors**2, rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(model.anomaly(X.toarray()), model.anomaly(X), rtol=1e-6)


@pytest.mark.parametrize("given", [{"max_categorical_features": 2}, {"categorical_encoding": "binary"},
                                   {"categorical_encoding": "eigen"}, {"missing_values_handling": "skip"}],
                         ids=str)  # fmt: skip
def test_encodings_of_levels(table, given):
    model = DeepLearningAutoEncoder(**SMALL | given).fit(table)
    found = model.reconstruct(table)
    assert [*found] == [f"reconstr_{name}" for name in model.encoder_.input_names]
    np.testing.assert_allclose(model.inverse_transform(model.transform(table)), found, rtol=1e-5, atol=1e-5)
    if given.get("categorical_encoding") == "binary":
        scaled = model.model_.predictor.answers(table, None, "the table")[:, 5:]
        (code,) = model.encoder_.codes
        np.testing.assert_allclose(found.iloc[:, 5:], scaled * code.deviations + code.means, rtol=1e-5, atol=1e-6)
        assert set(code.deviations) <= {0.0, 1.0}  # ranges of bits


def test_levels_and_values_that_training_never_saw(model, table):
    odd = table.head(3).assign(level=["never", None, "left"], a=np.nan)
    assert np.isfinite(model.anomaly(odd)).all()
    each = model.anomaly(odd, per_feature=True)
    outputs = model.model_.predictor.answers(odd, None, "the table")
    np.testing.assert_allclose(each["reconstr_level.missing(NA).SE"], (outputs[:, 3] - [1, 1, 0]) ** 2, rtol=1e-5)
    np.testing.assert_allclose(each["reconstr_a.SE"], outputs[:, 4] ** 2, rtol=1e-5)  # the mean is 0
    with pytest.warns(DaskDLWarning, match="'d'"):
        model.transform(table.drop(columns="d"))


# ---- training -----------------------------------------------------------------------------------------------------------


def test_planted_anomalies_come_out_on_top(table):
    train = inputs_table(1000, seed=1).dropna()
    model = DeepLearningAutoEncoder(
        **UNSCORED, hidden=(12, 2, 12), activation="tanh", epochs=60, random_state=1, n_jobs=1
    ).fit(train)
    odd = inputs_table(200, seed=2).dropna()
    rows = odd.index[::20]
    odd.loc[rows, "c"] = -7 - (odd.loc[rows, "c"] + 7)  # the other side of its range: no value is unusual by itself
    far = (odd.loc[rows, "c"] + 7).abs() > 40
    ranked = model.anomaly(odd).sort_values(ascending=False).index
    assert far.sum() >= 4 and set(rows[far]) <= set(ranked[: 2 * len(rows)])


@pytest.mark.parametrize("given", [
    {"loss": "huber"}, {"loss": "absolute"}, {"distribution": "quantile"}, {"output_activation": "same_exact"},
    {"activation": "rectifier"}, {"activation": "maxout"},
    {"activation": "rectifier_with_dropout", "hidden": (20,), "epochs": 60},
    {"input_dropout_ratio": 0.2}, {"mini_batch_size": 8}, {"l1": 1e-4, "l2": 1e-3},
    {"hidden": (), "output_activation": "linear"},
    {"adaptive_rate": False, "rate": 0.01, "momentum_stable": 0.5},
], ids=str)  # fmt: skip
def test_every_kind_of_training_learns(table, given):
    settings = SMALL | {"epochs": 20, "overwrite_with_best_model": False} | given
    at_first, later = (
        -DeepLearningAutoEncoder(**settings | change).fit(table).score(table) for change in ({"epochs": 0.01}, {})
    )
    assert later < 0.8 * at_first


def test_units_are_drawn_to_their_mean_activation(table):
    means = {}
    for beta in (0.0, 1.0):
        given = SMALL | {
            "hidden": (10,),
            "epochs": 100,
            "average_activation": -0.5 if beta else 0,
            "sparsity_beta": beta,
        }
        means[beta] = DeepLearningAutoEncoder(**given, overwrite_with_best_model=False).fit(table).transform(table)
    assert abs(means[1.0].mean() + 0.5) < 0.1 < abs(means[0.0].mean() + 0.5)


@pytest.mark.parametrize("form", ["table", "pair", "list", "weights"])
def test_a_validation_table_decides_when_to_stop(table, form):
    held = inputs_table(100, seed=3)
    eval_set = {"table": held, "pair": (held, None), "list": [(held, None)], "weights": (held, None, np.ones(100))}[
        form
    ]
    model = DeepLearningAutoEncoder(**SMALL | {"score_each_iteration": True, "epochs": 3}).fit(table, eval_set=eval_set)
    assert model.metrics_["validation"]["mse"] == pytest.approx(-model.score(held), rel=1e-5)
    assert model.best_score_ == pytest.approx(-model.score(held), rel=1e-5)
    lazy = clone(model).fit(dd.from_pandas(table, npartitions=1), eval_set=dd.from_pandas(held, npartitions=2))
    assert lazy.best_score_ == pytest.approx(model.best_score_, rel=1e-5)


def test_weights_by_name_and_by_values(table):
    weights = np.where(np.arange(300) % 2, 0.0, 2.0)
    model = DeepLearningAutoEncoder(**SMALL).fit(table, sample_weight=weights)
    named = clone(model).fit(table.assign(w=weights), sample_weight="w", eval_set=table.assign(w=weights))
    np.testing.assert_array_equal(model.model_.network.flat, named.model_.network.flat)
    assert "w" not in named.feature_names_in_
    odd = table.assign(w=weights)
    odd.loc[odd["w"] == 0, "b"] = 1e6  # rows that do not train
    other = clone(model).fit(odd, sample_weight="w")
    assert other.encoder_ == named.encoder_
    assert named.metrics_["validation"]["mse"] == pytest.approx(-model.score(table, sample_weight=weights), rel=1e-5)


def test_a_target_is_refused_by_name_and_ignored_as_values(table):
    with pytest.raises(ParameterError, match="y='a': DeepLearningAutoEncoder has no target"):
        DeepLearningAutoEncoder(**SMALL).fit(table, "a")
    with pytest.raises(ParameterError, match="offsets are for regression"):
        DeepLearningAutoEncoder(**SMALL).fit(table, offset="a")
    with pytest.raises(ParameterError, match="no folds"):
        DeepLearningAutoEncoder(**SMALL).fit(table, folds="a")
    with_values = DeepLearningAutoEncoder(**SMALL).fit(table, np.arange(300))
    np.testing.assert_array_equal(
        with_values.model_.network.flat, DeepLearningAutoEncoder(**SMALL).fit(table).model_.network.flat
    )
    assert with_values.score(table, np.arange(300)) == with_values.score(table)


@pytest.mark.parametrize("storage", ["disk", "stream"])
def test_rows_out_of_memory_give_the_same_bits(table, model, storage):
    other = clone(model).set_params(storage=storage).fit(dd.from_pandas(table, npartitions=1))
    memory = clone(model).fit(dd.from_pandas(table, npartitions=1))
    np.testing.assert_array_equal(other.model_.network.flat, memory.model_.network.flat)


# ---- a model that travels, and goes on ----------------------------------------------------------------------------------


def test_a_model_is_saved_loaded_pickled_and_shown(model, table, tmp_path):
    model.save(tmp_path / "model.zip")
    for other in (load(tmp_path / "model.zip"), pickle.loads(pickle.dumps(model))):
        assert isinstance(other, DeepLearningAutoEncoder) and other.get_params() == model.get_params()
        pd.testing.assert_frame_equal(other.reconstruct(table), model.reconstruct(table))
        assert other.feature_names_in_.tolist() == model.feature_names_in_.tolist()
    model.report(tmp_path / "report.html")
    assert "rmse" in (tmp_path / "report.html").read_text() and "rmse" in model._repr_html_()
    assert "rmse" in repr(model.evaluate(table))


def test_a_training_goes_on(table, tmp_path):
    given = SMALL | {"overwrite_with_best_model": False}
    whole = DeepLearningAutoEncoder(**given | {"epochs": 4}).fit(table)
    half = DeepLearningAutoEncoder(**given | {"epochs": 2}).fit(table)
    further = DeepLearningAutoEncoder(**given | {"epochs": 4}).fit(table, checkpoint=half)
    np.testing.assert_array_equal(further.model_.network.flat, whole.model_.network.flat)
    with pytest.raises(ParameterError, match="output_activation"):
        DeepLearningAutoEncoder(**given | {"epochs": 4, "output_activation": "same_exact"}).fit(table, checkpoint=half)
    broken = DeepLearningAutoEncoder(**given | {"epochs": 2, "checkpoint_dir": tmp_path}).fit(table)
    resumed = broken.set_params(epochs=4).fit(table, resume=True)
    assert resumed.history_["epochs"].iloc[-1] == 4
    passes = DeepLearningAutoEncoder(**given).partial_fit(table).partial_fit(table)
    assert passes.history_["epochs"].iloc[-1] == 2


def test_a_prepared_table_trains_to_the_same_bits(table, model):
    with prepare(table, task="autoencoder", activation="tanh", n_jobs=1, random_state=1) as rows:
        other = clone(model).fit(rows)
        np.testing.assert_array_equal(other.model_.network.flat, model.model_.network.flat)
        with pytest.raises(ParameterError, match="output_activation"):
            clone(model).set_params(output_activation="linear").fit(rows)
    held = inputs_table(100, seed=3)
    given = {"task": "autoencoder", "eval_set": held, "activation": "tanh", "sample_weight": np.ones(300)}
    with prepare(table, **given, n_jobs=1, random_state=1) as rows:
        other = clone(model).fit(rows)
        assert other.metrics_["validation"]["mse"] == pytest.approx(-other.score(held), rel=1e-5)
    with pytest.raises(ParameterError, match="no target"):
        prepare(table, "a", task="autoencoder")
    with pytest.raises(ParameterError, match="task='autoencoder'"):
        prepare(table)


def test_a_check_before_a_training(table):
    report = check(table, task="autoencoder", eval_set=table, hidden=(4,), epochs=1, n_jobs=1)
    assert not report.of("error") and any("network: 9 inputs" in note.text for note in report.of("note"))
    assert check(table, "a", task="autoencoder").of("error")


def test_codes_feed_other_estimators(table):
    labels = (table["level"] == "right").to_numpy()
    pipeline = make_pipeline(DeepLearningAutoEncoder(**SMALL), LogisticRegression())
    assert cross_val_score(pipeline, table, labels, cv=2).mean() > 0.75
    framed = DeepLearningAutoEncoder(**SMALL).set_output(transform="pandas").fit_transform(table)
    assert [*framed] == ["DF.L2.C1", "DF.L2.C2", "DF.L2.C3"] and framed.index.equals(table.index)


# ---- deep features of the others ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dropout", ["", "_with_dropout"])
def test_deep_features_of_a_classifier_and_a_regressor(dropout):
    table = make_table(200)
    X, offset = table[NUMBERS], np.linspace(0, 1, 200)
    given = UNSCORED | {"hidden": (6, 4), "epochs": 2, "random_state": 1, "activation": "rectifier" + dropout}
    classifier = DeepLearningClassifier(**given).fit(X, table["label"])
    regressor = DeepLearningRegressor(**given).fit(X, table["y"], offset=offset)
    for model in (classifier, regressor):
        weights, biases = model.coefs_, model.intercepts_
        inputs = ((X - X.mean()) / X.std()).to_numpy()
        kept = 0.5 if dropout else 1.0
        first = np.maximum(inputs @ weights[0] + biases[0], 0) * kept
        found = model.deep_features(X, "DF.L1")
        assert [*found] == [f"DF.L1.C{j}" for j in range(1, 7)]
        np.testing.assert_allclose(found, first, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(
            model.deep_features(X, 1), np.maximum(first @ weights[1] + biases[1], 0) * kept, rtol=1e-4, atol=1e-5
        )
        lazy = model.deep_features(dd.from_pandas(X, npartitions=3), 1)
        assert_eq(lazy, model.deep_features(X, 1))
        assert lazy.known_divisions
    linear = DeepLearningRegressor(**given | {"hidden": (), "activation": "tanh"}).fit(X, table["y"])
    with pytest.raises(ParameterError, match="0 hidden layers"):
        linear.deep_features(X, 0)
