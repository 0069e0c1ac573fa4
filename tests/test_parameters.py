"""The table of parameters: what it says is what it enforces."""

from __future__ import annotations

import math
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dask_dl import parameters
from dask_dl.errors import ParameterError
from dask_dl.metrics.table import METRICS
from dask_dl.parameters import CONFLICTS, NO_EFFECT, RESTART, TABLE, constructor_defaults, effective, prepared, validate

ROWS = [pytest.param(row, id=name) for name, row in TABLE.items()]
LIMITED = [pytest.param(row, id=name) for name, row in TABLE.items() if row.available != "all"]
RANGE = re.compile(
    r"(?P<list>list of )?(?P<type>int|float) (?:(?P<sign>>=?) (?P<least>\S+)|in (?P<ends>[\[(]\S+, \S+[\])]))"
)
RANGED = [pytest.param(row, id=name) for name, row in TABLE.items() if RANGE.match(row.allowed)]


def mistakes(given, task="regression", n_classes=None):
    """Lines of the report without their numbers; none if all is well."""
    try:
        validate(given, task=task, n_classes=n_classes)
    except ParameterError as error:
        title, *lines = str(error).split("\n")
        assert title == f"{len(lines)} mistake{'s' if len(lines) > 1 else ''} in the parameters:"
        assert [line.split(".")[0] for line in lines] == [f"  {i}" for i in range(1, len(lines) + 1)]
        return [line.split(". ", 1)[1] for line in lines]
    return []


def illegal(given, **kwargs):
    return [line for line in mistakes(given, **kwargs) if "not available yet: today" not in line]


def is_legal(row, value):
    return not any("must be" in line for line in mistakes({row.name: value}, task=None))


def documented_range(row):
    """Low, high, their brackets, and a function that makes the value of a number."""
    match = RANGE.match(row.allowed)
    if match["sign"]:
        low, high, ends = float(match["least"]), math.inf, "[)" if match["sign"] == ">=" else "()"
    else:
        low, high = map(float, match["ends"][1:-1].split(", "))
        ends = match["ends"][0] + match["ends"][-1]
    number = int if match["type"] == "int" else float
    return low, high, ends, lambda v: [number(v)] if match["list"] else number(v)


def a_value_beyond(row):
    """A legal value that is neither the default nor available today."""
    words = re.findall(r'"(\w+)"', row.allowed)
    candidates = {"bool": [True, False], "callable or None": [len], "list of column names or None": [["a"]]}.get(
        row.allowed, words
    )
    if RANGE.match(row.allowed):
        low, high, _, make = documented_range(row)
        candidates = [make(low + 0.4 * min(high - low, 8))]
    for value in candidates or ["a name"]:
        if not row.is_available(row.read(value)):
            return value
    raise AssertionError(row)


# The table


def test_the_table_has_what_the_estimators_promise():
    defaults = constructor_defaults()
    assert list(defaults)[:2] == ["hidden", "activation"]
    assert defaults["hidden"] == (200, 200)
    assert (defaults["epochs"], defaults["rho"], defaults["epsilon"], defaults["rate"]) == (10.0, 0.99, 1e-8, 0.005)
    assert defaults["shuffle_training_data"] is True
    assert defaults["replicate_training_data"] is False
    assert defaults["max_w2"] == math.inf
    assert defaults["random_state"] is None
    assert {
        "nfolds",
        "balance_classes",
        "auc_type",
        "client",
        "checkpoint_dir",
        "storage",
        "verbose",
    } <= defaults.keys()
    assert {"autoencoder", "checkpoint", "seed", "training_frame"}.isdisjoint(defaults)
    assert [name for name, row in TABLE.items() if row.scope == "fit"] == [
        "sample_weight", "offset", "folds", "eval_set", "callbacks", "checkpoint", "resume",
    ]  # fmt: skip


