"""Held-out logloss of several replicas over that of one, at equal total rows: by the default momentum of averages, and plain.

Each replica is on an in-process worker of one thread; [50, 50], ADADELTA, forty averages, no stopping. Three real tables
(`real.py`), or digits of the demo. A ratio is of the medians over the seeds; in brackets the worst seed over the median of one.
The last table is of two workers with two threads each, from one to three epochs, as loss.
"""

from __future__ import annotations

import math
import warnings
from statistics import median
from typing import TYPE_CHECKING

import dask.dataframe as dd
from common import ALL_EPOCHS, options, print_machine, print_table, real_tables
from distributed import Client, LocalCluster
from quality import Problem, predict
from real import TABLES, Split
from rows import read_digits

from dask_dl import DeepLearningClassifier

if TYPE_CHECKING:
    from pathlib import Path

REPLICAS = (2, 4, 8)
AVERAGES = 40
#: `averaging_momentum`, by name.
MOMENTUM = {"default": None, "plain": 0.0}


def problems(folder: Path | None) -> dict[str, Problem]:
    """By name."""
    if folder is None:
        name, train, test = read_digits()
        return {name: Problem(Split(train, train[:0], test), "digit")}
    found = {}
    for name in ("mnist", "covtype", "adult"):
        rows, target = TABLES[name](folder)
        found[name] = Problem(Split.of(rows, has_validation=False), target)
    return found


def losses(problem: Problem, n_workers: int, seeds: range, n_threads: int = 1, epochs: int = 2, **given: object):
    """Held-out logloss, seed by seed."""
    n = len(problem.split.train)
    with (
        LocalCluster(
            n_workers=n_workers, threads_per_worker=n_threads, processes=False, dashboard_address=None
        ) as cluster,
        Client(cluster),
    ):
        frame = dd.from_pandas(problem.split.train, npartitions=4 * n_workers, sort=False)
        found = []
        for seed in seeds:
            model = DeepLearningClassifier(
                hidden=(50, 50),
                epochs=epochs,
                random_state=seed,
                train_samples_per_iteration=math.ceil(epochs * n / AVERAGES),
                score_duty_cycle=0.0,
                **ALL_EPOCHS,
                **given,
            )
            model.fit(frame, problem.target)
            found.append(problem.loss(predict(model, problem.split.test.drop(columns=problem.target))))
    return found


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--epochs", type=int, default=2, help="of all replicas together (2)")
    parser.add_argument("--seeds", type=int, default=5, help="how many (5)")
    arguments = parser.parse_args()
    seeds = range(2 if arguments.quick else arguments.seeds)
    warnings.simplefilter("ignore")  # of Dask too: the table is in the graph
    print_machine("dask", "distributed")
    tables = problems(None if arguments.quick else real_tables())
    lines: dict[int, list[str]] = {n: [f"{n}"] for n in REPLICAS}
    for problem in tables.values():
        one = median(losses(problem, 1, seeds, epochs=arguments.epochs))
        for n in REPLICAS:
            for momentum in MOMENTUM.values():
                found = losses(problem, n, seeds, epochs=arguments.epochs, averaging_momentum=momentum)
                lines[n].append(f"{median(found) / one:.2f} ({max(found) / one:.2f})")
    print_table(["replicas", *(f"{name}, {how}" for name in tables for how in MOMENTUM)], lines.values())
    print()
    rows = []
    for name, problem in tables.items():
        cells = [losses(problem, 2, seeds, 2, epochs) for epochs in (1, 2, 3)]
        rows.append([name, *(f"{median(found):.3f} ({max(found):.3f})" for found in cells)])
    print_table(["2 workers x 2 threads", "1 epoch", "2 epochs", "3 epochs"], rows)


if __name__ == "__main__":
    main()
