"""Parameters and records as JSON, and back."""

from __future__ import annotations

import json
import math

import numpy as np

from dask_dl.checkpoint.plain import plain, unplain


def test_parameters_come_back_from_strict_json():
    given = {"hidden": (5, 3), "epochs": math.inf, "rate": 0.5, "activation": "tanh", "offset": None, "flag": True}
    text = json.dumps(plain(given), allow_nan=False)
    assert unplain(json.loads(text)) == given


def test_what_json_does_not_know_is_a_list_null_or_a_word():
    record = {"loss": math.nan, "nested": {"start": (np.arange(3), -math.inf)}}
    assert plain(record) == {"loss": None, "nested": {"start": [[0, 1, 2], "infinity"]}}
