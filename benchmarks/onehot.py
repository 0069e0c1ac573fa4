"""What one-hot inputs gain over the same zeros and ones as dense columns: rows/s by number of levels.

Generated categories, hidden [64, 64], ADADELTA; each pair of trainings in turn, medians.
"""

from __future__ import annotations

from statistics import median

import numpy as np
import pandas as pd
from common import ALL_EPOCHS, options, print_machine, print_table

from dask_dl import DeepLearningClassifier

N_COLUMNS = 4


def make(n_rows: int, n_levels: int) -> tuple[pd.DataFrame, pd.DataFrame, pd.Series]:
    """(categories, the same as 0/1 columns, target): every level occurs, the target depends on some."""
    random = np.random.default_rng(n_levels)
    codes = np.stack([random.permutation(np.arange(n_rows) % n_levels) for _ in range(N_COLUMNS)], axis=1)
    categories = pd.DataFrame(codes, columns=[f"c{k}" for k in range(N_COLUMNS)]).astype("category")
    dense = pd.get_dummies(categories, dtype=np.float32)
    noise = random.normal(0, 0.5, n_rows)
    return categories, dense, pd.Series(np.sin(codes).sum(axis=1) + noise > 0)


def train(rows: pd.DataFrame, target: pd.Series, epochs: float) -> tuple[float, float]:
    """(rows/s of the training loop, training logloss)."""
    settings = {"standardize": False, "random_state": 1, "n_jobs": 1, **ALL_EPOCHS}
    model = DeepLearningClassifier(hidden=(64, 64), epochs=epochs, **settings).fit(rows, target)
    return tuple(model.history_[["training_speed", "training_logloss"]].iloc[-1])


def main() -> None:
    arguments = options(__doc__).parse_args()
    n_rows, n_runs, epochs, levels = (2_000, 1, 1, (10, 100)) if arguments.quick else (10_000, 5, 2, (10, 100, 1_000))
    print_machine("pandas")
    lines = []
    for n_levels in levels:
        categories, dense, target = make(n_rows, n_levels)
        train(categories, target, 0.01)  # compiles
        runs = [(train(categories, target, epochs), train(dense, target, epochs)) for _ in range(n_runs)]
        speeds = [median(run[way][0] for run in runs) for way in (0, 1)]
        losses = [runs[0][way][1] for way in (0, 1)]
        lines.append(
            (f"{N_COLUMNS} x {n_levels:,}", *(f"{speed:,.0f}" for speed in speeds), f"{speeds[0] / speeds[1]:.1f}",
             *(f"{loss:.3f}" for loss in losses))
        )  # fmt: skip
    ways = ["one-hot", "dense"]
    print_table(["columns x levels", *(f"rows/s {w}" for w in ways), "ratio", *(f"logloss {w}" for w in ways)], lines)


if __name__ == "__main__":
    main()
