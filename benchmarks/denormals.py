"""What flushing denormal numbers to zero gains: the same training with the processor's mode set and left alone.

Digits of the demo, hidden [200, 200], ADADELTA; medians of seeds, interleaved.
"""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
from common import ALL_EPOCHS, options, print_machine, print_table

from dask_dl import DeepLearningClassifier
from dask_dl.demo import make_digits
from dask_dl.node import replica


def train(rows: pd.DataFrame, epochs: float, seed: int, *, flush: bool) -> pd.DataFrame:
    """History of a training that is scored after every epoch."""
    each_epoch = {"train_samples_per_iteration": 0, "score_each_iteration": True, "score_training_samples": 1_000}
    model = DeepLearningClassifier(
        hidden=(200, 200), epochs=epochs, random_state=seed, n_jobs=1, **each_epoch, **ALL_EPOCHS
    )
    left_alone = mock.patch.object(replica, "flushed", contextlib.nullcontext)
    with contextlib.nullcontext() if flush else left_alone:
        return model.fit(rows, "digit").history_


def epoch_speeds(history: pd.DataFrame) -> np.ndarray:
    """Rows per second within every epoch; the history has them since the start."""
    samples = history["samples"].to_numpy()
    seconds = np.append(0, samples[1:] / history["training_speed"].to_numpy()[1:])
    return np.diff(samples) / np.diff(seconds)


def main() -> None:
    arguments = options(__doc__).parse_args()
    n_rows, seeds, epochs = (1_000, (1,), 2) if arguments.quick else (8_000, (1, 2, 3, 4, 5), 5)
    print_machine()
    with tempfile.TemporaryDirectory() as folder:
        rows = pd.read_parquet(make_digits(Path(folder), n_train=n_rows, n_valid=1)[0])
    rows = rows[rows.columns[rows.nunique() > 1]]
    train(rows, 0.01, 0, flush=True)  # compiles
    runs = {True: [], False: []}
    for seed in seeds:
        first = seed % 2 == 0  # in turn, so that neither has the better half of every pair
        for flush in (first, not first):
            runs[flush].append(train(rows, epochs, seed, flush=flush))

    flushed, alone = (np.median([epoch_speeds(history) for history in runs[flush]], axis=0) for flush in (True, False))
    losses = [
        np.median([history["training_logloss"].to_numpy()[1:] for history in runs[flush]], axis=0)
        for flush in (True, False)
    ]
    print_table(
        ["epoch", "rows/s flushed", "rows/s left alone", "ratio", "logloss flushed", "logloss left alone"],
        [
            (k + 1, f"{a:,.0f}", f"{b:,.0f}", f"{a / b:.2f}", f"{c:.4f}", f"{d:.4f}")
            for k, (a, b, c, d) in enumerate(zip(flushed, alone, *losses, strict=True))
        ],
    )


if __name__ == "__main__":
    main()
