"""A table to cross-validate on."""

from __future__ import annotations

import numpy as np
import pandas as pd

SMALL = {"hidden": (6,), "epochs": 2, "random_state": 1, "n_jobs": 2, "stopping_rounds": 0}
KEPT = {"keep_cross_validation_predictions": True, "keep_cross_validation_fold_assignment": True}
#: What a fold's training sees depends on nothing but its own rows.
ALONE = SMALL | {"overwrite_with_best_model": False, "reproducible": True, "score_training_samples": 0}


def make_table(n=240, seed=0):
    random = np.random.default_rng(seed)
    table = pd.DataFrame(random.normal(3, 2, (n, 3)), columns=list("abc"))
    table["level"] = random.choice(["u", "v", "w"], n)
    table["weight"] = random.choice([0.0, 0.5, 1.0, 2.0], n)
    table["fold"] = random.choice(["p", "q", "r"], n)
    table["y"] = table["a"] * 2 + table["b"] + random.normal(size=n)
    table["label"] = np.where(table["y"] > 10, "yes", "no")
    return table


TABLE = make_table()
INPUTS = ["a", "b", "c", "level"]
