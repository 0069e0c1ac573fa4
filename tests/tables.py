"""A table, and settings, that tests of every package share."""

from __future__ import annotations

import numpy as np
import pandas as pd

#: Of trainings whose history nobody reads: scored at their end. Forty scorings take ten times as long as a tiny training.
UNSCORED = {"score_duty_cycle": 0.0}


def make_table(n=2000, seed=0, noise=0.25):
    """Five numbers, a level and weights; a number and a label that follow from some of them, the number with noise."""
    random = np.random.default_rng(seed)
    X = random.normal(size=(n, 5))
    level = random.choice(["u", "v", "w"], n)
    score = X[:, 0] - X[:, 1] * X[:, 2] + (level == "u")
    return pd.DataFrame(X, columns=list("abcde")).assign(
        level=level,
        w=random.choice([0.0, 0.5, 2.0], n),
        y=score + random.normal(size=n) * noise,
        label=np.where(score > 0, "yes", "no"),
    )
