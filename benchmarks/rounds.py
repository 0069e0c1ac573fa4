"""Rounds of workers that train one row each, taken apart: what `averaging.py` measures, case by case."""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from itertools import pairwise
from math import ceil, inf
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

import dask.dataframe as dd
import psutil
from common import ALL_EPOCHS
from distributed import Client, LocalCluster, get_task_stream

from dask_dl import DeepLearningRegressor
from dask_dl.cluster.averaging import FAN
from dask_dl.cluster.dask_trainer import DaskTrainer
from dask_dl.kernels.layout import Topology

if TYPE_CHECKING:
    from pathlib import Path

N_INPUTS, N_ROWS = 10, 1024  #: of the table; the workers hold equal shares of it
N_VECTORS = 3  #: weights, and two of ADADELTA's state
UNITS = {0.1: 304, 1.0: 992, 16.0: 3984}  #: million weights -> units in each of two hidden layers
WARM = 3  #: rounds before the first that counts: outer momentum begins with the second average
MAX = 14e9  #: bytes of a case, however much memory there is
PARTS = ("arithmetic", "transfer", "scheduler")
STAGES = ("train", "average", "receive")


class Span(NamedTuple):
    """Something that a worker did."""

    start: float
    stop: float
    part: str  #: arithmetic or transfer
    stage: str  #: of which task
    number: int  #: of the task, in the order of submission


class Round(NamedTuple):
    """Milliseconds of a round."""

    total: float
    parts: dict[str, float]
    stages: dict[str, float]  #: arithmetic by stage
    #: Level by level: stage, longest computing, longest fetching of a task.
    levels: tuple[tuple[str, float, float], ...]


class Case(NamedTuple):
    """Workers that average a network."""

    millions: float
    processes: bool
    n: int


class Found(NamedTuple):
    """What was measured of a case."""

    rounds: list[Round]
    cpu: dict[str, float]  #: mean milliseconds of processor that a task of a stage took

    def parts(self) -> list[float]:
        """Medians over rounds."""
        return [median(each.parts[part] for each in self.rounds) for part in PARTS]

    def total(self) -> float:
        """Milliseconds of a round."""
        return median(each.total for each in self.rounds)

    def path(self) -> float:
        """The longest computing of each level, added up."""
        return median(sum(computing for _, computing, _ in each.levels) for each in self.rounds)


@contextlib.contextmanager
def workers(n: int, *, processes: bool):
    """A client of n workers of one thread each, on one clock: that of the machine, not corrected by guesses."""
    limits = {"threads_per_worker": 1, "memory_limit": 0, "dashboard_address": None}
    with (
        LocalCluster(n_workers=n, processes=processes, **limits) as cluster,
        Client(cluster) as client,
    ):
        client.run(one_clock)
        yield client


def one_clock(dask_worker) -> None:
    """Times of tasks are shifted by what a worker believes to be the scheduler's clock; here they are the same."""
    type(dask_worker).scheduler_delay = property(lambda _: 0.0, lambda *_: None)


@contextlib.contextmanager
def timed_rounds(times: list[list[float]]):
    """Note begin and end of every round inside the `with`."""
    train, average = DaskTrainer.train, DaskTrainer.average

    def timed_train(cluster, n, settings, on_rows=None):
        times.append([time.time(), inf])
        train(cluster, n, settings, on_rows)

    def timed_average(cluster):
        average(cluster)
        times[-1][1] = min(times[-1][1], time.time())

    DaskTrainer.train, DaskTrainer.average = timed_train, timed_average
    try:
        yield
    finally:
        DaskTrainer.train, DaskTrainer.average = train, average


def measured(case: Case, folder: Path, n_rounds: int) -> Found:
    """Train some rounds of one row for each worker, and take them apart."""
    times: list[list[float]] = []
    settings = ALL_EPOCHS | {
        "hidden": (UNITS[case.millions],) * 2,
        "random_state": 1,
        "train_samples_per_iteration": case.n,
        "epochs": (WARM + n_rounds) * case.n / N_ROWS,
        "score_duty_cycle": 0.0,
        "score_training_samples": 10,
    }
    with workers(case.n, processes=case.processes) as client, timed_rounds(times):
        with get_task_stream(client) as stream:
            DeepLearningRegressor(**settings, client=client).fit(dd.read_parquet(folder), "y")
        seconds = client.run(processor_seconds)
    spans = spans_of(stream.data)
    rounds = [apart(begin, end, spans, case.n) for begin, end in times[WARM:] if end < inf]
    counts = {stage: len({span.number for span in spans if span.stage == stage}) for stage in STAGES}
    cpu = {stage: 1000 * sum(s[stage] for s in seconds.values()) / max(1, counts[stage]) for stage in STAGES}
    return Found([each for each in rounds if each], cpu)


