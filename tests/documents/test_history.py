"""Scoring events come back from files as they were measured."""

from __future__ import annotations

import math
from datetime import datetime

import msgspec

from dask_dl.documents.history import Event, events_of
from dask_dl.metrics.history import History
from dask_dl.metrics.table import columns_of


def test_records_come_back_as_they_were_measured():
    numbers = {f"training_{name}": k / 8 for k, name in enumerate(columns_of("regression"))}
    numbers |= {"training_rmse": None, "training_mae": "infinity"}
    event = {"timestamp": "2026-11-21 04:01:47", "duration": 0.5, "training_speed": None, "epochs": 1.0,
             "iterations": 2, "samples": 3, **numbers}  # fmt: skip
    events = events_of([msgspec.convert(event, Event)], "regression", has_validation=False)
    (record,) = History("regression", has_validation=False, events=events).records
    assert list(record) == list(event)  # early files know no other counters
    newer = msgspec.convert(event | {"communication": 0.5, "scoring_seconds": 0.25}, Event)
    assert events_of([newer], "regression", has_validation=False)[0].scoring_seconds == 0.25
    assert math.isnan(record["training_rmse"]) and record["training_mae"] == math.inf
    assert record["timestamp"] == event["timestamp"] and datetime.fromisoformat(record["timestamp"]).year == 2026
    event = msgspec.convert({name: event[name] for name in event if "r2" not in name}, Event)
    assert math.isnan(events_of([event], "regression", has_validation=False)[0].metrics["training"]["r2"])
