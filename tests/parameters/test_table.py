"""The table of parameters: what it says is what it enforces."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from parameters.rows import RANGE, RANGED, ROWS, documented_range, is_legal, mistakes

from dask_dl.parameters import RESTART, TABLE, constructor_defaults, validate

LIMITED = [pytest.param(row, id=name) for name, row in TABLE.items() if row.available != "all"]


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


# fmt: on
