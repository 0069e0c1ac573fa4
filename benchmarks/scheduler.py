"""The scheduler's part of a round on 10 to 1,000 workers: real scheduler, client and driver, simulated workers.

A round is `DaskTrainer.train` and `average`, as in a training, with everything that the driver does beside them. Workers
compute nothing and fetch nothing (`simulated.py`), so figures are those of processor time: a round takes at least as long as
the busier of scheduler and driver, which need not be on one machine. Whom a worker would have fetched what from is counted.
"""

from __future__ import annotations

import gc
import time
import warnings
from collections import Counter, defaultdict
from itertools import pairwise
from math import ceil
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

import dask
import dask.dataframe as dd
import psutil
from averaging import make_table, models_down, models_up
from common import ALL_EPOCHS, options, print_machine, print_table
from dask._task_spec import Task, parse_input
from distributed import Future
from rounds import size_of
from simulated import Processor, Simulation, Transfer, scheduler_of

from dask_dl import DeepLearningRegressor
from dask_dl.cluster.averaging import FAN
from dask_dl.cluster.dask_trainer import DaskTrainer
from dask_dl.cluster.membership import Membership
from dask_dl.cluster.placement import RowRange, fixed_shards
from dask_dl.cluster.setup import RoundSettings
from dask_dl.cluster.submit import Submitter
from dask_dl.cluster.tables import Table
from dask_dl.errors import DaskDLWarning

if TYPE_CHECKING:
    from collections.abc import Iterable

N_ROWS = 800  #: of each worker
BLOCKS = 8  #: of each worker
WAITING = 5.0  #: seconds of a training that is waited for
#: Messages that come with time, not with rounds.
BY_TIME = {"heartbeat_worker", "heartbeat-client", "adjust-heartbeat-interval", "identity", "set_metadata"}


class Quiet:
    """Listeners who say nothing."""

    def say(self, _text: str, /) -> None:
        """Say nothing."""

    warn = say


class GraphSubmitter(Submitter):
    """Submits what comes together as one graph: that of a stage or, if it does not wait for training, of a round."""

    waits_for_training = True

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._tasks: dict[str, Task] = {}
        self._places: dict[str, list[str]] = {}

    def submit(self, name: str, worker: str | None, function: Any, *arguments: Any) -> Any:
        """Submit with others, at the next wait."""
        assert worker is not None
        key = self.key(name)
        self._tasks[key] = Task(key, function, *map(parse_input, arguments))
        self._places[key] = [worker]
        self._made.append(Future(key, self.client))
        return self._made[-1]

    def wait(self, futures: Any, *arguments: Any, **more: Any) -> set[Any]:
        """Submit, and wait."""
        if not (self.waits_for_training or all(isinstance(key, str) for key in futures)):
            return set()
        tasks, places = self._tasks, self._places
        self._tasks, self._places = {}, {}
        if tasks:
            with self._open(), dask.annotate(workers=lambda key: places[key], allow_other_workers=False):
                self.client.get(tasks, list(tasks), sync=False)
        return super().wait(futures, *arguments, **more)


class GraphOfRound(GraphSubmitter):
    """Submits a round as one graph."""

    waits_for_training = False


WAYS = {"a submit each": Submitter, "a graph for each stage": GraphSubmitter, "one graph": GraphOfRound}


