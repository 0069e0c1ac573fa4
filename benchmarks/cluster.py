"""Two worker processes of one thread each against one: rows per second, time to a loss, cost of a round, cost of a death."""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
import threading
import time
import warnings
from pathlib import Path
from statistics import median

import dask.dataframe as dd
import numpy as np
from common import ALL_EPOCHS, FIGURE, figure, options, print_machine, print_table
from distributed import Client, LocalCluster, wait

from dask_dl import DeepLearningClassifier
from dask_dl.cluster.dask_trainer import DaskTrainer
from dask_dl.cluster.tables import Table
from dask_dl.demo import make_digits
from dask_dl.errors import DaskDLWarning

SETTINGS = ALL_EPOCHS | {"hidden": (200, 200), "random_state": 1}
#: Of this network on the digits.
N_WEIGHTS = 784 * 200 + 200 * 200 + 200 * 10 + 410


@contextlib.contextmanager
def processes(n: int):
    """A client of n workers of one thread each."""
    with (
        LocalCluster(n_workers=n, threads_per_worker=1, dashboard_address=":0", memory_limit="4GiB") as cluster,
        Client(cluster) as client,
    ):
        yield client


def fitted(client, folder: Path, valid: Path, **given) -> DeepLearningClassifier:
    model = DeepLearningClassifier(**SETTINGS | given, client=client)
    return model.fit(dd.read_parquet(folder), "digit", eval_set=dd.read_parquet(valid))


def seconds_to(model, loss: float) -> float:
    """Training seconds until the validation loss was reached; infinity when it was not."""
    history = model.history_
    reached = history[history["validation_logloss"] <= loss]
    return float(reached["duration"].iloc[0] - history["duration"].iloc[1]) if len(reached) else float("inf")


def paired(client_1, client_2, folder: Path, valid: Path, n_pairs: int, epochs: float) -> list[tuple[str, ...]]:
    """Both in turn, so that a noisy moment of the machine hits both."""
    speeds, losses, times = [], [], []
    for _ in range(n_pairs):
        models = [fitted(client, folder, valid, epochs=epochs, score_interval=0.5) for client in (client_1, client_2)]
        one, two = (float(model.history_["training_speed"].iloc[-1]) for model in models)
        speeds.append((one, two, two / one))
        losses.append([float(model.history_["validation_logloss"].min()) for model in models])
        loss = 1.02 * max(losses[-1])  # that both have reached
        times.append([seconds_to(model, loss) for model in models])
    one, two, ratio = zip(*speeds, strict=True)
    return [
        figure("rows/s, 1 process", one),
        figure("rows/s, 2 processes", two),
        figure("rows/s, 2 processes over 1", ratio, min_value=1.7),
        figure("least validation logloss, 1 process", [a for a, _ in losses]),
        figure("least validation logloss, 2 processes", [b for _, b in losses]),
        figure("seconds to a loss that both reach, 1 process", [a for a, _ in times]),
        figure("seconds to a loss that both reach, 2 processes", [b for _, b in times]),
        figure("time to that loss, 1 process over 2", [a / b for a, b in times]),
    ]


class Watched:
    """Rounds of a cluster, and the reading of blocks, with their times."""

    def __init__(self) -> None:
        self.rounds: list[tuple[float, float, int]] = []  # begin, end, rows learned
        self.fills: list[tuple[float, float]] = []

    @contextlib.contextmanager
    def watching(self):
        """Note every round and every reading of blocks inside the `with`."""
        train, average, fill = DaskTrainer.train, DaskTrainer.average, Table.fill

        def timed_train(cluster, n, settings, on_rows=None):
            self.rounds.append((time.monotonic(), 0.0, cluster.n_seen))
            train(cluster, n, settings, on_rows)

        def timed_average(cluster):
            average(cluster)
            began, _, before = self.rounds[-1]
            self.rounds[-1] = began, time.monotonic(), cluster.n_seen - before

        def timed_fill(table, *more):
            began = time.monotonic()
            fill(table, *more)
            self.fills.append((began, time.monotonic()))

        DaskTrainer.train, DaskTrainer.average, Table.fill = timed_train, timed_average, timed_fill
        try:
            yield self
        finally:
            DaskTrainer.train, DaskTrainer.average, Table.fill = train, average, fill


