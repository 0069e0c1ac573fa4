"""Rules between parameters: each conflict has an example, and what has no effect is said."""

from __future__ import annotations

import re

import pytest
from parameters.rows import AE, CLS, REG, illegal

from dask_dl import parameters
from dask_dl.errors import ParameterError
from dask_dl.metrics.table import METRICS
from dask_dl.parameters import CONFLICTS, NO_EFFECT, TABLE, constructor_defaults, effective, prepared, validate

DROP = "rectifier_with_dropout"

# fmt: off
EXAMPLES = [
    ("distribution", CLS, None, {"distribution": "poisson"}, {"distribution": "multinomial"}),
    ("distribution", REG, None, {"distribution": "bernoulli"}, {"distribution": "tweedie"}),
    ("distribution", CLS, 3, {"distribution": "bernoulli"}, {"distribution": "multinomial"}),
    ("loss", CLS, None, {"loss": "absolute"}, {"loss": "cross_entropy"}),
    ("loss", REG, None, {"loss": "cross_entropy"}, {"loss": "huber"}),
    ("loss", AE, None, {"loss": "cross_entropy"}, {"loss": "huber"}),
    ("distribution loss", REG, None, {"distribution": "gaussian", "loss": "absolute"},
     {"distribution": "gaussian", "loss": "quadratic"}),
    ("distribution loss", REG, None, {"distribution": "laplace", "loss": "quadratic"},
     {"distribution": "laplace", "loss": "absolute"}),
    ("distribution loss", REG, None, {"distribution": "poisson", "loss": "quadratic"}, {"distribution": "poisson"}),
    ("distribution loss", REG, None, {"distribution": "huber", "loss": "quantile"},
     {"distribution": "huber", "loss": "huber"}),
    ("distribution loss", REG, None, {"distribution": "quantile", "loss": "huber"}, {"loss": "quantile"}),
    ("distribution loss", None, None, {"distribution": "bernoulli", "loss": "huber"},
     {"distribution": "bernoulli", "loss": "quadratic"}),
    ("reproducible parallelism", REG, None, {"reproducible": True, "parallelism": "staleness"},
     {"reproducible": True, "parallelism": "team"}),
    ("n_shards reproducible", REG, None, {"n_shards": 4}, {"n_shards": 4, "reproducible": True}),
    ("hidden hidden_dropout_ratios", REG, None, {"hidden_dropout_ratios": [0]},
     {"hidden": [3], "hidden_dropout_ratios": [0]}),
    ("activation hidden_dropout_ratios", REG, None, {"hidden_dropout_ratios": [0.1, 0]},
     {"activation": DROP, "hidden_dropout_ratios": [0.1, 0]}),
    ("hidden initial_weights", REG, None, {"initial_weights": [None] * 2}, {"initial_weights": [None] * 3}),
    ("hidden initial_biases", REG, None, {"initial_biases": [None] * 2}, {"hidden": [], "initial_biases": [None]}),
    ("initial_weights initial_biases checkpoint", REG, None, {"initial_biases": [None] * 3, "checkpoint": "m"},
     {"checkpoint": "m"}),
    ("pretrained_autoencoder", AE, None, {"pretrained_autoencoder": object()}, {}),
    ("pretrained_autoencoder checkpoint", REG, None, {"pretrained_autoencoder": "m", "checkpoint": "m"}, {"checkpoint": "m"}),
    ("adaptive_rate rho", REG, None, {"rho": 0}, {"rho": 0, "adaptive_rate": False}),
    ("adaptive_rate epsilon", REG, None, {"epsilon": 0}, {"epsilon": 0, "adaptive_rate": False}),
    ("sparse elastic_averaging", REG, None, {"sparse": True, "elastic_averaging": True}, {"sparse": True}),
    ("col_major", REG, None, {"col_major": True}, {"col_major": False}),
    ("average_activation sparsity_beta", REG, None, {"sparsity_beta": 0.1}, {"sparsity_beta": 0}),
    ("average_activation sparsity_beta", CLS, None, {"average_activation": 0.1}, {"average_activation": 0}),
    ("activation average_activation", AE, None, {"activation": "tanh", "average_activation": 1, "sparsity_beta": 0.1},
     {"activation": "tanh", "average_activation": -0.9, "sparsity_beta": 0.1}),
    ("activation average_activation", AE, None, {"activation": DROP, "average_activation": -0.1, "sparsity_beta": 0.1},
     {"activation": DROP, "average_activation": 2, "sparsity_beta": 0.1}),
    ("activation output_activation", AE, None, {"activation": "maxout_with_dropout", "output_activation": "same"},
     {"activation": "maxout_with_dropout"}),
    ("activation output_activation", AE, None, {"output_activation": "same_exact"},
     {"activation": "tanh_with_dropout", "output_activation": "same_exact"}),
    ("activation average_activation", AE, None,
     {"activation": "maxout", "average_activation": 0.5, "sparsity_beta": 0.1},
     {"activation": "maxout", "average_activation": 0.5}),
    ("output_activation", CLS, None, {"output_activation": "linear"}, {"output_activation": "auto"}),
    ("distribution", AE, None, {"distribution": "tweedie"}, {"distribution": "laplace"}),
    ("categorical_encoding", AE, None, {"categorical_encoding": "sort_by_response"}, {"categorical_encoding": "eigen"}),
    ("balance_classes", REG, None, {"balance_classes": True}, {"balance_classes": False}),
    ("score_validation_sampling", REG, None, {"score_validation_sampling": "stratified"},
     {"score_validation_sampling": "uniform"}),
    ("balance_classes class_sampling_factors", CLS, None, {"class_sampling_factors": [1, 2]},
     {"class_sampling_factors": [1, 2], "balance_classes": True}),
    ("class_sampling_factors", CLS, 3, {"class_sampling_factors": [1, 2]},
     {"class_sampling_factors": [1, 2, 3], "balance_classes": True}),
    ("stopping_metric", CLS, None, {"stopping_metric": "deviance"}, {"stopping_metric": "auc"}),
    ("stopping_metric", REG, None, {"stopping_metric": "auc", "stopping_rounds": 0}, {"stopping_metric": "rmsle"}),
    ("stopping_metric", AE, None, {"stopping_metric": "mae"}, {"stopping_metric": "mse"}),
    ("stopping_metric", CLS, 3, {"stopping_metric": "gini"}, {"stopping_metric": "mean_per_class_error"}),
    ("stopping_metric auc_type", CLS, 3, {"stopping_metric": "auc"}, {"stopping_metric": "auc", "auc_type": "macro_ovo"}),
    ("custom_metric custom_metric_func", REG, None, {"custom_metric": "r2", "custom_metric_func": len},
     {"custom_metric": "r2"}),
    ("stopping_metric custom_metric", REG, None, {"stopping_metric": "custom"},
     {"stopping_metric": "custom_increasing", "custom_metric_func": len}),
    ("custom_metric custom_metric_func", AE, None, {"custom_metric": len}, {}),
    ("nfolds", AE, None, {"nfolds": 2}, {"nfolds": 0}),
    ("folds", AE, None, {"folds": "f"}, {"folds": None}),
    ("nfolds folds", REG, None, {"nfolds": 2, "folds": "f"}, {"folds": "f"}),
    ("nfolds fold_assignment", REG, None, {"fold_assignment": "modulo"}, {"fold_assignment": "modulo", "nfolds": 3}),
    ("fold_assignment", REG, None, {"nfolds": 3, "fold_assignment": "stratified"}, {"nfolds": 3, "fold_assignment": "random"}),
    ("nfolds checkpoint", REG, None, {"nfolds": 2, "checkpoint": "m"}, {"nfolds": 2}),
    ("folds checkpoint", REG, None, {"folds": "f", "checkpoint": "m"}, {"folds": "f"}),
    ("folds warm_start", REG, None, {"folds": "f", "warm_start": True}, {"folds": "f"}),
    ("nfolds warm_start", REG, None, {"nfolds": 2, "warm_start": True}, {"warm_start": True}),
    ("offset", CLS, None, {"offset": "o"}, {"offset": None}),
    ("offset", AE, None, {"offset": "o"}, {"offset": None}),
    ("resume checkpoint_dir", REG, None, {"resume": True}, {"resume": True, "checkpoint_dir": "d"}),
]


