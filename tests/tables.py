"""A table, and settings, that tests of every package share."""

from __future__ import annotations

from collections import Counter

import dask.dataframe as dd
import numpy as np
import pandas as pd

#: Of trainings whose history nobody reads: scored at their end. Forty scorings take ten times as long as a tiny training.
UNSCORED = {"score_duty_cycle": 0.0}


def make_table(n=2000, seed=0, noise=0.25, *, gaps=0.0, labels=("no", "yes")):
    """Five numbers, a level and weights; a number and a label that follow from some of them, the number with noise.

    `gaps` is the share of rows that lack b, and of those that lack the level; labels are in the order of the number.
    """
    random = np.random.default_rng(seed)
    X = random.normal(size=(n, 5))
    level = random.choice(["u", "v", "w"], n)
    score = X[:, 0] - X[:, 1] * X[:, 2] + (level == "u")
    table = pd.DataFrame(X, columns=list("abcde")).assign(
        level=level,
        w=random.choice([0.0, 0.5, 2.0], n),
        y=score + random.normal(size=n) * noise,
        label=np.array(labels)[np.digitize(score, np.arange(1 - len(labels) / 2, len(labels) / 2))],
    )
    for name in ("b", "level") if gaps else ():
        table.loc[random.random(n) < gaps, name] = None
    return table


def unread(table, n_times=0):
    """A lazy table whose partitions may be read so many times, and no more."""
    n_read = Counter()

    def read(k):
        n_read[k] += 1
        assert n_read[k] <= n_times, "the table was read"
        return table

    return dd.from_map(read, [0], meta=table[:0])
