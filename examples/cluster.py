"""Train on a Dask cluster, here one of two processes: only the line that makes the client differs on yours.

python examples/cluster.py [tcp://scheduler:8786]        open the dashboard it prints to watch the rounds
"""

from __future__ import annotations

import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import dask.dataframe as dd
from distributed import Client, LocalCluster
from sklearn.datasets import load_digits

from dask_dl import DeepLearningClassifier


def write_table(folder: Path) -> None:
    """Sixteen Parquet files, as they may lie on a disk that all workers see."""
    digits = load_digits(as_frame=True)
    table = digits.data.assign(digit=digits.target.astype(str)).sample(frac=1, random_state=1)
    for k in range(16):
        table[k::16].to_parquet(folder / f"{k:02}.parquet")


def main() -> None:
    with ExitStack() as stack:
        if len(sys.argv) > 1:
            client = stack.enter_context(Client(sys.argv[1]))
        else:
            cluster = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0")
            client = stack.enter_context(Client(stack.enter_context(cluster)))
        print("dashboard:", client.dashboard_link)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        write_table(folder)
        table = dd.read_parquet(folder)
        model = DeepLearningClassifier(hidden=(50, 50), epochs=20, random_state=1, verbose=True)
        model.fit(table, "digit")  # the active client's workers train; client= names another one
        wrong = float((model.predict(table) != table["digit"]).mean().compute())
        print(f"trained by {model.parameters_['n_jobs']} threads in {model.n_iter_} rounds; {wrong:.1%} misread")


if __name__ == "__main__":
    main()
