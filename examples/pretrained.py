"""Learn from few labels: an autoencoder learns all images, and a classifier begins with its layers.

python examples/pretrained.py [SEEDS]        5 by default; MNIST is read from DASK_DL_DATA, and without it the images are
the 1,797 small ones of scikit-learn
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from dask_dl import DeepLearningAutoEncoder, DeepLearningClassifier

N_LABELS = (100, 200, 500)
NETWORK = {
    "hidden": (200, 50),
    "activation": "tanh",
    "mini_batch_size": 8,
    "standardize": False,
    "ignore_const_cols": False,
}


def images() -> tuple[pd.DataFrame, pd.Series]:
    """Gray values from 0 to 1, a column for each pixel, and which digits they are."""
    folder = os.environ.get("DASK_DL_DATA")
    if folder:
        rows = pd.read_csv(Path(folder) / "mnist_10k.csv.gz", header=None)
        pixels, digit = rows.iloc[:, :-1], rows.iloc[:, -1]
    else:
        pixels, digit = load_digits(return_X_y=True, as_frame=True)
    gray = pixels.to_numpy(np.float32)
    return pd.DataFrame(gray / gray.max()).rename(columns="pixel {}".format), digit.astype(str)


def accuracies(pixels: pd.DataFrame, digit: pd.Series, seed: int) -> dict[int, tuple[float, float]]:
    """Accuracy on a fifth of the rows, which nobody has seen, for each number of labels: alone, and pretrained."""
    X, X_test, y, y_test = train_test_split(pixels, digit, test_size=0.2, stratify=digit, random_state=seed)
    autoencoder = DeepLearningAutoEncoder(**NETWORK, epochs=10, input_dropout_ratio=0.2, random_state=seed).fit(X)
    found = {}
    for n in N_LABELS:
        X_few, _, y_few, _ = train_test_split(X, y, train_size=n, stratify=y, random_state=seed)
        few = {**NETWORK, "epochs": 100, "random_state": seed}
        alone = DeepLearningClassifier(**few).fit(X_few, y_few)
        begun = DeepLearningClassifier(**few, pretrained_autoencoder=autoencoder).fit(X_few, y_few)
        found[n] = alone.score(X_test, y_test), begun.score(X_test, y_test)
    return found


def main() -> None:
    pixels, digit = images()
    seeds = range(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
    found = [accuracies(pixels, digit, seed) for seed in seeds]
    print(f"accuracy on {len(pixels) // 5:,} images, {len(seeds)} seeds: mean, and least to largest")
    for n in N_LABELS:
        for name, values in zip(("alone", "pretrained"), np.transpose([one[n] for one in found]), strict=True):
            print(f"{n:>4} labels, {name:<10}  {values.mean():.3f}, {values.min():.3f} to {values.max():.3f}")


if __name__ == "__main__":
    main()
