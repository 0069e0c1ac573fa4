"""Which network for images of digits? A grid, eight random parameters, halving, and more epochs for the best of all.

python examples/grid_search.py [FOLDER]   search-parameters.png, search-parallel.png and the folder search/

The images are MNIST's from DASK_DL_DATA where that is a folder, else scikit-learn's small ones.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import loguniform, uniform

from dask_dl import DeepLearningClassifier, GridSearch, prepare

GRID = {"hidden": [[32, 32], [32, 16, 8], [100]], "l1": [1e-4, 1e-3]}
EIGHT = {
    "hidden": [[50], [100], [200], [50, 50], [100, 100]],
    "activation": ["rectifier", "tanh", "maxout"],
    "mini_batch_size": [1, 8, 32],
    "input_dropout_ratio": [0.0, 0.1, 0.2],
    "l1": loguniform(1e-7, 1e-4),
    "l2": loguniform(1e-7, 1e-4),
    "rho": uniform(0.95, 0.049),
    "epsilon": [1e-10, 1e-8, 1e-6],
}


def digits() -> pd.DataFrame:
    """Images of digits, a row each; the last column is the digit."""
    folder = os.environ.get("DASK_DL_DATA")
    if folder:
        table = pd.read_csv(Path(folder) / "mnist_10k.csv.gz", header=None)
    else:
        from sklearn.datasets import load_digits

        images = load_digits()
        table = pd.DataFrame(np.column_stack([images.data, images.target]))
    table.columns = [*(f"p{k}" for k in range(table.shape[1] - 1)), "digit"]
    return table.astype({"digit": str}).sample(frac=1, random_state=1, ignore_index=True)


def main() -> None:
    place = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    table = digits()
    n = len(table) * 4 // 5
    estimator = DeepLearningClassifier(epochs=9, random_state=1, stopping_rounds=0, verbose=False)
    with prepare(table[:n], "digit", eval_set=table[n:], random_state=1) as data:  # encoded once for all of them
        grid = GridSearch(estimator, GRID, metric="misclassification").fit(data)
        print(grid.leaderboard_[["hidden", "l1", "misclassification", "logloss", "seconds"]].round(4).to_string())
        found = GridSearch(
            estimator, EIGHT, method="halving", max_models=18, metric="misclassification", recovery_dir=place / "search"
        ).fit(data)
        print(f"\n{found.leaderboard_[[*EIGHT, 'misclassification', 'epochs', 'seconds']].round(6).to_string()}")
        found.plot_parameters().savefig(place / "search-parameters.png", dpi=72)
        found.plot_parallel_coordinates().figure.savefig(place / "search-parallel.png", dpi=72)
        best = min(grid, found, key=lambda search: search.best_score_).best_model_
        before = best.metrics_["validation"]["misclassification"]
        best.set_params(epochs=27).fit(data, checkpoint=best)
    print(f"\nthe best: {before:.4f}; after 18 more epochs: {best.metrics_['validation']['misclassification']:.4f}")


if __name__ == "__main__":
    main()
