"""The table of metrics: parameters take their names from it, and each has its direction."""

from __future__ import annotations

import math

import pytest

from dask_dl import parameters
from dask_dl.metrics.table import METRICS, TABLE, is_better


def test_every_metric_of_a_history_may_drive_stopping():
    row = parameters.TABLE["stopping_metric"]
    for metric in TABLE:
        if metric.in_history:
            assert row.read(metric.name) == metric.name and row.is_available(metric.name)
        else:
            with pytest.raises(ValueError):  # noqa: PT011  # the check of parameters says the rest
                row.read(metric.name)


def test_better_is_said_of_numbers_only_and_in_the_direction_of_the_metric():
    assert is_better("r2", 0.6, 0.5) and is_better("mse", 0.5, 0.6)
    pairs = ((math.nan, 0.5), (0.5, math.nan), (0.5, 0.5))
    assert not any(is_better(name, a, b) for name in METRICS for a, b in pairs)