def trainer_of(simulation: Simulation, n_shards: int | None, submitter: type[Submitter]) -> DaskTrainer:
    """A trainer in the middle of a training: all workers have rows and weights."""
    membership = Membership(simulation.client, 60.0, Quiet())
    alive = membership.liveness.look()
    membership.admission.facts = {worker: {} for worker in alive}
    membership.submitter = submitter(simulation.client, membership.liveness, membership.job, 60.0, Quiet().say)
    membership.taking_part.update(alive)
    membership.version, membership.holders, membership.trained = 1, set(alive), "training"
    n, shards = len(alive), None
    if n_shards is None:
        row_ranges = [RowRange(k, 0, N_ROWS // BLOCKS) for k in range(n * BLOCKS)]
        holdings = [set(range(BLOCKS * k, BLOCKS * (k + 1))) for k in range(n)]
    else:
        row_ranges, shards = fixed_shards([N_ROWS] * n, n_shards)
        holdings = [set() for _ in alive]
        for k, blocks in enumerate(shards.values()):
            holdings[k * n // n_shards].update(blocks)
    nothing = SimpleNamespace(lazy=None, max_rows=None)
    table = Table(membership, "training", nothing, None, None, None, nothing, "sharded", row_ranges, shards)
    table.held = dict(zip(sorted(alive), holdings, strict=True))
    table.n_visits = {k: row_range.n for k, row_range in enumerate(row_ranges)}
    membership.tables["training"] = table
    return DaskTrainer(
        membership,
        {},
        momentum=None,
        moving_rate=None,
        by_clock=n_shards is None,
        say=Quiet().say,
        on_change=lambda _: None,
    )


def train_round(trainer: DaskTrainer) -> None:
    """A round; the report of every worker has to arrive."""
    trainer.train(trainer.n_rows // 10, RoundSettings())
    trainer.average()
    assert len(trainer.membership.holders) == len(trainer.membership.taking_part), "workers were lost"


class Cost(NamedTuple):
    """Round of many workers."""

    counts: Counter[str]  #: messages by name
    processor: Processor  #: heartbeats included, and the driver's looks at workers and tasks
    waiting: Processor  #: of a second in which workers train
    seconds: float  #: that the round took here
    transfers: list[Transfer]

    def n_messages(self) -> int:
        """Messages that do not come with time."""
        return sum(n for name, n in self.counts.items() if name not in BY_TIME)


def cost_of(
    simulation: Simulation, n_shards: int | None, way: str, n_rounds: int, waiting: Processor | None = None
) -> Cost:
    """Medians of some rounds, and of what a second of waiting costs if it is not known."""
    trainer = trainer_of(simulation, n_shards, WAYS[way])
    train_round(trainer)
    times, used, counted, transfers = [], [], [], []
    for _ in range(n_rounds):
        simulation.pretend(n_bytes=size_of(1.0))
        with simulation.counted() as counts:
            before, began = simulation.processor(), time.perf_counter()
            train_round(trainer)
            times.append(time.perf_counter() - began)
            used.append(simulation.processor().since(before))
        counted.append(counts)
        transfers = simulation.pretend(seconds=WAITING)
    waiting = waiting or waited(trainer, simulation)
    simulation.pretend()
    trainer.submitter.sweep()
    trainer.membership.demand.withdraw()
    names = dict.fromkeys(name for counts in counted for name in counts)
    counts = Counter({name: round(median(each[name] for each in counted)) for name in names})
    return Cost(counts, Processor(*map(median, zip(*used, strict=True))), waiting, median(times), transfers)


def waited(trainer: DaskTrainer, simulation: Simulation) -> Processor:
    """Processor time of a second in the middle of the training of a round."""
    marks: list[tuple[float, Processor]] = []

    def on_rows(_: int) -> None:
        marks.append((time.perf_counter(), simulation.processor()))

    trainer.train(trainer.n_rows // 10, RoundSettings(), on_rows)
    trainer.average()
    end = marks[-1][0]
    (start, before), (stop, after) = next(mark for mark in marks if mark[0] > end - WAITING / 2), marks[-1]
    return Processor(*(used / (stop - start) for used in after.since(before)))


# ---- who fetched from whom ------------------------------------------------------------------------------------------


def loads(transfers: Iterable[Transfer], n: int) -> tuple[list[int], list[int]]:
    """Contributions through the busiest link of each level of averages, and of each generation of receivers."""
    fetched: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for sender, receiver, keys in transfers:
        for key in keys:
            fetched[key].append((sender, receiver))
    n_averages = []  # by level
    while n > 1:
        n = ceil(n / FAN)
        n_averages.append(n)
    root = max(int(key.rpartition("-")[2]) for key in fetched if "-average-" in key)
    by_number = [level for level, n_made in enumerate(n_averages, 2) for _ in range(n_made)]
    level_of = dict(enumerate(by_number, root + 1 - len(by_number)))
    up: dict[int, Counter[tuple[str, str]]] = defaultdict(Counter)
    down: dict[int, Counter[str]] = defaultdict(Counter)
    generation: dict[str, int] = {}
    for key, pairs in fetched.items():
        number = int(key.rpartition("-")[2])
        for sender, receiver in pairs:
            if number == root or "-relay-" in key:
                generation[receiver] = generation.setdefault(sender, 0) + 1
                down[generation[receiver]][sender] += 1
            elif "-train-" in key or "-average-" in key:
                up[level_of.get(number, 1)].update([("from", sender), ("to", receiver)])
    return [max(up[k].values()) for k in sorted(up)], [max(down[k].values()) for k in sorted(down)]


# ---- a cluster of real workers --------------------------------------------------------------------------------------


def real_counts(n: int, n_rounds: int) -> Counter[str]:
    """Medians of the messages of a round of a training on real workers."""
    settings = ALL_EPOCHS | {
        "hidden": (8,),
        "random_state": 1,
        "train_samples_per_iteration": n,
        "epochs": n_rounds * n / 1024,
        "score_duty_cycle": 0.0,
        "score_training_samples": 10,
    }
    marks: list[Counter[str]] = []
    train = DaskTrainer.train
    with TemporaryDirectory() as place, scheduler_of(n, is_real=True) as simulation, simulation.counted() as counts:

        def marked(*arguments: Any) -> None:
            marks.append(Counter(counts))
            train(*arguments)

        DaskTrainer.train = marked
        try:
            table = dd.read_parquet(make_table(Path(place)))
            DeepLearningRegressor(**settings, client=simulation.client).fit(table, "y")
        finally:
            DaskTrainer.train = train
    rounds = [Counter({k: after[k] - before[k] for k in after}) for before, after in pairwise(marks[5:])]
    return Counter({name: round(median(each[name] for each in rounds)) for name in marks[-1]})


# ---- what is kept ---------------------------------------------------------------------------------------------------


def kept(n: int, n_rounds: int, n_times: int) -> list[tuple[object, ...]]:
    """Resident memory of scheduler and driver, and what the scheduler knows, after every so many rounds."""
    rows = []
    with scheduler_of(n) as simulation:
        trainer, process = trainer_of(simulation, None, Submitter), psutil.Process()
        for k in range(n_times + 1):
            if k:
                for _ in range(n_rounds):
                    train_round(trainer)
            else:
                train_round(trainer)
            trainer.submitter.sweep()
            trainer.submitter.tidy()
            gc.collect()
            scheduler, memory = simulation.scheduler, process.memory_info().rss / 2**20
            sizes = len(scheduler.tasks), len(scheduler.task_groups), len(scheduler.transition_log)
            rows.append((1 + k * n_rounds, f"{memory:.0f}", *sizes))
    return rows


def kept_of_fits(numbers: list[int]) -> list[tuple[object, ...]]:
    """What scheduler and driver keep after so many trainings on two real workers: memory, objects, and what Dask logs."""
    settings = ALL_EPOCHS | {"hidden": (8,), "random_state": 1, "epochs": 2.0}
    rows = []
    with TemporaryDirectory() as place, scheduler_of(2, is_real=True) as simulation:
        scheduler, process = simulation.scheduler, psutil.Process()
        table = dd.read_parquet(make_table(Path(place)))
        for before, n in pairwise([0, *numbers]):
            for _ in range(n - before):
                DeepLearningRegressor(**settings, client=simulation.client).fit(table, "y")
            gc.collect()
            kinds = Counter(str(type(each).__module__).partition(".")[0] for each in gc.get_objects())
            spans = scheduler.extensions["spans"].spans
            sizes = len(scheduler.tasks), len(scheduler.task_groups), len(spans), len(scheduler.worker_plugins)
            n_events = sum(map(len, scheduler.get_events().values()))
            memory = f"{process.memory_info().rss / 2**20:.0f}"
            logs = f"{len(scheduler.transition_log):,}", f"{n_events:,}"
            rows.append((n, memory, f"{kinds.total():,}", f"{kinds['dask_dl']:,}", *sizes, *logs))
    return rows


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--workers", type=int, nargs="+", help="numbers of workers, in place of 10, 100 and 1,000")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", DaskDLWarning)
    print_machine("dask", "distributed")
    numbers = arguments.workers or ([10, 32] if arguments.quick else [10, 100, 1000])

    with scheduler_of(4) as simulation:
        simulated = cost_of(simulation, None, "a submit each", 5).counts
    real = real_counts(4, 30)
    names = sorted((simulated.keys() | real.keys()) - BY_TIME)
    rows = [(name, simulated[name], real[name]) for name in names if simulated[name] or real[name]]
    print_table(["message, of a round of 4 workers", "simulated", "real"], rows)
    links = []
    for n in numbers:
        n_rounds = 1 if n > 300 else 5
        with scheduler_of(n) as simulation:
            found = {"a submit each": cost_of(simulation, None, "a submit each", n_rounds)}
            waiting = found["a submit each"].waiting
            for way in [way for way in WAYS if way not in found]:
                found[way] = cost_of(simulation, None, way, n_rounds, waiting)
            fixed = cost_of(simulation, 2 * n, "a submit each", n_rounds, waiting)
            trainer = trainer_of(simulation, None, GraphSubmitter)
            simulation.pretend(n_bytes=size_of(16.0))
            train_round(trainer)
            large = simulation.pretend()
        links += [link_of(n, 1.0, found["a submit each"].transfers), link_of(n, 16.0, large)]
        print(f"\n{n:,} workers:\n")
        found["a submit each, two fixed shards a worker"] = fixed
        show_processor(found, n)
        print()
        names = [name for name in fixed.counts if name not in BY_TIME]
        print_table(["message", *found], [(name, *(f"{c.counts[name]:,}" for c in found.values())) for name in names])
        print(flush=True)
    columns = [
        "workers",
        "weights, million",
        "contributions through the busiest link, by level",
        "by generation",
        "sum",
    ]
    print_table([*columns, "by formula", "MB"], links)
    print()
    columns = ["rounds of 32 workers", "memory, MiB", "tasks", "groups", "transitions in the log"]
    print_table(columns, kept(32, 10 if arguments.quick else 100, 3))
    print()
    columns = [
        "trainings",
        "memory, MiB",
        "objects",
        "of dask_dl",
        "tasks",
        "groups",
        "spans",
        "plugins",
        "transitions in the log",
    ]
    print_table([*columns, "events in logs"], kept_of_fits([1, 3, 5] if arguments.quick else [1, 25, 50, 75, 100]))


def link_of(n: int, millions: float, transfers: list[Transfer]) -> tuple[object, ...]:
    """A line of the table of links."""
    up, down = loads(transfers, n)
    by_formula, total = sum(models_up(n)) - len(models_up(n)) + sum(models_down(n)), sum(up) + sum(down)
    levels = ", ".join(map(str, up)), ", ".join(map(str, down))
    return f"{n:,}", f"{millions:g}", *levels, total, by_formula, f"{total * size_of(millions) / 1e6:,.0f}"


def show_processor(found: dict[str, Cost], n: int) -> None:
    """A line for each way to submit."""
    columns = [
        "submitted as",
        "tasks",
        "messages",
        "scheduler, ms",
        "driver, ms",
        "both for a worker, ms",
        "round here, s",
    ]
    columns += ["scheduler, ms a second of waiting", "driver"]
    rows = []
    for way, cost in found.items():
        of_round = [1000 * x for x in cost.processor]
        cells = [f"{x:,.0f}" for x in of_round] + [f"{sum(of_round) / n:.2f}", f"{cost.seconds:.1f}"]
        cells += [f"{1000 * x:,.0f}" for x in cost.waiting]
        rows.append((way, f"{cost.counts['compute-task']:,}", f"{cost.n_messages():,}", *cells))
    print_table(columns, rows)


if __name__ == "__main__":
    main()
