"""Searches on two threads and two workers: seconds beside separate fits, and halving beside the full grid."""

from __future__ import annotations

import tempfile
import time
import warnings

import dask.dataframe as dd
import pandas as pd
from common import ALL_EPOCHS, FIGURE, figure, options, print_machine, print_table, real_tables
from distributed import Client, LocalCluster
from sklearn.base import clone
from sklearn.model_selection import ParameterGrid

import dask_dl
from dask_dl import DeepLearningClassifier

SETTINGS = ALL_EPOCHS | {"random_state": 1, "verbose": False}
#: 20 candidates.
SPACE = {"hidden": [[50], [100], [50, 50], [100, 100], [200]], "l1": [0.0, 1e-4], "input_dropout_ratio": [0.0, 0.1]}
#: 27 candidates for halving: some learn slowly, some badly.
WIDE = {"hidden": [[32], [100], [200, 200]], "rho": [0.9, 0.99, 0.999], "input_dropout_ratio": [0.0, 0.2, 0.5]}


def seconds_of(work, *given, **more):
    began = time.monotonic()
    found = work(*given, **more)
    return time.monotonic() - began, found


def one_by_one(estimator, X, y, held):
    """Separate fits, one after the other, each on all threads; their best loss."""
    models = [clone(estimator).set_params(**chosen).fit(X, y, eval_set=held) for chosen in ParameterGrid(SPACE)]
    return min(model.metrics_["validation"]["logloss"] for model in models)


def main() -> None:
    """Print figures of several repetitions, taken in turns."""
    quick = options(str(__doc__)).parse_args().quick
    print_machine("scikit-learn")
    folder = real_tables()
    if folder is None:
        return
    warnings.simplefilter("ignore")
    table = pd.read_csv(folder / "covtype_20k.csv").sample(frac=1, random_state=1, ignore_index=True)
    y = table.columns[-1]
    table = table.astype({y: str})[: 3000 if quick else None]
    n = len(table) * 4 // 5
    train, held = table[:n], table[n:]
    estimator = DeepLearningClassifier(**SETTINGS, n_jobs=2, epochs=1 if quick else 5)
    clone(estimator).fit(train[:500], y, eval_set=held)  # compiles
    search = dask_dl.search
    threads, workers, losses, halving, gaps = [], [], [], [], []
    for _ in range(1 if quick else 3):
        alone, best = seconds_of(one_by_one, estimator, train, y, held)
        together, found = seconds_of(search, estimator, train, y, eval_set=held, space=SPACE)
        threads.append(together / alone)
        losses.append((best, found.best_score_))
        with (
            tempfile.TemporaryDirectory() as place,
            LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
            Client(cluster) as client,
        ):
            dd.from_pandas(train, npartitions=4).to_parquet(f"{place}/train")
            dd.from_pandas(held, npartitions=4).to_parquet(f"{place}/held")
            there = clone(estimator).set_params(client=client, n_jobs=None)
            tables = dd.read_parquet(f"{place}/train"), dd.read_parquet(f"{place}/held")
            search(there, tables[0], y, eval_set=tables[1], space={"hidden": [[16], [32]]})  # processes compile
            on_workers, _ = seconds_of(search, there, tables[0], y, eval_set=tables[1], space=SPACE)
            workers.append(on_workers / together)
        longer = clone(estimator).set_params(epochs=3 if quick else 18)
        whole, grid = seconds_of(search, longer, train, y, eval_set=held, space=WIDE)
        part, few = seconds_of(search, longer, train, y, eval_set=held, space=WIDE, method="halving")
        halving.append(part / whole)
        gaps.append(few.best_score_ / grid.best_score_)
    print_table(
        FIGURE,
        [
            figure("seconds of 20 candidates on 2 threads, over those of 20 fits", threads, max_value=0.6),
            figure("seconds of the same on 2 workers, over those on 2 threads", workers, max_value=1.1),
            figure("best logloss of the 20 fits", [mine for mine, _ in losses]),
            figure("best logloss of the search", [theirs for _, theirs in losses]),
            figure("seconds of halving over those of the full grid of 27", halving, max_value=0.34),
            figure("best logloss of halving over that of the grid", gaps, max_value=1.01),
        ],
    )


if __name__ == "__main__":
    main()
