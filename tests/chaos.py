"""Trainings on a cluster to which something happens: workers, drivers and schedulers that are killed, stopped and replaced.

    python tests/chaos.py --n 50 --seed 0          # a line for each training; ends with 1 if anything was wrong
    python tests/chaos.py --seconds 600            # as many as begin in ten minutes
    python tests/chaos.py --events kill stop       # of some kinds only
    python tests/chaos.py --scatter                # the losses of undisturbed trainings, from which MAX_LOSS comes

What happens in a training is drawn from its seed; when exactly, the machine decides. Every training has to end, with as many
rows as it was asked for and a history that leads there; fixed shards with the bits of one process, others with a loss that
another seed could have given. No two rounds may be further apart than a deadline, and nothing may be left behind.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import faulthandler
import gc
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections import defaultdict
from functools import partial
from multiprocessing import forkserver
from pathlib import Path
from typing import NamedTuple

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
from cluster.tables import PLAIN
from distributed import Client, LocalCluster, Scheduler, Worker
from tables import make_table

from dask_dl import DeepLearningRegressor
from dask_dl.checkpoint.folder import CheckpointFolder
from dask_dl.cluster import liveness, plugin, stragglers
from dask_dl.cluster.plugin import TrainingPlugin
from dask_dl.cluster.spans import tidy
from dask_dl.errors import ClusterError

N_ROWS, EPOCHS, ROUND = 6000, 20, 3000
COLUMNS = ["a", "b", "c", "level", "y"]
SETTINGS = PLAIN | {
    "hidden": (100, 100),
    "epochs": EPOCHS,
    "train_samples_per_iteration": ROUND,
    "score_each_iteration": True,
}
FIXED = {"reproducible": True, "n_shards": 3}
#: How rows are shared. Fixed shards get `random_state=1`, others the seed of the training.
KINDS = {"workers": {}, "fixed": FIXED, "elastic": FIXED | {"elastic_averaging": True}}
#: Squared error on other rows: 132 undisturbed trainings of 1 to 3 replicas have 0.067 to 0.092, 0.074 +- 0.005 (`--scatter`).
MAX_LOSS = 0.11
PRELOAD = ["distributed", "dask.dataframe", "dask_dl.estimators", "dask_dl.training.engine"]
#: Seconds that a training rests after a round, so that it lasts until everything has happened.
REST = 0.2
#: Seconds between two events of a training.
BETWEEN = (2.0, 4.0)
#: Seconds that a worker may be stopped: less than until it counts as lost, or more.
STOPS = (1.5, 4.0, 4.0, liveness.CUT_OFF + 3.0)
#: Seconds after which a cluster that is short of a worker is filled anew.
FILLING = 15.0
#: Seconds that a worker process may take to start on a busy machine, and to be gone.
START = 60.0
#: Seconds after which a worker forgets a training whose driver was killed; ten minutes for users.
LEASE = 10.0
CONFIG = {"distributed.worker.multiprocessing-method": "forkserver", "distributed.deploy.lost-worker-timeout": START}
#: Seconds without a round: until a silent worker counts as lost, until one that was told to end counts as such, and until
#: another worker has started.
MAX_GAP = liveness.CUT_OFF + stragglers.STOPPING + START
#: Seconds until a training without a scheduler has ended: the wait for workers, and a question that was on its way.
WORKER_TIMEOUT = 5.0
MAX_END = WORKER_TIMEOUT + liveness.ANSWER
#: Seconds after which a training is said to hang.
HANGS = 300.0


class Finding(Exception):
    """What is wrong with a training."""


class Arena(NamedTuple):
    """A cluster on which things happen."""

    cluster: LocalCluster
    client: Client
    folder: Path  #: of the table
    state: Path  #: for checkpoints and for what workers keep


# ---- events: while a training runs, on another thread --------------------------------------------------------------------


def pids(arena):
    """Process ids of workers that have started."""
    found = {name: nanny.pid for name, nanny in arena.cluster.workers.items() if nanny.process is not None}
    return {name: pid for name, pid in found.items() if pid}


def victim(arena, rng):
    until(lambda: pids(arena), "a worker to do something to")
    return rng.choice(sorted(pids(arena).values()))


def addresses(arena):
    return sorted(arena.client.scheduler_info(n_workers=-1)["workers"])


def until(holds, what, seconds=START):
    deadline = time.monotonic() + seconds
    while not (found := holds()):
        if time.monotonic() > deadline:
            raise Finding(f"waited {seconds:g} s for {what}")
        time.sleep(0.1)
    return found


def end(pid, how=signal.SIGKILL):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, how)


def kill(arena, rng):
    end(victim(arena, rng))


def kill_all(arena, rng):
    for pid in pids(arena).values():
        end(pid)


def stop(arena, rng):
    pid = victim(arena, rng)
    end(pid, signal.SIGSTOP)
    try:
        time.sleep(rng.choice(STOPS))
    finally:
        end(pid, signal.SIGCONT)


def retire(arena, rng):
    workers = until(lambda: arena.client.scheduler_info(n_workers=-1)["workers"], "a worker to retire")
    gone = rng.choice(sorted(workers))
    arena.client.retire_workers([gone])
    arena.cluster.worker_spec.pop(workers[gone]["name"], None)  # else its place stays taken for a while
    arena.cluster.scale(2)


def restart(arena, rng):
    one = rng.choice(until(lambda: addresses(arena), "a worker to restart"))
    with contextlib.suppress(KeyError, TimeoutError):  # it was going just then
        arena.client.restart_workers([one], timeout=START, raise_for_error=False)


def fill_memory(dask_worker):
    """More than its nanny allows, which then ends the process."""
    held = []

    def fill():
        for _ in range(2 * int(dask_worker.memory_manager.memory_limit) // 2**26):
            held.append(np.ones(2**23))
            time.sleep(0.01)
        time.sleep(30)

    threading.Thread(target=fill, daemon=True).start()


def memory(arena, rng):
    before = pids(arena)
    one = rng.choice(until(lambda: addresses(arena), "a worker to fill"))
    arena.client.run(fill_memory, workers=[one], on_error="ignore")
    until(lambda: set(before.values()) - set(pids(arena).values()), "a nanny to end a worker without memory")


FOREIGN = "import sys; sys.modules['dask_dl'] = None; from distributed.cli.dask_worker import main; main()"


def foreign(arena, rng):
    """A worker joins that lacks the package, and stays for a while."""
    address = arena.cluster.scheduler_address
    arguments = [sys.executable, "-W", "ignore", "-c", FOREIGN, address, "--nthreads", "1", "--no-nanny"]
    arguments += ["--no-dashboard", "--name", "foreign", "--local-directory", str(arena.state)]
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def is_there():
        workers = arena.client.scheduler_info(n_workers=-1)["workers"].values()
        return process.poll() is not None or any(worker["name"] == "foreign" for worker in workers)

    try:
        until(is_there, "a worker without the package")
        time.sleep(3)
        if process.poll() is not None:
            raise Finding(f"a worker without the package ended by itself: {process.returncode}")
    finally:
        process.terminate()
        process.wait(START)


def adaptive(arena, rng):
    """From one worker to three, as many as the training asks for, and back."""
    adapt = partial(arena.cluster.adapt, interval="300ms", wait_count=1)
    adapt(minimum=1, maximum=3)
    try:
        until(lambda: len(addresses(arena)) >= 3, "three workers")
        time.sleep(2)
        adapt(minimum=1, maximum=1)
        until(lambda: len(addresses(arena)) == 1, "one worker")
    finally:
        arena.cluster._adaptive.stop()
        arena.cluster.scale(2)


def gone(arena, rng):
    """All workers are closed, and others start."""
    arena.cluster.scale(0)
    until(lambda: not addresses(arena), "all workers to be gone")
    time.sleep(rng.choice([0.0, 1.0]))
    arena.cluster.scale(2)


EVENTS = {
    "kill": kill,
    "stop": stop,
    "retire": retire,
    "restart": restart,
    "memory": memory,
    "foreign": foreign,
    "adaptive": adaptive,
    "gone": gone,
    "kill all": kill_all,
}


# ---- trainings ----------------------------------------------------------------------------------------------------------


def read(folder):
    return dd.read_parquet(folder)


def make_files(folder):
    table = make_table(N_ROWS)[COLUMNS]
    folder.mkdir()
    for k in range(6):
        table[k::6].to_parquet(folder / f"{k}.parquet")


def model_of(kind, seed, **given):
    return DeepLearningRegressor(**SETTINGS | {"random_state": seed if kind == "workers" else 1} | KINDS[kind] | given)


def loss_of(model):
    held = make_table(2000, seed=9)[COLUMNS]
    return float(np.mean((model.predict(held) - held["y"]) ** 2))


#: Kind of fixed shards -> what one process learns.
REFERENCES: dict[str, object] = {}


def reference(folder, kind):
    if kind not in REFERENCES:
        REFERENCES[kind] = model_of(kind, 1).fit(read(folder), "y").model_.network
    return REFERENCES[kind]


class Course:
    """A training while it is disturbed: what happens to it, and how long it was without a round."""

    def __init__(self, acts, rng):
        self.acts, self._rng = acts, rng
        self.longest, self._since = 0.0, None
        self.n_rounds, self.trouble = 0, None
        self._thread = threading.Thread(target=self._happen, name="chaos", daemon=True)
        self._done = threading.Event()

    def _happen(self):
        try:
            for n, act in enumerate(self.acts):
                if n:
                    time.sleep(self._rng.uniform(*BETWEEN))
                act()
        except Exception as error:  # noqa: BLE001  # told with the training
            self.trouble = error
        finally:
            self._done.set()

    def __call__(self, record):
        """A round has ended."""
        if self._since is not None:
            self.longest = max(self.longest, time.monotonic() - self._since)
        self.n_rounds += 1
        if self.n_rounds == 3:
            self._thread.start()
        if not self._done.is_set():
            is_nearly_over = record["samples"] > 0.8 * N_ROWS * EPOCHS
            self._done.wait(HANGS if is_nearly_over else REST * self._rng.uniform(0, 2))
        self._since = time.monotonic()

    def end(self):
        self._done.wait(HANGS)
        if self.trouble is not None:
            raise Finding(f"an event failed: {self.trouble!r}") from self.trouble


def in_time(work, seconds=HANGS):
    """The result of some work, or a Finding with the stacks of all threads printed when it hangs."""
    found = []

    def run():
        try:
            found.append((work(), None))
        except BaseException as error:  # noqa: BLE001  # raised below
            found.append((None, error))

    thread = threading.Thread(target=run, name="chaos-training", daemon=True)
    thread.start()
    thread.join(seconds)
    if not found:
        faulthandler.dump_traceback()
        raise Hung(f"it has not ended after {seconds:g} s")
    result, error = found[0]
    if error is not None:
        raise error
    return result


class Hung(Finding):
    """A training that does not end: nothing can be tried after it."""


def check(model, folder, kind):
    """Rows, history, and weights or loss."""
    n_seen, history = model.model_.record.n_seen, model.history_
    if n_seen != N_ROWS * EPOCHS:
        raise Finding(f"{n_seen:,} rows instead of {N_ROWS * EPOCHS:,}")
    samples = history["samples"]
    if (
        not samples.is_monotonic_increasing
        or samples.iloc[-1] != n_seen
        or not np.isfinite(history["training_rmse"][1:]).all()
    ):
        raise Finding(f"a history of {samples.tolist()}")
    loss = loss_of(model)
    if kind == "workers" and not loss <= MAX_LOSS:
        raise Finding(f"a loss of {loss:.4f}, and no seed has more than {MAX_LOSS}")
    if kind != "workers" and not same_bits(model.model_.network, reference(folder, kind)):
        raise Finding(f"other bits than in one process (loss {loss:.4f})")
    return loss


def same_bits(mine, other):
    pairs = zip((mine.flat, *mine.states), (other.flat, *other.states), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


def disturbed(arena, kind, storage, events, seed, rng):
    """A training to whose workers something happens."""
    course = Course([partial(EVENTS[name], arena, rng) for name in events], rng)
    model = model_of(kind, seed, client=arena.client, storage=storage)
    in_time(lambda: model.fit(read(arena.folder), "y", callbacks=[course]))
    course.end()
    if course.longest > MAX_GAP:
        raise Finding(f"{course.longest:.1f} s without a round")
    return model, course.longest


# ---- drivers and schedulers ----------------------------------------------------------------------------------------------


def drive(address, folder, state, kind, seed):
    """In a child: a training that is killed."""
    with Client(address) as client:
        saving = {"checkpoint_dir": str(state), "checkpoint_interval": 0.0}
        model = model_of(kind, seed, client=client, **saving)
        model.fit(read(folder), "y", callbacks=[lambda _: time.sleep(REST)])


def set_lease(seconds):
    plugin.LEASE = seconds


def driver(arena, kind, storage, seed, rng):
    """A driver is killed, and its training goes on from its checkpoint on another number of workers."""
    state = arena.state / f"checkpoints-{seed}"
    arena.client.run(set_lease, LEASE)
    arguments = [arena.cluster.scheduler_address, arena.folder, state, kind, seed]
    child = multiprocessing.get_context("forkserver").Process(target=drive, args=arguments)
    child.start()
    try:
        until(lambda: child.exitcode is not None or len(list(state.glob("*.zip"))) >= 2, "checkpoints")
        time.sleep(rng.uniform(0, 2))
        if child.exitcode is not None:
            raise Finding(f"the driver ended by itself: {child.exitcode}")
    finally:
        child.kill()
        child.join()
    n = rng.choice([1, 3])
    arena.cluster.scale(n)
    until(lambda: len(addresses(arena)) == n, f"{n} workers")
    found = resumed(arena, kind, seed, state, client=arena.client, storage=storage)
    until(lambda: not any(arena.client.run(held).values()), "workers to forget a training without a driver")
    arena.client.run(set_lease, plugin.LEASE)
    arena.client.run_on_scheduler(bury)
    return found


def held(dask_worker):
    """Whether a worker holds anything of a training."""
    shards = [each.shard for each in dask_worker.plugins.values() if isinstance(each, TrainingPlugin)]
    return any(shard.tables or shard.replica for shard in shards)


async def bury(dask_scheduler):
    """Remove the empty plugin and the empty queue of a driver that was killed, which stay until the scheduler ends."""
    for name in [name for name in dask_scheduler.worker_plugins if name.startswith("dask-dl")]:
        await dask_scheduler.unregister_worker_plugin(comm=None, name=name)
    queues = dask_scheduler.extensions["queues"]
    for name in [name for name in queues.queues if name.startswith("dask-dl")]:
        queues.release(name=name)


def resumed(arena, kind, seed, state, **given):
    reached = CheckpointFolder(str(state)).newest()[2]["course"]["n_seen"]
    if not 0 < reached < N_ROWS * EPOCHS:
        raise Finding(f"the newest checkpoint is of {reached:,} rows")
    course = Course([], random.Random(0))
    model = model_of(kind, seed, checkpoint_dir=str(state), checkpoint_interval=1e6, **given)
    in_time(lambda: model.fit(read(arena.folder), "y", resume=True, callbacks=[course]))
    return model, course.longest


def serve_scheduler(pipe):
    async def serve():
        async with Scheduler(port=0, dashboard=False) as scheduler:
            pipe.send(scheduler.address)
            await scheduler.finished()

    asyncio.run(serve())


def serve_worker(address, folder):
    async def serve():
        async with Worker(address, nthreads=1, local_directory=folder) as worker:
            await worker.finished()

    asyncio.run(serve())


def scheduler(arena, kind, storage, seed, rng):
    """A scheduler is killed: the training ends with an error, and goes on from its checkpoint in this process."""
    context = multiprocessing.get_context("forkserver")
    mine, other = context.Pipe()
    state = arena.state / f"checkpoints-{seed}"
    processes = [context.Process(target=serve_scheduler, args=[other])]
    processes[0].start()
    if not mine.poll(START):
        raise Finding("the scheduler did not start")
    address = mine.recv()
    processes += [context.Process(target=serve_worker, args=[address, str(arena.state)]) for _ in range(2)]
    for process in processes[1:]:
        process.start()
    client = Client(address, set_as_default=False)
    killed = []
    try:
        client.wait_for_workers(2, timeout=START)

        def act():
            killed.append(time.monotonic())
            processes[0].kill()

        saving = {"checkpoint_dir": str(state), "checkpoint_interval": 0.0, "worker_timeout": WORKER_TIMEOUT}
        model = model_of(kind, seed, client=client, storage=storage, **saving)
        course = Course([act], rng)
        try:
            in_time(lambda: model.fit(read(arena.folder), "y", callbacks=[course]))
        except ClusterError:
            took = time.monotonic() - killed[0]
        else:
            raise Finding("it did not notice that the scheduler is gone")
        if took > MAX_END:
            raise Finding(f"it ended {took:.1f} s after the scheduler")
    finally:
        client.close(timeout=5)
        for process in processes:
            process.join(0 if process is processes[0] else START)
            if process.is_alive():
                process.kill()
    model, _ = resumed(arena, kind, seed, state, client=None)
    return model, took


# ---- what is left -------------------------------------------------------------------------------------------------------


def left_on_scheduler(dask_scheduler):
    tidy(dask_scheduler)
    mine = [str(key) for key in dask_scheduler.tasks if str(key).startswith("dask-dl")]
    mine += [group for group in dask_scheduler.task_groups if str(group).startswith("dask-dl")]
    mine += [name for name in dask_scheduler.worker_plugins if name.startswith("dask-dl")]
    mine += [name for name in dask_scheduler.extensions["queues"].queues if name.startswith("dask-dl")]
    spans = dask_scheduler.extensions["spans"].spans.values()
    return mine + [f"span {span.name}" for span in spans if span.name != ("dask-dl-fit",) and span.groups]


def left_on_worker(dask_worker):
    names = [thread.name for thread in threading.enumerate() if thread.name.startswith("dask_dl")]
    names += [name for name, each in dask_worker.plugins.items() if isinstance(each, TrainingPlugin)]
    names += [str(key) for key in dask_worker.data if str(key).startswith("dask-dl")]
    return names + [str(path) for path in Path(dask_worker.local_directory, "dask-dl").glob("blocks-*")]


def left(arena):
    gc.collect()
    found = {"scheduler": arena.client.run_on_scheduler(left_on_scheduler)}
    found |= arena.client.run(left_on_worker, on_error="ignore")
    found["driver"] = [thread.name for thread in threading.enumerate() if thread.name.startswith("dask_dl")]
    return {where: what for where, what in found.items() if what}


def settle(arena):
    """Two workers, and nothing of a training."""
    if len(arena.cluster.worker_spec) != 2:
        arena.cluster.scale(2)
    try:
        until(lambda: len(addresses(arena)) == 2, "two workers", FILLING)
    except Finding:  # a place that a dead nanny takes
        arena.cluster.scale(0)
        until(lambda: not addresses(arena), "all workers to be gone")
        arena.cluster.scale(2)
        until(lambda: len(addresses(arena)) == 2, "two workers")
    deadline = time.monotonic() + 30
    while found := left(arena):
        if time.monotonic() > deadline:
            raise Finding(f"left behind: {found}")
        time.sleep(0.2)


# ---- many ---------------------------------------------------------------------------------------------------------------


def plan(seed, events):
    """What happens in a training: kind, storage, events."""
    rng = random.Random(seed)
    kind, storage = rng.choice(["workers", "workers", "fixed", "elastic"]), rng.choice(["memory", "disk"])
    first = rng.choice(events)
    if first in {"driver", "scheduler"}:
        return kind, storage, [first], rng
    inside = [name for name in events if name in EVENTS]
    return kind, storage, [first, *rng.choices(inside, k=rng.choice([0, 1, 2]))], rng


def attempt(arena, seed, kind, storage, events, rng):
    """A training and all that has to hold after it; returns loss and seconds without a round."""
    if events == ["driver"]:
        model, longest = driver(arena, kind, storage, seed, rng)
    elif events == ["scheduler"]:
        model, longest = scheduler(arena, kind, storage, seed, rng)
    else:
        model, longest = disturbed(arena, kind, storage, events, seed, rng)
    loss = check(model, arena.folder, kind)
    settle(arena)
    return loss, longest


@contextlib.contextmanager
def prepared():
    """A cluster of two workers, a table, and what one process learns from it."""
    with tempfile.TemporaryDirectory() as place:
        folder, state = Path(place, "table"), Path(place, "state")
        state.mkdir()
        make_files(folder)
        for kind in KINDS.keys() - {"workers"}:
            reference(folder, kind)
        options = {"n_workers": 2, "threads_per_worker": 1, "memory_limit": "1GiB", "dashboard_address": ":0"}
        with (
            dask.config.set(CONFIG),
            LocalCluster(**options, local_directory=str(state)) as cluster,
            Client(cluster, set_as_default=False) as client,
        ):
            yield Arena(cluster, client, folder, state)
        if files := list(state.rglob("blocks-*")):
            raise Finding(f"files are left of a cluster that was closed: {files}")


def run(plans, say=print, seconds=float("inf")):
    """Train by some plans (seed, kind, storage, events, rng); returns findings by seed, and gaps by event."""
    findings, gaps = {}, defaultdict(list)
    began = time.monotonic()
    with warnings.catch_warnings(), prepared() as arena:
        warnings.simplefilter("ignore")
        for seed, kind, storage, events, rng in plans:
            start = time.monotonic()
            if start - began > seconds:
                break
            line = f"seed {seed:4d}  {kind:8s}{storage:7s} {' + '.join(events)}:"
            try:
                loss, longest = attempt(arena, seed, kind, storage, events, rng)
            except Hung as error:
                findings[seed] = repr(error)
                say(f"{line} {error!r}")
                break
            except Exception as error:  # noqa: BLE001  # whatever it is, it is found
                findings[seed] = repr(error)
                say(f"{line} {time.monotonic() - start:.1f} s: {error!r}")
                with contextlib.suppress(Finding):
                    settle(arena)
                continue
            for name in events:
                gaps[name].append(longest)
            took = time.monotonic() - start
            say(f"{line} {took:.1f} s, {N_ROWS * EPOCHS:,} rows, loss {loss:.4f}, {longest:.1f} s without a round")
    return findings, gaps


def scatter():
    """Losses of undisturbed trainings by number of replicas: as many shards as workers are replicas of one process."""
    with tempfile.TemporaryDirectory() as place:
        make_files(Path(place, "table"))
        for n in (1, 2, 3):
            losses = [
                loss_of(model_of("workers", seed, **FIXED | {"n_shards": n}).fit(read(Path(place, "table")), "y"))
                for seed in range(44)
            ]
            print(
                f"{n} replicas: {np.mean(losses):.4f} +- {np.std(losses):.4f}, {min(losses):.4f} to {max(losses):.4f}"
            )


def main():
    choices = [*EVENTS, "driver", "scheduler"]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=50, help="trainings")
    parser.add_argument("--seed", type=int, default=0, help="the first one")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="no training begins after them")
    parser.add_argument("--events", nargs="+", choices=choices, default=choices)
    parser.add_argument("--scatter", action="store_true", help="undisturbed trainings instead")
    given = parser.parse_args()
    if given.scatter:
        scatter()
        return 0
    # Workers are forked from a process that has imported once: where Python may not keep what it compiled, importing takes
    # longer than a cluster waits for a nanny to start another process.
    multiprocessing.get_context("forkserver").set_forkserver_preload(PRELOAD)
    forkserver.ensure_running()
    plans = [(seed, *plan(seed, given.events)) for seed in range(given.seed, given.seed + given.n)]
    tried = []

    def say(line):
        tried.append(line)
        print(line, flush=True)

    findings, gaps = run(plans, say, given.seconds)
    rows = [(name, len(found), np.median(found), max(found)) for name, found in gaps.items()]
    columns = ["event", "trainings", "median seconds without a round", "at most"]
    print(pd.DataFrame(rows, columns=columns).round(1).to_string(index=False))
    print(f"{len(tried) - len(findings)} of {len(tried)} trainings ended as they should")
    return int(bool(findings))


if __name__ == "__main__":
    sys.exit(main())