@pytest.mark.parametrize("row", ROWS)
def test_row(row):
    assert row.restart in RESTART
    assert row.doc.endswith(".")
    assert "|" not in row.doc + row.allowed
    assert row.same_as == "" or row.same_as in TABLE
    if row.available != "all":
        for value in row.available:
            assert row.read([value] if row.allowed.startswith("list") else value) in (value, (value,))


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("task", ["classification", "regression", "autoencoder", None])
def test_default_is_valid_and_canonical(row, task):
    valid = validate({row.name: row.default}, task=task, n_classes=3 if task == "classification" else None)
    assert valid[row.same_as or row.name] == row.default
    assert type(valid[row.same_as or row.name]) is type(row.default)
    assert constructor_defaults().items() <= valid.items()


@pytest.mark.parametrize("row", RANGED)
def test_documented_range_is_enforced_at_both_ends(row):
    low, high, ends, make = documented_range(row)
    step = 1 if "int" in row.allowed else 1e-9
    also = [float(v) for v in re.findall(r"-?\d+", row.allowed.partition(" or ")[2])]
    assert is_legal(row, make(low)) == (ends[0] == "[" or low in also)
    assert is_legal(row, make(low + step))
    assert is_legal(row, make(low - step)) == (low - step in also)
    if math.isfinite(high):
        assert is_legal(row, make(high)) == (ends[1] == "]")
        assert is_legal(row, make(high - step))
        assert not is_legal(row, make(high + step))
    elif isinstance(make(low + step), float):
        assert is_legal(row, math.inf) == (ends[1] == "]")
    for value in also:
        assert is_legal(row, int(value))


@pytest.mark.parametrize("row", RANGED)
@pytest.mark.parametrize("wrong", [math.nan, "3", True, 1j, [math.nan], None])
def test_numbers_are_numbers(row, wrong):
    assert is_legal(row, wrong) == (wrong is None and row.default is None)


@pytest.mark.parametrize("row", [p for p in ROWS if p.values[0].allowed.startswith("{")])
def test_words_ignore_case_and_underscores(row):
    words = re.findall(r'"(\w+)"', row.allowed)
    assert row.default in words
    for word in words:
        for spelling in (word, word.upper(), word.title().replace("_", ""), f"_{word}"):
            assert row.read(spelling) == word
    assert not is_legal(row, "")
    assert not is_legal(row, 0)


@pytest.mark.parametrize("row", [p for p in ROWS if p.values[0].allowed == "bool"])
def test_flags_are_bools(row):
    for value in (True, False, np.True_, np.False_):
        assert row.read(value) is bool(value)
    for value in (0, 1.0, "true", None, np.int64(1)):
        assert not is_legal(row, value)


@pytest.mark.parametrize("row", LIMITED)
def test_what_has_no_effect_yet_is_refused(row):
    value = a_value_beyond(row)
    name = row.same_as or row.name
    assert any(
        line.startswith(f"{name}=") and "not available yet" in line for line in mistakes({row.name: value}, task=None)
    )


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("activation", ["rectifier", "Tanh"]),
        ("categorical_encoding", ["AUTO", "OneHotInternal"]),
        ("initial_weight_distribution", ["Uniform", "Normal", "UniformAdaptive"]),
        ("missing_values_handling", ["MeanImputation"]),
        ("train_samples_per_iteration", [-2, -1, 0, 1, 10**7]),
        ("hidden", [(), [1], (5, 4, 3, 2, 1, 1)]),
        ("hidden_dropout_ratios", [None, [0, 0]]),
        ("input_dropout_ratio", [0]),
        ("max_w2", [math.inf, 3.4028235e38, float(np.finfo(np.float32).max), np.finfo(np.float32).max]),
        ("mini_batch_size", [1]),
        ("stopping_rounds", [0, 5, 100]),
        ("stopping_metric", ["auto", "MSE", "mae"]),
        ("stopping_tolerance", [0, 0.01]),
        ("max_runtime_secs", [0, 0.5, 1e6]),
        ("callbacks", [None, [], [print]]),
        ("overwrite_with_best_model", [True, False]),
        ("classification_stop", [0, -1, -1.0, 0.1]),
        ("regression_stop", [1e-6, -1, 0.5]),
        ("n_jobs", [None, -1, 1, 64]),
        ("parallelism", ["auto", "Staleness", "TEAM"]),
        ("exchange_interval", [None, 1, 64]),
        ("storage", ["auto", "memory"]),
        ("random_state", [None, -1, 0, 2**63]),
        ("seed", [-1, 1234]),
        ("initial_weights", [[None, np.zeros((3, 2)), None], [[[0.0]], None, None]]),
        ("initial_biases", [(None, np.zeros(3), [1.0])]),
        ("sample_weight", ["w", np.ones(3)]),
        ("eval_set", [(np.ones((3, 1)), np.ones(3))]),
    ],
)
def test_available_today(name, values):
    for value in values:
        assert mistakes({name: value}) == []


