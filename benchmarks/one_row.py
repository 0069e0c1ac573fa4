"""Milliseconds for the prediction of one row, as a service answers: an array, a pandas frame, and one with categories.

The ways take turns, ten calls each, on one thread of BLAS, so that all meet the same machine. scikit-learn's MLP of the
same size is the measure; it takes no categories.
"""

from __future__ import annotations

import time
import warnings
from statistics import median, quantiles

import numpy as np
import pandas as pd
from common import options, print_machine, print_table
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits

from dask_dl import DeepLearningClassifier, DeepLearningRegressor

N_ROWS, N_NUMBERS, N_CATEGORIES = 2000, 20, 8
#: Milliseconds, for the median of `predict` and of `predict_proba`.
TARGETS = {"array": 0.2, "pandas": 0.5}


def tables() -> tuple[np.ndarray, pd.DataFrame, pd.DataFrame]:
    """Numbers as an array and as a frame, and a frame with strings and categoricals beside fewer numbers."""
    random = np.random.default_rng(0)
    array = random.normal(size=(N_ROWS, N_NUMBERS))
    frame = pd.DataFrame(array, columns=[f"number {k}" for k in range(N_NUMBERS)])
    levels = {f"category {k}": random.choice([f"level {i}" for i in range(5 + k)], N_ROWS) for k in range(N_CATEGORIES)}
    mixed = frame.iloc[:, :6].assign(**levels)
    return array, frame, mixed.astype({f"category {k}": "category" for k in range(0, N_CATEGORIES, 2)})


def main() -> None:
    """Train, then time."""
    parsed = options(__doc__).parse_args()
    print_machine("scikit-learn", "pandas")
    array, frame, mixed = tables()
    labels, numbers = np.where(array[:, 0] > 0, "yes", "no"), array[:, 0] * 3
    small = {"hidden": (200, 200), "epochs": 1, "random_state": 1}
    rival = MLPClassifier((200, 200), max_iter=2, random_state=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        rival.fit(array, labels)
    of_arrays = DeepLearningClassifier(**small).fit(array, labels)
    of_frames = DeepLearningClassifier(**small).fit(frame, labels)
    of_mixed = DeepLearningClassifier(**small).fit(mixed, labels)
    of_numbers = DeepLearningRegressor(**small).fit(array, numbers)
    ways = {
        "scikit-learn, array": (rival, array, ""),
        "array": (of_arrays, array, "array"),
        "array, regressor": (of_numbers, array, "array"),
        f"pandas, {N_NUMBERS} numbers": (of_frames, frame, "pandas"),
        f"pandas, 6 numbers, {N_CATEGORIES} categories": (of_mixed, mixed, ""),
    }
    calls = {
        (way, name): (getattr(model, name), table)
        for way, (model, table, _) in ways.items()
        for name in ("predict", "predict_proba")
        if hasattr(model, name)
    }
    seconds: dict[tuple[str, str], list[float]] = {call: [] for call in calls}
    with threadpool_limits(1):
        for turn in range(10 if parsed.quick else 300):
            for call, (predict, table) in calls.items():
                for k in range(10):
                    row = table[(10 * turn + k) % N_ROWS :][:1]
                    began = time.perf_counter()
                    predict(row)
                    seconds[call].append(time.perf_counter() - began)
    base = median(seconds["scikit-learn, array", "predict"])
    rows = []
    for (way, name), took in seconds.items():
        low, *_, high = quantiles(took, n=10)
        target = TARGETS.get(ways[way][2])
        reached = "" if target is None else "yes" if median(took) * 1e3 <= target else "NO"
        figures = (f"{median(took) * 1e3:.3f}", f"{low * 1e3:.3f} to {high * 1e3:.3f}", f"{median(took) / base:.1f}")
        rows.append((way, name, *figures, "" if target is None else f"<= {target:g}", reached))
    print_table(("one row", "call", "ms", "eight in ten within", "times scikit-learn", "target", "reached"), rows)


if __name__ == "__main__":
    main()
