"""A table of rare classes, the rows of it that a stratified sample has, and a look at the rows that trainings score."""

from __future__ import annotations

import numpy as np
import pandas as pd

from dask_dl.cluster.shard import Shard
from dask_dl.frame.order import keys_of

#: Settings of trainings that score 40 of the 1,160 rows that count, after every round.
SCORED = {
    "hidden": (3,), "epochs": 2, "random_state": 7, "n_jobs": 1, "standardize": False, "stopping_rounds": 0,
    "train_samples_per_iteration": 600, "score_each_iteration": True, "score_training_samples": 50,
    "score_validation_samples": 40, "score_validation_sampling": "stratified", "classification_stop": -1,
}  # fmt: skip
#: Rows of the classes a to d in the sample: of 1000, 150, 9 and 1. The last two get a row each, the others 38 together.
SIZES = [33, 5, 1, 1]
#: Rows that do not count: of a label that training never saw, without a label, of weight 0.
STRANGER, MISSING, WEIGHTLESS = "z", None, "a"


def labelled(seed, *, has_strangers=False):
    """Rows that tell their number, in 1024ths, in any order of labels."""
    labels = np.repeat(np.array(["a", "b", "c", "d"], object), [1000, 150, 9, 1])
    more = np.repeat(np.array([STRANGER, MISSING, WEIGHTLESS], object), [20 * has_strangers, 10, 30])
    weight = np.repeat([1.0, 0.0], [len(labels) + len(more) - 30, 30])
    table = pd.DataFrame({"label": np.append(labels, more), "w": weight}).sample(frac=1, random_state=seed)
    table.insert(0, "number", np.arange(len(table)) / 1024)
    return table.reset_index(drop=True)


def expected(table):
    """Numbers of the rows of the sample, of each class those with the least keys."""
    keys = keys_of(np.arange(len(table)), SCORED["random_state"], "validation sample")
    found = []
    for label, size in zip("abcd", SIZES, strict=True):
        rows = np.flatnonzero((table["label"] == label) & (table["w"] > 0))
        found += rows[np.argsort(keys[rows])[:size]].tolist()
    return sorted(found)


def look_at_scored_rows(monkeypatch):
    """List that gets the (numbers, classes) of the validation rows of every measurement, in this process."""
    seen, sample = [], Shard.sample

    def spy(shard, name, view):
        rows = list(sample(shard, name, view))
        if name == "validation":
            numbers = [number for part in rows for number in (part.dense[:, 0] * 1024).astype(int).tolist()]
            seen.append((numbers, [k for part in rows for k in part.target.astype(int).tolist()]))
        return rows

    monkeypatch.setattr(Shard, "sample", spy)
    return seen
