"""What flushing denormal numbers to zero gains: the same training with the processor's mode set and left alone.

Digits of the demo, hidden [200, 200], ADADELTA; speeds since the start of the training, interleaved.
"""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from statistics import median
from unittest import mock

import numpy as np
import pandas as pd
from common import ALL_EPOCHS, options, print_machine, print_table

from dask_dl import DeepLearningClassifier
from dask_dl.demo import make_digits
from dask_dl.node import replica


def train(rows: pd.DataFrame, epochs: float, *, flush: bool) -> DeepLearningClassifier:
    """A training that is scored after every epoch."""
    settings = {"random_state": 1, "score_each_iteration": True, "score_training_samples": 1_000, **ALL_EPOCHS}
    model = DeepLearningClassifier(hidden=(200, 200), epochs=epochs, **settings)
    left_alone = mock.patch.object(replica, "flushed", contextlib.nullcontext)
    with contextlib.nullcontext() if flush else left_alone:
        return model.fit(rows, "digit")


def main() -> None:
    arguments = options(__doc__).parse_args()
    n_rows, n_runs, epochs = (1_000, 1, 2) if arguments.quick else (8_000, 3, 5)
    print_machine()
    with tempfile.TemporaryDirectory() as folder:
        rows = pd.read_parquet(make_digits(Path(folder), n_train=n_rows, n_valid=1)[0])
    rows = rows[rows.columns[rows.nunique() > 1]]
    train(rows, 0.01, flush=True)  # compiles
    runs = []
    for k in range(n_runs):
        first = k % 2 == 0  # in turn, so that neither has the better half of every pair
        pair = {flush: train(rows, epochs, flush=flush) for flush in (first, not first)}
        runs.append((pair[True], pair[False]))

    def speed(which: int, epoch: int) -> float:
        return median(models[which].history_["training_speed"].iloc[epoch] for models in runs)

    print_table(
        ["epochs", "rows/s flushed", "rows/s left alone", "ratio"],
        [
            (epoch, f"{speed(0, epoch):,.0f}", f"{speed(1, epoch):,.0f}", f"{speed(0, epoch) / speed(1, epoch):.2f}")
            for epoch in range(1, epochs + 1)
        ],
    )
    flushed, alone = (np.concatenate([weight.ravel() for weight in model.coefs_]) for model in runs[0])
    losses = [model.history_["training_logloss"].iloc[-1] for model in runs[0]]
    print(
        f"\nTraining logloss {losses[0]:.6g} and {losses[1]:.6g}; weights differ by at most {abs(flushed - alone).max():.2g}."
    )


if __name__ == "__main__":
    main()
