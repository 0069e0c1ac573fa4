"""Permutation importance beside scikit-learn's, of the same estimator on the same rows: seconds, and how far they agree.

Covtype, 54 columns, three permutations each, hidden [64, 64]; all in turn. scikit-learn permutes a frame and predicts it anew
for each column and permutation.
"""

from __future__ import annotations

import time

import numpy as np
from common import FIGURE, figure, options, print_machine, print_table, real_tables
from real import TABLES
from sklearn.inspection import permutation_importance

from dask_dl import DeepLearningClassifier

N_REPEATS = 3


def main() -> None:
    parser = options(__doc__)
    arguments = parser.parse_args()
    print_machine("scikit-learn")
    folder = real_tables()
    if folder is None:
        print("needs covtype: set DASK_DL_DATA to the folder of the real tables")
        return
    rows, target = TABLES["covtype"](folder)
    rows = rows[:2_000] if arguments.quick else rows
    X, y = rows.drop(columns=target), rows[target].astype(str)
    model = DeepLearningClassifier(hidden=(64, 64), epochs=2, random_state=1, n_jobs=2).fit(X, y)
    model.permutation_importance(X[:500], y[:500], n_repeats=1)  # compiles
    ratios, per_prediction = [], []
    for _ in range(1 if arguments.quick else 3):
        began = time.perf_counter()
        own = model.permutation_importance(X, y, n_repeats=N_REPEATS)
        ours, began = time.perf_counter() - began, time.perf_counter()
        theirs = permutation_importance(model, X, y, scoring="neg_log_loss", n_repeats=N_REPEATS, random_state=0)
        other, began = time.perf_counter() - began, time.perf_counter()
        model.predict_proba(X)
        once = time.perf_counter() - began
        ratios.append(other / ours)
        per_prediction.append(ours / (len(own) * N_REPEATS * once))
    print(f"{len(X):,} rows, {len(own)} columns, {N_REPEATS} permutations each: {ours:.2f} s\n")
    lines = [
        figure("times scikit-learn", ratios),
        figure("seconds of a permutation over those of predict_proba", per_prediction),
    ]
    print_table(FIGURE, lines)
    means = dict(zip(X, theirs.importances_mean, strict=True))
    pairs = np.array([(row, means[name]) for name, row in own["importance"].items()])
    print(f"\ncorrelation of the importances: {np.corrcoef(pairs.T)[0, 1]:.4f}")


if __name__ == "__main__":
    main()