def processor_seconds(dask_worker) -> dict[str, float]:
    """Of a worker's threads, by stage, since it started."""
    seconds = dict.fromkeys(STAGES, 0.0)
    for name, value in dask_worker.digests_total.items():
        if isinstance(name, tuple) and name[0] == "execute" and name[-2:] == ("thread-cpu", "seconds"):
            stage = str(name[-3]).removeprefix("dask-dl-").partition("-")[0]
            if stage in seconds:
                seconds[stage] += value
    return seconds


def spans_of(records) -> list[Span]:
    """What workers recorded about tasks of rounds."""
    names = {"compute": "arithmetic", "transfer": "transfer"}
    spans = []
    for record in records:
        words = str(record["key"]).split("-")
        if words[:2] == ["dask", "dl"] and words[2] in STAGES:
            spans += [
                Span(part["start"], part["stop"], names[part["action"]], words[2], int(words[-1]))
                for part in record["startstops"]
                if part["action"] in names
            ]
    return spans


def apart(begin: float, end: float, spans: list[Span], n: int) -> Round | None:
    """A round in its parts; None where not every worker trained in it."""
    inside = [span for span in spans if begin <= span.start and span.stop <= end]
    if len({span.number for span in inside if span.stage == "train"}) < n:
        return None
    edges = sorted({begin, end, *(edge for span in inside for edge in span[:2])})
    parts, stages = dict.fromkeys(PARTS, 0.0), dict.fromkeys(STAGES, 0.0)
    for start, stop in pairwise(edges):
        now = [span for span in inside if span.start <= start and stop <= span.stop]
        part = min((span.part for span in now), default="scheduler")  # arithmetic before transfer, by the alphabet
        parts[part] += 1000 * (stop - start)
        if part == "arithmetic":
            stage = min((span.stage for span in now if span.part == part), key=STAGES.index)
            stages[stage] += 1000 * (stop - start)
    return Round(1000 * (end - begin), parts, stages, tuple(levels_of(inside, n)))


def levels_of(spans: list[Span], n: int):
    """The longest computing and the longest fetching in each level of the tree, with training first and receiving last."""
    numbers = {stage: sorted({span.number for span in spans if span.stage == stage}) for stage in STAGES}
    groups, averages = [("train", numbers["train"])], numbers["average"]
    while n > 1:
        n = ceil(n / FAN)
        groups.append(("average", averages[:n]))
        averages = averages[n:]
    groups.append(("receive", numbers["receive"]))
    for stage, group in groups:
        longest: dict[str, float] = defaultdict(float)
        members = set(group)
        for span in spans:
            if span.number in members:
                longest[span.part] = max(longest[span.part], 1000 * (span.stop - span.start))
        yield stage, longest["arithmetic"], longest["transfer"]


def size_of(millions: float) -> int:
    """Bytes of weights and state: what a contribution is."""
    return N_VECTORS * 4 * Topology(0, N_INPUTS, (UNITS[millions],) * 2, 1, "rectifier", "linear").size


def need_of(case: Case) -> float:
    """Bytes: weights, state, last average and velocity of each replica; contributions that were copied; means and sums."""
    network = size_of(case.millions)
    replicas = case.n * network * (N_VECTORS + 2) / N_VECTORS
    nodes, level = 0, case.n
    while level > 1:
        level = ceil(level / FAN)
        nodes += level
    copies = 2 * case.n * network if case.processes else network  # fetched for averages, and the average itself
    own = 0.35e9 * (1 + case.n * case.processes)  # imports of every process
    return replicas + (2 * nodes + 3) * network + copies + own


def refused(case: Case) -> str | None:
    """Why a case is left out, if it is."""
    need, free = need_of(case), psutil.virtual_memory().available
    if need > min(MAX, 0.8 * free):
        return f"{need / 1e9:.1f} GB needed, {free / 1e9:.1f} GB free, {MAX / 1e9:.0f} GB at most"
    return None
