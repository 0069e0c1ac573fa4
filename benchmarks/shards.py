"""Fixed shards on two worker processes of one thread each, beside a shard for each worker: seconds of a fit, and its loss."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import dask.dataframe as dd
import pandas as pd
from common import print_machine, print_table
from distributed import Client, LocalCluster
from sklearn.datasets import make_classification

from dask_dl import DeepLearningClassifier

SETTINGS = {
    "hidden": (200, 200), "epochs": 4, "random_state": 1, "stopping_rounds": 0, "overwrite_with_best_model": False,
}  # fmt: skip
WAYS = {"a shard for each worker": {}} | {
    f"reproducible, {n} shards": {"reproducible": True, "n_shards": n} for n in (2, 4)
}


def main() -> None:
    """Print a row for every way and repetition."""
    print_machine()
    X, y = make_classification(20_000, 100, n_informative=40, n_classes=5, n_clusters_per_class=3, random_state=0)
    table = pd.DataFrame(X.astype("f4")).rename(columns=lambda k: f"x{k}").assign(y=y.astype(str))
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for k in range(16):
            table.iloc[k * 1000 : (k + 1) * 1000].to_parquet(Path(folder) / f"{k:02}.parquet")
        options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": ":0", "memory_limit": "3GiB"}
        with LocalCluster(**options) as cluster, Client(cluster) as client:
            DeepLearningClassifier(**SETTINGS | {"epochs": 0.1}, client=client).fit(dd.read_parquet(folder), "y")
            for _ in range(2):
                for way, given in WAYS.items():
                    began = time.monotonic()
                    model = DeepLearningClassifier(**SETTINGS | given, client=client)
                    model.fit(dd.read_parquet(folder), "y", eval_set=table.iloc[16_000:])
                    loss = model.history_["validation_logloss"].iloc[-1]
                    rows.append((way, f"{time.monotonic() - began:.1f}", f"{loss:.3f}"))
    print_table(("way", "fit, s", "validation logloss"), rows)


if __name__ == "__main__":
    main()
