"""A table with classes and a number."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest


@pytest.fixture(scope="module")
def table():
    """Numbers, texts, missing values, a class with three labels, and a number that depends on all of them."""
    random = np.random.default_rng(0)
    n = 400
    frame = pd.DataFrame(
        {"a": random.normal(size=n), "b": random.normal(5, 2, n), "c": random.choice(["x", "y", "z"], n)}
    )
    score = frame["a"] + (frame["c"] == "x") * 2 + random.normal(0, 0.3, n)
    frame["label"] = np.where(score > 1.5, "high", np.where(score > 0, "middle", "low"))
    frame["number"] = 100 + 20 * score
    frame.loc[::17, "b"] = np.nan
    frame.loc[::19, "c"] = None
    return frame
