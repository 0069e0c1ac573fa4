"""Partial dependence of covtype, repeated, hidden [200, 200]: rows x points a second over the rows a second of `predict_proba`.

Two columns of 54, 20 points each, in a pandas frame. Beside it scikit-learn's `partial_dependence` of the same estimator and
points, which predicts the whole frame for each, and ours over as many partitions of Dask as threads. All take turns.
"""

from __future__ import annotations

import time
from statistics import median

import dask
import dask.dataframe as dd
import numpy as np
from common import ALL_EPOCHS, FIGURE, figure, options, print_machine, print_table
from evaluate import HIDDEN, tables
from sklearn.inspection import partial_dependence

from dask_dl import DeepLearningClassifier

COLUMNS, N_POINTS = 2, 20
OURS, LAZY, SKLEARN, PREDICT = "partial_dependence", "partial_dependence, Dask", "scikit-learn", "predict_proba"
#: Rows x points a second over the rows a second of `predict_proba`, at least.
TARGET = 1.0


def main() -> None:
    """Train a little, then time the answers."""
    parser = options(__doc__)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    n_rows, n_turns = (20_000, 2) if arguments.quick else (100_000, 7)
    print_machine("scikit-learn", "dask")
    X, y = tables(n_rows)
    X = X.astype(np.float64)  # scikit-learn refuses whole numbers
    model = DeepLearningClassifier(hidden=HIDDEN, epochs=1, random_state=1, n_jobs=arguments.threads, **ALL_EPOCHS)
    model.fit(X[:20_000], y[:20_000])
    columns = X.columns[:COLUMNS].tolist()
    lazy = dd.from_pandas(X, npartitions=arguments.threads)
    given = {column: model.partial_dependence(X, column, grid_resolution=N_POINTS).grid_values[0] for column in columns}
    ways = {
        PREDICT: lambda: model.predict_proba(X),
        OURS: lambda: model.partial_dependence(X, columns, custom_values=given),
        LAZY: lambda: model.partial_dependence(lazy, columns, custom_values=given),
        SKLEARN: lambda: [
            partial_dependence(model, X, [column], custom_values={column: given[column]}, method="brute")
            for column in columns
        ],
    }
    for mine, other in zip(ways[OURS](), ways[SKLEARN](), strict=True):
        # scikit-learn adds float32 up in float32.
        assert np.abs(mine.average - other["average"]).max() < 1e-4, "the answers differ"
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    with dask.config.set(scheduler="threads", num_workers=arguments.threads):
        for _ in range(n_turns):
            for name, way in ways.items():
                began = time.perf_counter()
                way()
                seconds[name].append(time.perf_counter() - began)
    n_answers = {name: n_rows * (1 if name == PREDICT else N_POINTS * COLUMNS) for name in ways}
    speeds = {name: [n_answers[name] / taken for taken in turns] for name, turns in seconds.items()}
    print_table(["", "rows x points/s"], [[name, f"{median(speed):,.0f}"] for name, speed in speeds.items()])
    ratios = {
        f"{OURS} over {PREDICT}": (OURS, PREDICT, TARGET),
        f"{LAZY}, over {PREDICT}": (LAZY, PREDICT, None),
        f"{OURS} over {SKLEARN}": (OURS, SKLEARN, None),
    }
    print()
    print_table(
        FIGURE,
        [
            figure(name, [a / b for a, b in zip(speeds[over], speeds[under], strict=True)], min_value=least)
            for name, (over, under, least) in ratios.items()
        ],
    )


if __name__ == "__main__":
    main()
