"""Tables and settings of the tests of clusters."""

from __future__ import annotations

import dask.dataframe as dd
import numpy as np
import pandas as pd

#: Train the epochs asked for, in rounds of a known size, on one thread.
PLAIN = {
    "hidden": (20, 10),
    "epochs": 4,
    "random_state": 1,
    "n_jobs": 1,
    "stopping_rounds": 0,
    "regression_stop": -1,
    "classification_stop": -1,
    "overwrite_with_best_model": False,
}


def make_table(n=2000, seed=0):
    random = np.random.default_rng(seed)
    X = random.normal(size=(n, 5))
    level = random.choice(["u", "v", "w"], n)
    score = X[:, 0] - X[:, 1] * X[:, 2] + (level == "u")
    return pd.DataFrame(X, columns=list("abcde")).assign(
        level=level,
        w=random.choice([0.0, 0.5, 2.0], n),
        y=score + random.normal(size=n) / 4,
        label=np.where(score > 0, "yes", "no"),
    )


def parted(table, n=7):
    return dd.from_pandas(table, npartitions=n)
