"""Values by kind: what is legal of numbers, words and flags, and their canonical form."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
from parameters.rows import RANGED, ROWS, is_legal

from dask_dl.parameters import TABLE, validate


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
