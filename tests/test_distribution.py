"""Distributions from the parameter to the prediction: links, weights, offsets, what a target may be, huber's moving delta."""

from __future__ import annotations

import functools
import itertools

import hypothesis
import numpy as np
import pandas as pd
import pytest
from hypothesis import strategies as st
from tables import UNSCORED

from dask_dl import DeepLearningClassifier, DeepLearningRegressor, load
from dask_dl.cluster import LocalBackend, LocalTrainer
from dask_dl.distribution import LOG_LINKS, QUANTILES, Distribution, Intercept, Residuals
from dask_dl.errors import SchemaError
from dask_dl.frame.source import open_source
from dask_dl.metrics.measurement import MetricSettings, measure_numbers
from dask_dl.parameters import validate
from dask_dl.training.engine import Request, train

SHAPES = {"quantile": ("quantile_alpha", 0.8), "huber": ("huber_alpha", 0.7), "tweedie": ("tweedie_power", 1.3)}
NAMES = ("gaussian", "laplace", "quantile", "huber", "poisson", "gamma", "tweedie")
SETTINGS = UNSCORED | {
    "hidden": (20, 20),
    "epochs": 8,
    "random_state": 2,
    "activation": "tanh",
    "stopping_rounds": 0,
    "n_jobs": 1,
}


def make_table(name, n=1500, seed=0):
    """Targets of which the distribution is true, around exp of a sum (log links) or the sum itself."""
    random = np.random.default_rng(seed)
    frame = pd.DataFrame(random.normal(size=(n, 3)), columns=list("abc"))
    sums = 0.8 * frame["a"] - 0.5 * frame["b"] + 0.3
    draw = {
        "poisson": lambda: random.poisson(np.exp(sums)).astype(float),
        "gamma": lambda: random.gamma(2.0, np.exp(sums) / 2.0),
        "tweedie": lambda: random.poisson(np.exp(sums)) * random.gamma(2.0, 0.5, n),
    }
    frame["y"] = draw[name]() if name in draw else 20 + 5 * (sums + 0.5 * random.standard_t(3, n))
    return frame


def given(name, **more):
    shape = dict([SHAPES[name]]) if name in SHAPES else {}
    return SETTINGS | {"distribution": name} | shape | more


def deviance(name, truth, predicted):
    distribution = Distribution(name, SHAPES[name][1] if name in SHAPES else 0.0)
    settings = MetricSettings(distribution)
    return measure_numbers(np.asarray(truth, float), np.asarray(predicted, float), None, settings).metric("deviance")


@pytest.mark.parametrize("name", NAMES)
def test_it_predicts_better_than_any_constant(name, tmp_path):
    table, test = make_table(name), make_table(name, seed=1)
    model = DeepLearningRegressor(**given(name, score_duty_cycle=0.1)).fit(table, "y", eval_set=test)
    predicted = model.predict(test)
    constant = {"laplace": 0.5, "quantile": 0.8}.get(name)
    best = test["y"].quantile(constant) if constant else test["y"].mean()
    assert deviance(name, test["y"], predicted) < 0.8 * deviance(name, test["y"], np.full(len(test), best))
    # The best network is put back, and the history judged it by the same figure.
    assert model.best_score_ == pytest.approx(deviance(name, test["y"], predicted), rel=1e-5)
    model.save(tmp_path / "m.zarr.zip")
    np.testing.assert_array_equal(load(tmp_path / "m.zarr.zip").predict(test), predicted)


def test_the_quantile_is_the_one_asked_for():
    table = make_table("gaussian", 4000)
    rounds = {
        "train_samples_per_iteration": 1000,
        "score_each_iteration": True,
    }  # the best one of so many, at any speed
    for alpha in (0.1, 0.5, 0.9):
        model = DeepLearningRegressor(**SETTINGS, **rounds, distribution="quantile", quantile_alpha=alpha).fit(
            table, "y"
        )
        assert (table["y"] < model.predict(table)).mean() == pytest.approx(alpha, abs=0.05)


@pytest.mark.parametrize("name", ["poisson", "gamma", "tweedie"])
def test_a_target_keeps_its_unit_under_a_log_link_and_an_offset_is_an_exposure(name):
    table = make_table(name).assign(o=0.0)
    settings = given(name, adaptive_rate=False, rate=0.002)
    plain = DeepLearningRegressor(**settings).fit(table, "y", offset="o")
    assert not plain.model_.head.is_standardized and plain.model_.head.link == "log"
    if name == "gamma":  # whose gradient depends on nothing but the ratio of target and mean
        exposed = table.assign(y=10 * table["y"], o=np.log(10.0))
        other = DeepLearningRegressor(**settings).fit(exposed, "y", offset="o")
        np.testing.assert_allclose(other.predict(exposed, offset="o"), 10 * plain.predict(table, offset="o"), rtol=1e-3)
    shifted = plain.predict(table.assign(o=-1.5), offset="o")
    np.testing.assert_allclose(shifted, np.exp(-1.5) * plain.predict(table, offset="o"), rtol=1e-4)


