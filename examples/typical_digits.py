"""Find the most typical and the ugliest handwritten digits: those that an autoencoder gives back best and worst.

python examples/typical_digits.py [PICTURE]        typical_digits.png by default; MNIST is read from DASK_DL_DATA, and
without it the images are the 1,797 small ones of scikit-learn
"""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from sklearn.datasets import load_digits

from dask_dl import DeepLearningAutoEncoder

N_SHOWN = 12  #: digits of each kind
N_CODES = 2_000  #: digits whose codes are drawn


def images() -> tuple[pd.DataFrame, pd.Series]:
    """Gray values, a column for each pixel, and which digits they are."""
    folder = os.environ.get("DASK_DL_DATA")
    if folder:
        rows = pd.read_csv(Path(folder) / "mnist_10k.csv.gz", header=None)
        pixels, digit = rows.iloc[:, :-1], rows.iloc[:, -1]
    else:
        pixels, digit = load_digits(return_X_y=True, as_frame=True)
    return pixels.copy(), digit.astype(str).rename("digit")


def draw(model: DeepLearningAutoEncoder, pixels: pd.DataFrame, digit: pd.Series, order: np.ndarray, path: str) -> None:
    """Digits and below them what the network makes of them, the most typical ones left; and codes of some."""
    figure = plt.figure(figsize=(13, 4), layout="constrained")
    left, middle, right = figure.subfigures(1, 3, width_ratios=(3, 3, 4))
    side = math.isqrt(pixels.shape[1])
    kinds = ((left, order[:N_SHOWN], "most typical"), (middle, order[-N_SHOWN:][::-1], "ugliest"))
    for part, places, title in kinds:
        rows = pixels.iloc[places]
        pairs = zip(rows.to_numpy(), model.reconstruct(rows).to_numpy(), strict=True)
        tiles = [np.vstack([image.reshape(side, side) for image in pair]) for pair in pairs]
        per_line = N_SHOWN // 2
        lines = [np.hstack(tiles[k : k + per_line]) for k in range(0, N_SHOWN, per_line)]
        ax = part.subplots()
        ax.imshow(np.vstack(lines), cmap="gray_r", vmin=0, vmax=pixels.to_numpy().max())
        ax.set(xticks=[], yticks=[], title=f"{title}, and as given back")
    model.plot_codes(pixels[:N_CODES], color=digit[:N_CODES], ax=right.subplots())
    figure.savefig(path, dpi=56)


def main() -> None:
    pixels, digit = images()
    model = DeepLearningAutoEncoder(
        hidden=(200, 20, 200), activation="tanh", epochs=10, mini_batch_size=8, ignore_const_cols=False, random_state=1
    ).fit(pixels)
    errors = model.anomaly(pixels)
    order = np.argsort(errors.to_numpy())
    print(f"mean squared error: {errors.mean():.4f}")
    for name, places in (("most typical", order[:N_SHOWN]), ("ugliest", order[-N_SHOWN:][::-1])):
        print(f"{name}: {', '.join(digit.iloc[places])}")
    draw(model, pixels, digit, order, sys.argv[1] if len(sys.argv) > 1 else "typical_digits.png")


if __name__ == "__main__":
    main()