# Values


def test_numpy_becomes_python():
    valid = validate(
        {"epochs": np.float32(0.5), "hidden": np.array([3, 4]), "l1": np.int8(0), "score_training_samples": np.int64(7),
         "standardize": np.False_, "loss": np.str_("Quadratic")},
        task="regression",
    )  # fmt: skip
    for name, value in {
        "epochs": 0.5,
        "hidden": (3, 4),
        "l1": 0.0,
        "score_training_samples": 7,
        "standardize": False,
    }.items():
        assert valid[name] == value
        assert type(valid[name]) is type(value)
    assert [type(h) for h in valid["hidden"]] == [int, int]
    assert type(valid["loss"]) is str


def test_canonical_values():
    valid = validate(
        {"random_state": -1, "max_w2": 3.4028235e38, "activation": "TANH", "momentum_ramp": 10**6}, task=None
    )
    assert valid["random_state"] is None
    assert valid["max_w2"] == math.inf
    assert valid["activation"] == "tanh"
    assert type(valid["momentum_ramp"]) is float
    assert TABLE["checkpoint_dir"].read(Path("a") / "b") == "a/b"
    assert TABLE["hidden_dropout_ratios"].read([0, 0.5]) == (0.0, 0.5)


def test_validation_is_idempotent_and_leaves_its_argument_alone():
    given = {"hidden": [3], "activation": "Tanh", "sample_weight": "w", "seed": 7}
    valid = validate(given, task="regression")
    assert given == {"hidden": [3], "activation": "Tanh", "sample_weight": "w", "seed": 7}
    assert validate(valid, task="regression") == valid
    assert valid["random_state"] == 7
    assert "seed" not in valid
    assert valid["sample_weight"] == "w"
    assert "offset" not in valid
    assert constructor_defaults()["hidden"] == (200, 200)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"hiden": [3]}, 'hiden=[3]: no such parameter; did you mean "hidden"?'),
        ({"Rate_Decay": 1.0}, 'Rate_Decay=1.0: no such parameter; did you mean "rate_decay"?'),
        ({"mw2": None}, 'mw2=None: no such parameter; did you mean "max_w2"?'),
        ({"rate": -1}, "rate=-1: must be float >= 0 (default 0.005)"),
        ({"rho": 1}, "rho=1: must be float in [0, 1) (default 0.99)"),
        ({"nfolds": 1}, "nfolds=1: must be int >= 2 or 0 (default 0)"),
        ({"stopping_rounds": 2.0}, "stopping_rounds=2.0: must be int >= 0 (default 5); write 2"),
        (
            {"hidden": {20}},
            "hidden=<set>: must be list of int >= 1 (default (200, 200)); even one value goes in a list",
        ),
        ({"hidden": None}, "hidden=None: must be list of int >= 1 (default (200, 200))"),
        ({"hidden": [20, 1.5]}, "hidden=[20, 1.5]: must be list of int >= 1 (default (200, 200)); entry 1 is 1.5"),
        ({"hidden": [2.0]}, "hidden=[2.0]: must be list of int >= 1 (default (200, 200)); entry 0 is 2.0; write 2"),
        ({"hidden": "20"}, 'hidden="20": must be list of int >= 1 (default (200, 200))'),
        (
            {"storage": "memry"},
            'storage="memry": must be {"auto", "memory", "disk", "stream"} (default "auto"); did you mean "memory"?',
        ),
        ({"standardize": 1}, "standardize=1: must be bool (default True)"),
        ({"client": 3, "storage": None}, 'storage=None: must be {"auto", "memory", "disk", "stream"} (default "auto")'),
        ({"checkpoint_dir": ""}, 'checkpoint_dir="": must be path or URL or None (default None)'),
        ({"custom_metric": 7}, "custom_metric=7: must be scorer or its name or None (default None)"),
        ({"l2": np.ones(3)}, "l2=<ndarray>: must be float >= 0 (default 0.0)"),
        ({"initial_biases": np.ones(3)}, "entry 0 is 1.0"),
        ({"initial_weights": [np.ones(3), None, None]}, "entry 0 is <ndarray>"),
        ({"seed": 1, "random_state": 2}, "seed=1, random_state=2: two names of one thing; leave out one of them"),
        ({"model_id": "m"}, 'model_id="m": not available yet: today only None'),
    ],
)
def test_message(given, expected):
    lines = mistakes(given)
    assert any(expected == line or (expected.startswith("entry") and line.endswith(expected)) for line in lines), lines


