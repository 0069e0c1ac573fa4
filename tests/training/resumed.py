"""A training that is broken off and gone on with."""

from __future__ import annotations

import tables

from dask_dl import DeepLearningRegressor


def make_table(n=600, seed=0):
    return tables.make_table(n, seed, noise=1.0).drop(columns=["w", "label"])


SETTINGS = {"hidden": (40, 30), "epochs": 12, "random_state": 3, "stopping_rounds": 0, "score_each_iteration": True}


def fit(table, folder=None, until=None, resume=False, **given):
    """Train; `until` so many rounds only, as if something had ended it then. What goes on is saved at its end only."""
    given = SETTINGS | {"checkpoint_interval": 1e6 if resume else 0.0} | given if folder else SETTINGS | given
    model = DeepLearningRegressor(**given, checkpoint_dir=None if folder is None else str(folder))
    stop = [lambda record: record["iterations"] >= until] if until else None
    return model.fit(table, "y", callbacks=stop, resume=resume)
