"""Find the heartbeats that are unlike the others: 20 of them are learned, and three of 23 others are anomalies.

python examples/ecg.py [PICTURE]        ecg.png by default; the tables are read from DASK_DL_DATA, or from H2O's bucket
"""

from __future__ import annotations

import os
import sys

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt

from dask_dl import DeepLearningAutoEncoder

FOLDER = os.environ.get("DASK_DL_DATA", "https://h2o-public-test-data.s3.amazonaws.com/smalldata/anomaly")
N_DISCORDS = 3  #: heartbeats with an anomaly, the last ones of the test table


def draw(model: DeepLearningAutoEncoder, beats: pd.DataFrame, most: np.ndarray, path: str) -> None:
    """Errors of all heartbeats, and those with the largest as they are and as they are given back."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 3.8), layout="constrained", width_ratios=(2, 3))
    model.plot_anomaly(beats, quantile=0.87, ax=left)
    right.plot(beats.drop(index=most).to_numpy().T, color="0.85", linewidth=1)
    given_back = model.reconstruct(beats.loc[most]).to_numpy()
    for k, (row, expected) in enumerate(zip(most, given_back, strict=True)):
        right.plot(beats.loc[row], color=f"C{k}", label=f"heartbeat {row}")
        right.plot(expected, color=f"C{k}", linestyle=":")
    right.set(xlabel="point of time", title="most unusual ones; dotted: as the network gives them back")
    right.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(path, dpi=72)


def main() -> None:
    train, test = (pd.read_csv(f"{FOLDER}/ecg_discord_{part}.csv", header=None) for part in ("train", "test"))
    model = DeepLearningAutoEncoder(
        hidden=(50, 20, 50), activation="tanh", epochs=100, ignore_const_cols=False, reproducible=True, random_state=1
    )
    model.fit(train)
    errors = model.anomaly(test).sort_values(ascending=False)
    print(errors.head(2 * N_DISCORDS).to_string())
    most = np.sort(errors.index[:N_DISCORDS])
    print(f"the {N_DISCORDS} most unusual of {len(test)} heartbeats: {', '.join(map(str, most))}")
    draw(model, test, most, sys.argv[1] if len(sys.argv) > 1 else "ecg.png")


if __name__ == "__main__":
    main()