def conflicts(given, task, n_classes):
    lines = illegal(given, task=task, n_classes=n_classes)
    names = [" ".join(re.findall(r"(\w+)=", line.partition(": ")[0])) for line in lines]
    return {(name, line.partition(": ")[2]) for name, line in zip(names, lines, strict=True)}


@pytest.mark.parametrize(("names", "task", "n_classes", "bad", "good"), EXAMPLES)
def test_conflict(names, task, n_classes, bad, good):
    assert names in {name for name, _ in conflicts(bad, task, n_classes)}
    assert not conflicts(good, task, n_classes)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "linear"),
        ({"activation": "maxout"}, "linear"),
        ({"activation": "tanh_with_dropout"}, "same"),
        ({"output_activation": "same"}, "same"),
        ({"output_activation": "linear", "activation": "tanh"}, "linear"),
    ],
)
def test_outputs_of_an_autoencoder_follow_the_hidden_units(given, expected):
    values = constructor_defaults() | given
    assert effective(values, task=AE)["output_activation"] == prepared(values, AE)["output_activation"] == expected
    assert prepared(values, REG)["output_activation"] == given.get("output_activation", "auto")


def test_every_conflict_has_an_example():
    shown = set().union(*(conflicts(bad, task, n_classes) for _, task, n_classes, bad, _ in EXAMPLES))
    assert {(" ".join(rule.names), rule.text) for rule in CONFLICTS} == shown