def cost_of_a_round(client, folder: Path, valid: Path) -> list[float]:
    """Milliseconds of rounds in which each worker trains one row."""
    with Watched().watching() as watched:
        given = {"train_samples_per_iteration": 2, "epochs": 120 / 50_000, "score_duty_cycle": 0.0}
        fitted(client, folder, valid, **given)
    return [1000 * (end - begin) for begin, end, _ in watched.rounds[10:]]


def _replica(_: int) -> tuple[np.ndarray, ...]:
    return tuple(np.ones(N_WEIGHTS, np.float32) for _ in range(3))


def _mean(*replicas: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
    return tuple(sum(vectors) / np.float32(len(replicas)) for vectors in zip(*replicas, strict=True))


def _first(mean: tuple[np.ndarray, ...]) -> float:
    return float(mean[0][0])


def cost_of_bare_tasks(client, n_rounds: int = 60) -> list[float]:
    """Milliseconds of the tasks of a round with nothing in them, written by hand: what Dask itself takes on this machine."""
    seconds = []
    workers = sorted(client.scheduler_info()["workers"])
    for _ in range(n_rounds):
        began = time.monotonic()
        replicas = [client.submit(_replica, 0, workers=[worker], pure=False) for worker in workers]
        wait(replicas)
        mean = client.submit(_mean, *replicas, workers=workers[:1], pure=False)
        received = [client.submit(_first, mean, workers=[worker], pure=False) for worker in workers]
        client.gather(received)
        seconds.append(time.monotonic() - began)
    return [1000 * each for each in seconds[10:]]


def cost_of_a_death(folder: Path) -> list[float]:
    """Rounds that two workers would have trained in the time of the round of a death and the next one, and did not.

    The time in which blocks are read again does not count.
    """
    killed: list[float] = []
    with processes(2) as client, Watched().watching() as watched:
        pids = client.run(os.getpid)

        def kill() -> None:
            time.sleep(0.4)  # in the middle of a round
            killed.append(time.monotonic())
            os.kill(min(pids.values()), signal.SIGKILL)

        def watch(record) -> bool:
            if record["iterations"] == 8:
                threading.Thread(target=kill).start()
            return bool(killed) and record["iterations"] > 14

        given = {"train_samples_per_iteration": 25_000, "epochs": 50, "score_each_iteration": True}
        model = DeepLearningClassifier(**SETTINGS | given, client=client)
        model.fit(dd.read_parquet(folder), "digit", callbacks=[watch])
    (moment,) = killed
    usual = median([end - begin for begin, end, _ in watched.rounds if end < moment][2:])
    hit = [r for r in watched.rounds if r[1] > moment][
        :2
    ]  # the round of the death, and the next, on the worker that is left
    reading = sum(stop - start for start, stop in watched.fills if hit[0][0] <= start and stop <= hit[-1][1])
    undisturbed = (hit[-1][1] - hit[0][0] - reading) / usual
    return [undisturbed - sum(n for *_, n in hit) / 25_000]


def main() -> None:
    arguments = options(__doc__).parse_args()
    warnings.simplefilter("ignore", DaskDLWarning)
    print_machine("dask", "distributed")
    n_pairs, epochs = (1, 1.0) if arguments.quick else (5, 4.0)
    with tempfile.TemporaryDirectory() as place:
        folder, valid = make_digits(Path(place), n_train=10_000 if arguments.quick else 50_000)
        with processes(1) as one, processes(2) as two:
            for client in (one, two):
                fitted(client, folder, valid, epochs=0.1)  # files into the page cache, kernels into memory
            rows = paired(one, two, folder, valid, n_pairs, epochs)
            costs = [(cost_of_a_round(two, folder, valid), cost_of_bare_tasks(two)) for _ in range(n_pairs)]
            ours, bare = ([median(each) for each in side] for side in zip(*costs, strict=True))
            rows += [
                figure("overhead of a round, 2 processes, ms", ours, max_value=40),
                figure("the same of bare tasks of Dask, ms", bare),
                figure("a round over bare tasks", [a / b for a, b in zip(ours, bare, strict=True)]),
            ]
        deaths = [cost for _ in range(1 if arguments.quick else 3) for cost in cost_of_a_death(folder)]
        rows.append(figure("rounds lost by a death, beyond reading blocks again", deaths, max_value=2))
    print_table(FIGURE, rows)


if __name__ == "__main__":
    main()
