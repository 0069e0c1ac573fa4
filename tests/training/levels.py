"""A table with levels, gaps and a rare class."""

from __future__ import annotations

import numpy as np
import pandas as pd
from tables import UNSCORED

SETTINGS = UNSCORED | {"hidden": (16,), "epochs": 8, "random_state": 1, "n_jobs": 1, "stopping_rounds": 0}


def make_table(n=900, seed=0):
    """Numbers and levels with gaps, a number and a rare class that follow from them."""
    random = np.random.default_rng(seed)
    frame = pd.DataFrame({"a": random.normal(size=n), "b": random.exponential(size=n)})
    frame["few"] = random.choice(["u", "v", "w"], n)
    frame["many"] = [f"v{k:02}" for k in random.integers(0, 30, n)]
    score = frame["a"] + frame["b"] * (frame["few"] == "u") + (frame["many"] < "v10") + random.normal(size=n) / 4
    frame["y"] = score
    frame["label"] = np.where(score > np.quantile(score, 0.93), "rare", "usual")
    for name in ("a", "few", "many"):
        frame.loc[random.random(n) < 0.05, name] = None
    return frame


def rare(table):
    return table.drop(columns="y")
