"""Trials: on rows from all over the table, they say how long a training takes."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
from preflight.tables import SMALL, found, table

from dask_dl import check
from dask_dl.preflight.trial import sample_rows


def test_the_sample_is_the_first_rows_of_partitions_from_all_over_the_table():
    scan = SimpleNamespace(rows=(0, *[5] * 40), unlabelled=(0, 5, *[1] * 39), sizes=(100,) * 41, n_rows=200)
    chosen = sample_rows(scan)
    assert [*chosen] == [*range(2, 33, 4)] and set(chosen.values()) == {5}  # neither empty nor without any target
    large = SimpleNamespace(rows=(10**6, 3), unlabelled=(), sizes=(16 * 10**6, 48), n_rows=10**6 + 3)
    assert sample_rows(large) == {0: 2**14, 1: 3}
    wide = SimpleNamespace(rows=(1000,), unlabelled=(), sizes=(1000 * 2**20,), n_rows=1000)
    assert sample_rows(wide) == {0: 32}


def test_a_trial_that_diverges_is_a_warning():
    report = check(table(), "y", **SMALL, adaptive_rate=False, rate=1e30, standardize=False)
    assert "a trial on 300 rows failed" in report.of("warning")[-1].text


def test_the_time_counts_balanced_rows_and_the_limit(monkeypatch):
    frame = table().drop(columns="y").assign(label=np.where(np.arange(300) < 30, "rare", "usual"))
    report = check(frame, "label", **SMALL, balance_classes=True, max_runtime_secs=1e-9)
    text = found(report, "note", "the training takes").text
    assert "2 epochs of 540 rows" in text and "max_runtime_secs ends it after" in text
