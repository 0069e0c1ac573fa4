"""Checks of parameters: all mistakes at once, each with a way out, and the values in effect."""

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest
from parameters.rows import AE, CLS, REG, mistakes

from dask_dl.errors import ParameterError
from dask_dl.parameters import constructor_defaults, effective, validate


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


DROP = "rectifier_with_dropout"


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


def test_the_module_is_light():
    heavy = {"numpy", "pandas", "dask", "sklearn", "numba"}
    code = f"import sys, dask_dl.parameters; sys.exit(str({heavy} & sys.modules.keys() or ''))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""