def test_rules_name_rows():
    for rule in (*CONFLICTS, *NO_EFFECT):
        assert set(rule.names) <= TABLE.keys()


def test_rules_that_need_the_task_wait_for_it():
    assert not illegal({"distribution": "poisson", "offset": "o", "balance_classes": True}, task=None)


def test_defaults_do_not_warn():
    assert parameters.warnings_for(constructor_defaults()) == []
    sgd = validate({"adaptive_rate": False, "rate": 0.1, "momentum_stable": 0.9}, task=REG)
    assert parameters.warnings_for(sgd) == []


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (
            {"rate": 0.1, "momentum_start": 0.5, "nesterov_accelerated_gradient": False},
            ["rate", "momentum_start", "nesterov_accelerated_gradient"],
        ),
        ({"adaptive_rate": False, "rho": 0.9, "epsilon": 1e-6}, ["rho", "epsilon"]),
        (
            {
                "stopping_rounds": 0,
                "stopping_metric": "mse",
                "stopping_tolerance": 0.1,
                "overwrite_with_best_model": False,
            },
            ["stopping_metric", "stopping_tolerance"],
        ),
        ({"initial_weight_scale": 0.3}, ["initial_weight_scale"]),
        ({"initial_weight_scale": 0.3, "initial_weight_distribution": "normal"}, []),
        (
            {"quantile_alpha": 0.1, "tweedie_power": 1.1, "huber_alpha": 0.1},
            ["quantile_alpha", "tweedie_power", "huber_alpha"],
        ),
        ({"quantile_alpha": 0.1, "loss": "quantile"}, []),
        ({"huber_alpha": 0.1, "distribution": "huber"}, []),
        ({"max_after_balance_size": 2.0}, ["max_after_balance_size"]),
        ({"score_validation_sampling": "stratified"}, ["score_validation_sampling"]),
        ({"score_validation_sampling": "stratified", "score_validation_samples": 9}, []),
        ({"single_node_mode": True}, ["single_node_mode"]),
        ({"replicate_training_data": True, "reproducible": True}, ["replicate_training_data"]),
        ({"exchange_interval": 8, "parallelism": "team"}, ["exchange_interval"]),
        ({"exchange_interval": 8, "reproducible": True}, ["exchange_interval"]),
        ({"exchange_interval": 8}, []),
        ({"checkpoint_interval": 5.0}, ["checkpoint_interval"]),
        ({"diagnostics": False}, ["diagnostics"]),
    ],
)
def test_warnings(given, names):
    lines = parameters.warnings_for(constructor_defaults() | given)
    assert [line.split("=")[0] for line in lines] == names
    assert all("has no effect" in line for line in lines)


@pytest.mark.parametrize("rule", NO_EFFECT, ids=lambda rule: rule.names[0])
def test_every_rule_of_no_effect_can_apply(rule):
    pairs = {
        "rho": {"adaptive_rate": False},
        "stopping_metric": {"stopping_rounds": 0, "overwrite_with_best_model": False},
        "stopping_tolerance": {"stopping_rounds": 0},
        "replicate_training_data": {"reproducible": True},
        "exchange_interval": {"parallelism": "team"},
        "target_ratio_comm_to_comp": {"train_samples_per_iteration": 0},
    }
    changed = {name: object() for name in rule.names}
    lines = parameters.warnings_for(constructor_defaults() | pairs.get(rule.names[0], {}) | changed)
    assert {line.split("=")[0] for line in lines} >= set(rule.names)


@pytest.mark.parametrize("task", [CLS, REG])
@pytest.mark.parametrize("metric", [name for name, metric in METRICS.items() if metric.in_history])
def test_early_stopping_takes_what_is_measured_in_a_task(task, metric):
    given = {"stopping_metric": metric, "stopping_rounds": 3, "custom_metric": "r2"}
    if task in METRICS[metric].tasks:
        assert validate(given, task=task)["stopping_metric"] == metric
    else:
        with pytest.raises(ParameterError, match="this metric does not suit what is learned"):
            validate(given, task=task)