def test_numbers_too_large_for_a_float():
    (line,) = mistakes({"l1": 10**400})
    assert line.startswith("l1=1000")
    assert len(line) < 150


def test_all_mistakes_at_once_and_legal_ones_last():
    given = {
        "model_id": "m",
        "hiden": [3],
        "epochs": -1,
        "rho": 0,
        "activation": "rectifyer",
        "offset": "o",
    }
    lines = mistakes(given, task="classification")
    assert [line.split(":")[0] for line in lines] == [
        "hiden=[3]",
        "epochs=-1",
        'activation="rectifyer"',
        "adaptive_rate=True, rho=0.0",
        'offset="o"',
        'model_id="m"',
    ]
    assert ["not available yet" in line for line in lines] == [False] * 5 + [True]


def test_a_wrong_value_is_reported_once():
    assert len(mistakes({"distribution": "gausian", "loss": "absolute"}, task="classification")) == 2
    assert len(mistakes({"distribution": "gausian"}, task="classification")) == 1
    assert len(mistakes({"mini_batch_size": 0})) == 1


def test_error_survives_pickling():
    with pytest.raises(ParameterError) as caught:
        validate({"rate": -1, "epochs": "x"}, task=None)
    again = pickle.loads(pickle.dumps(caught.value))
    assert type(again) is ParameterError
    assert str(again) == str(caught.value)
    assert isinstance(again, ValueError)


# Conflicts: (names, task, n_classes, what conflicts, what does not)

CLS, REG, AE = "classification", "regression", "autoencoder"
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
# fmt: on


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


# Effective values


@pytest.mark.parametrize(
    ("given", "task", "n_classes", "distribution", "loss"),
    [
        ({}, CLS, 2, "bernoulli", "cross_entropy"),
        ({}, CLS, 3, "multinomial", "cross_entropy"),
        ({"loss": "quadratic"}, CLS, 2, "bernoulli", "quadratic"),
        ({}, REG, None, "gaussian", "quadratic"),
        ({"loss": "quadratic"}, REG, None, "gaussian", "quadratic"),
        ({"loss": "absolute"}, REG, None, "laplace", "absolute"),
        ({"loss": "quantile"}, REG, None, "quantile", "quantile"),
        ({"loss": "huber"}, REG, None, "huber", "huber"),
        ({"distribution": "laplace"}, REG, None, "laplace", "absolute"),
        ({"distribution": "quantile"}, REG, None, "quantile", "quantile"),
        ({"distribution": "huber"}, REG, None, "huber", "huber"),
        ({"distribution": "tweedie"}, REG, None, "tweedie", "automatic"),
        ({}, AE, None, "gaussian", "quadratic"),
    ],
)
def test_effective_distribution_and_loss(given, task, n_classes, distribution, loss):
    e = effective(constructor_defaults() | given, task=task, n_classes=n_classes)
    assert (e["distribution"], e["loss"]) == (distribution, loss)