@pytest.mark.parametrize("name", ["gaussian", "laplace", "quantile", "huber"])
def test_an_offset_of_any_sign_adds_to_a_prediction(name):
    table = make_table(name)
    random = np.random.default_rng(3)
    offset = random.normal(size=len(table)) * 10
    plain = DeepLearningRegressor(**given(name)).fit(table, "y", offset=np.zeros(len(table)))
    model = DeepLearningRegressor(**given(name)).fit(table.assign(y=table["y"] + offset), "y", offset=offset)
    assert deviance(name, table["y"] + offset, model.predict(table, offset=offset)) < 1.3 * deviance(
        name, table["y"], plain.predict(table, offset=np.zeros(len(table)))
    )
    more = model.predict(table, offset=offset - 100)
    np.testing.assert_allclose(more, model.predict(table, offset=offset) - 100, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("batch", [1, 8])
@pytest.mark.parametrize("name", [*NAMES, "multinomial", "quadratic classes"])
def test_a_row_of_weight_zero_does_not_exist(name, batch):
    is_class = name not in NAMES
    table = make_table("gamma" if is_class else name, 400)
    if is_class:
        table["y"] = pd.cut(table["y"], [-1, 0.5, 1.5, 1e9], labels=["low", "mid", "high"]).astype(str)
    weight = np.random.default_rng(1).integers(0, 3, len(table)).astype(float)
    spoilt = table.copy()
    spoilt.loc[weight == 0, "y"] = "low" if is_class else 1e6
    settings = {"epochs": 3, "shuffle_training_data": False, "mini_batch_size": batch, "standardize": False}
    kind = DeepLearningClassifier if is_class else DeepLearningRegressor
    settings |= {"loss": "quadratic"} if name == "quadratic classes" else {}
    settings = SETTINGS | settings if is_class else given(name, **settings)
    whole = kind(**settings).fit(spoilt, "y", sample_weight=weight)
    part = kind(**settings).fit(table[weight > 0], "y", sample_weight=weight[weight > 0])
    np.testing.assert_array_equal(whole.model_.network.flat, part.model_.network.flat)


@pytest.mark.parametrize(("name", "wrong"), [("poisson", -1.0), ("tweedie", -0.5), ("gamma", 0.0), ("gamma", -2.0)])
@pytest.mark.parametrize("where", ["training", "validation"])
def test_a_target_that_the_distribution_does_not_allow(name, wrong, where):
    table, bad = make_table(name, 100), make_table(name, 100, seed=1)
    bad.loc[17, "y"] = wrong
    train, held = (bad, table) if where == "training" else (table, bad)
    model = DeepLearningRegressor(**given(name))
    with pytest.raises(SchemaError, match=rf"as low as {wrong:g}; distribution '{name}' allows no .*negative values"):
        model.fit(train, "y", eval_set=held)
    assert not hasattr(model, "model_")
    zeros = bad.assign(y=bad["y"].clip(lower=0.0))
    if name != "gamma":
        DeepLearningRegressor(**given(name, epochs=1)).fit(zeros, "y")


def test_targets_beyond_what_a_log_link_reaches():
    table = make_table("gamma", 100)
    model = DeepLearningRegressor(**given("gamma"))
    with pytest.raises(SchemaError, match=r"as low as .*allows no values below 1e-19. Multiply it"):
        model.fit(table.assign(y=table["y"] * 1e-20), "y")
    with pytest.raises(SchemaError, match=r"has a mean of .*allows none above 1e\+19. Divide it"):
        model.fit(table.assign(y=table["y"] * 1e25), "y")


def test_huber_turns_linear_at_the_quantile_of_the_residuals_that_were_scored():
    class Told(LocalTrainer):
        def train(self, n, settings, on_rows=None):
            deltas.append(settings.delta)
            super().train(n, settings, on_rows)
            shapes.append(self.replica.objective.shape)

    class Telling(LocalBackend):
        def trainer(self, *given):
            return Told(super().trainer(*given).shard)

    def trained(n_epochs, backend):
        asked = {"epochs": n_epochs, "train_samples_per_iteration": 0, "overwrite_with_best_model": False}
        requested = validate(given("huber", score_each_iteration=True, **asked), task="regression")
        model, failure, *_ = train(Request(open_source(table, "y"), "regression", requested), backend)
        assert failure is None
        return model

    table, deltas, shapes = make_table("huber", 600), [], []
    trained(3, Telling())
    assert deltas[0] is None and shapes == [1.0, *deltas[1:]]  # what the kernel was told
    for n_epochs, delta in enumerate(deltas[1:], 1):
        estimator = DeepLearningRegressor(**given("huber"))
        estimator.model_ = trained(n_epochs, LocalBackend())
        residuals = np.abs(table["y"] - estimator.predict(table[["a", "b", "c"]]))
        assert delta == pytest.approx(residuals.quantile(0.7) / table["y"].std(), rel=1e-5)


def test_a_delta_of_zero_does_not_stop_learning():
    table = make_table("huber", 600)
    model = DeepLearningRegressor(**given("huber", huber_alpha=0.0, score_each_iteration=True)).fit(table, "y")
    assert np.corrcoef(model.predict(table), table["y"])[0, 1] > 0.5


def test_residuals_merge_and_stay_few():
    random = np.random.default_rng(0)
    values, weights = random.exponential(size=300_000), random.random(300_000)
    parts = [Residuals.of(values[i::7], weights[i::7]) for i in range(7)]
    merged = parts[0]
    for part in parts[1:]:
        merged = merged.merge(part)
    assert len(merged.values) <= Residuals.MAX
    for weights_, expected in (([1, 1, 98], (10, 30, 30, 30)), ([98, 1, 1], (10, 10, 10, 30))):
        few = Residuals.of(np.array([10.0, 20.0, 30.0]), np.array(weights_, float))
        assert tuple(few.quantile(q) for q in (0.0, 0.5, 0.9, 1.0)) == expected  # a row of weight k is k rows
    exact = np.sort(values)[np.searchsorted(np.cumsum(weights[np.argsort(values)]), 0.9 * weights.sum())]
    assert merged.quantile(0.9) == pytest.approx(exact, rel=1e-3)
    few = Residuals.of(values[:100], None)
    for q in (0.0, 0.13, 0.5, 1.0):
        assert few.quantile(q) == pytest.approx(np.quantile(values[:100], q))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("has_offset", [False, True])
@hypothesis.settings(max_examples=25)  # of each of 14
@hypothesis.given(cuts=st.lists(st.integers(0, 300), max_size=3), seed=st.integers(0, 9))
def test_the_intercept_is_the_best_constant_however_the_rows_are_cut(name, has_offset, cuts, seed):
    distribution = Distribution(name, SHAPES[name][1] if name in SHAPES else 0.0)
    random = np.random.default_rng(seed)
    y, weights = make_table(name, 300, seed)["y"].to_numpy(), random.integers(1, 4, 300).astype(float)
    offsets = random.normal(2.0, 0.7, 300) if has_offset else None
    parts = [
        Intercept.of(distribution, y[a:b], None if offsets is None else offsets[a:b], weights[a:b])
        for a, b in itertools.pairwise([0, *sorted(cuts), 300])
    ]
    constant = functools.reduce(Intercept.merge, parts).value

    def loss(b):
        sums = b + (np.zeros(300) if offsets is None else offsets)
        means = np.exp(sums) if distribution.link == "log" else sums
        of = "laplace" if name == "huber" else name  # where it turns linear is not known before training
        return Distribution(of, distribution.shape).deviance(y, means, weights)

    for step in (-0.05, 0.05):
        assert loss(constant) < loss(constant + step) + 1e-12


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("standardize", [True, False])
def test_a_network_that_saw_no_row_answers_with_the_best_constant(name, standardize):
    table = make_table(name)
    model = DeepLearningRegressor(**given(name, epochs=0, standardize=standardize)).fit(table, "y")
    y = table["y"]
    expected = y.quantile({"quantile": 0.8}.get(name, 0.5)) if name in QUANTILES else y.mean()
    np.testing.assert_allclose(model.predict(table[["a", "b", "c"]]), expected, rtol=2e-3)


def test_a_network_that_saw_no_row_takes_exposure_and_weights_into_account():
    random = np.random.default_rng(0)
    exposure = random.uniform(1, 500, 1000)
    table = pd.DataFrame({"a": random.normal(size=1000), "y": random.poisson(0.1 * exposure).astype(float)})
    table["o"], table["w"] = np.log(exposure), random.integers(0, 3, 1000).astype(float)
    model = DeepLearningRegressor(**given("poisson", epochs=0))
    predicted = model.fit(table, "y", offset="o", sample_weight="w").predict(table)
    np.testing.assert_allclose(predicted, exposure * (table.w @ table.y) / (table.w @ exposure), rtol=1e-4)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("standardize", [True, False])
def test_a_network_that_saw_no_row_answers_with_the_best_constant_above_the_offset(name, standardize):
    table = make_table(name)
    table["o"] = np.random.default_rng(1).normal(8.0, 0.5, len(table))
    table["y"] = table["y"] * np.exp(table["o"]) if name in LOG_LINKS else table["y"] + table["o"]
    model = DeepLearningRegressor(**given(name, epochs=0, standardize=standardize))
    predicted = model.fit(table, "y", offset="o").predict(table)
    constants = np.log(predicted) - table["o"] if name in LOG_LINKS else predicted - table["o"]
    distribution = Distribution(name, SHAPES[name][1] if name in SHAPES else 0.0)
    expected = Intercept.of(distribution, table["y"].to_numpy(), table["o"].to_numpy(), None).value
    np.testing.assert_allclose(constants, expected, rtol=1e-4, atol=2e-3)


def test_a_target_of_large_unit_that_is_not_standardized_is_learned_from_its_mean():
    table = make_table("gaussian")
    table["y"] = 2e6 + 1e3 * table["y"]
    model = DeepLearningRegressor(**given("gaussian", epochs=1, standardize=False)).fit(table, "y")
    assert np.sqrt(np.mean((model.predict(table) - table["y"]) ** 2)) < 1.05 * table["y"].std()