@pytest.mark.parametrize(
    ("given", "task", "expected"),
    [
        (
            {},
            REG,
            {"categorical_encoding": "one_hot_internal", "n_jobs": None, "storage": "auto", "random_state": None},
        ),
        ({"categorical_encoding": "eigen"}, REG, {"categorical_encoding": "eigen"}),
        ({}, CLS, {"stopping_metric": "logloss"}),
        ({}, REG, {"stopping_metric": "deviance"}),
        ({}, AE, {"stopping_metric": "mse"}),
        ({"stopping_metric": "mae"}, REG, {"stopping_metric": "mae"}),
        ({"stopping_rounds": 0}, REG, {"stopping_metric": "deviance"}),
        ({}, REG, {"train_samples_per_iteration": -2, "score_each_iteration": False}),
        ({"reproducible": True}, REG, {"train_samples_per_iteration": -1, "score_each_iteration": True}),
        ({"reproducible": True, "train_samples_per_iteration": 7}, REG, {"train_samples_per_iteration": 7}),
        ({"hidden": (3, 2)}, REG, {"hidden_dropout_ratios": (0.0, 0.0)}),
        ({"hidden": (3,), "activation": DROP}, REG, {"hidden_dropout_ratios": (0.5,)}),
        ({"hidden": (3,), "activation": DROP, "hidden_dropout_ratios": (0.2,)}, REG, {"hidden_dropout_ratios": (0.2,)}),
        ({"hidden": ()}, REG, {"hidden_dropout_ratios": ()}),
        ({"use_all_factor_levels": False}, REG, {"use_all_factor_levels": False}),
        ({"use_all_factor_levels": False}, AE, {"use_all_factor_levels": True}),
        ({}, REG, {"fold_assignment": "auto", "overwrite_with_best_model": True}),
        ({"nfolds": 3}, REG, {"fold_assignment": "random", "overwrite_with_best_model": False}),
        ({"nfolds": 3, "fold_assignment": "modulo"}, REG, {"fold_assignment": "modulo"}),
    ],
)
def test_effective(given, task, expected):
    requested = constructor_defaults() | given
    e = effective(requested, task=task, n_classes=2 if task == CLS else None)
    assert expected.items() <= e.items()
    assert e.keys() == requested.keys()
    assert requested == constructor_defaults() | given


# Warnings


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


# Documents


def test_docs_file_is_the_table():
    path = Path(parameters.__file__).parents[2] / "docs" / "reference" / "parameters.md"
    if not path.exists():
        pytest.skip("installed without its docs")
    assert path.read_text() == parameters.document(), (
        "regenerate: python -m dask_dl.parameters > docs/reference/parameters.md"
    )


def test_document_names_every_row_once():
    own, _, _ = parameters.document().partition("## Names of other libraries")
    rows = re.findall(r"^\| `(\w+)` \|", own, re.MULTILINE)
    assert rows == list(TABLE)


def test_numpydoc_lists_the_constructors_parameters():
    lines = parameters.numpydoc().split("\n")
    assert lines[:3] == ["Parameters", "----------", "hidden : list of int >= 1, default=(200, 200)"]
    assert [line.split(" : ")[0] for line in lines[2:] if not line.startswith(" ")] == list(constructor_defaults())


def test_the_module_is_light():
    heavy = {"numpy", "pandas", "dask", "sklearn", "numba"}
    code = f"import sys, dask_dl.parameters; sys.exit(str({heavy} & sys.modules.keys() or ''))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""


@pytest.mark.parametrize("task", [CLS, REG])
@pytest.mark.parametrize("metric", [name for name, metric in METRICS.items() if metric.in_history])
def test_early_stopping_takes_what_is_measured_in_a_task(task, metric):
    given = {"stopping_metric": metric, "stopping_rounds": 3, "custom_metric": "r2"}
    if task in METRICS[metric].tasks:
        assert validate(given, task=task)["stopping_metric"] == metric
    else:
        with pytest.raises(ParameterError, match="this metric does not suit what is learned"):
            validate(given, task=task)
