"""Training on worker processes that are killed, stopped, retired, restarted and joined; and drivers that are."""

from __future__ import annotations

import gc
import math
import os
import re
import signal
import subprocess
import sys
import threading
import time
import warnings

import numpy as np
import pandas as pd
import pytest
from cluster.tables import PLAIN, assert_same_bits, parted
from distributed import Client, LocalCluster
from peaks import taken
from tables import make_table

from dask_dl import DeepLearningRegressor, load, storage
from dask_dl.checkpoint.folder import CheckpointFolder
from dask_dl.cluster.plugin import TrainingPlugin
from dask_dl.errors import ClusterError, DaskDLWarning, NoWorkersError

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("forked_workers"),
    # A LocalCluster whose workers are killed leaves pipes to them for the garbage collector to close.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

SETTINGS = PLAIN | {"hidden": (50, 50), "train_samples_per_iteration": 10_000, "score_each_iteration": True}
#: So many epochs that something has time to happen; a callback ends the training.
ENDLESS = SETTINGS | {"epochs": 1e4}
#: The driver has a copy of the network after every scoring that found a better one.
KEEPING = ENDLESS | {"overwrite_with_best_model": True}


@pytest.fixture(autouse=True)
def swept():
    """What such a cluster leaves is collected here, and not in the middle of a test that has nothing to do with it."""
    yield
    gc.collect()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A table in files: no worker's memory holds what cannot be read again."""
    place = tmp_path_factory.mktemp("table")
    table = make_table(20_000)[["a", "b", "c", "level", "y"]]
    for k in range(8):
        table[k::8].to_parquet(place / f"{k}.parquet")
    return place


@pytest.fixture
def cluster():
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0", memory_limit="3GiB") as cluster:
        yield cluster


@pytest.fixture
def client(cluster):
    with Client(cluster) as client:
        yield client


def read(folder):
    import dask.dataframe as dd

    return dd.read_parquet(folder)


def train_while(client, folder, happens, until, **given):
    """Train, let something happen after the third round, and stop when a condition holds; `happens` may wait for rounds."""
    done, rounds = threading.Event(), threading.Semaphore(0)

    def act():
        happens(rounds)
        done.set()

    acting = threading.Thread(target=act)

    def watch(record):
        rounds.release()
        if record["iterations"] >= 3 and acting.ident is None:
            acting.start()
        assert record["duration"] < 100, "it did not end"
        return done.is_set() and until()

    model = DeepLearningRegressor(**ENDLESS | given, client=client)
    try:
        model.fit(read(folder), "y", callbacks=[watch])
    finally:
        acting.join()
    return model


def pids(client):
    return client.run(os.getpid)


def trains_on(dask_worker):
    """The process id of a worker that has blocks of the training table."""
    homes = [plugin for plugin in dask_worker.plugins.values() if isinstance(plugin, TrainingPlugin)]
    tables = [home.shard.tables["training"] for home in homes if "training" in home.shard.tables]
    return os.getpid() if any(table.blocks for table in tables) else None


def trainers(client):
    return set(client.run(trains_on, on_error="ignore").values()) - {None}


def after(n, condition):
    """A condition: the other one held after each of n rounds."""
    held = []

    def holds():
        held.append(condition())
        return sum(map(bool, held)) > n

    return holds


def is_left(dask_worker):
    names = [thread.name for thread in threading.enumerate() if thread.name.startswith("dask_dl")]
    homes = [name for name, plugin in dask_worker.plugins.items() if isinstance(plugin, TrainingPlugin)]
    return names + homes + [key for key in dask_worker.data if str(key).startswith("dask-dl")]


def assert_nothing_left(client):
    for _ in range(100):
        left = client.run(is_left)
        if not any(left.values()):
            return
        time.sleep(0.05)
    raise AssertionError(left)


@pytest.fixture(scope="module")
def fixed(folder):
    """Settings with fixed shards, and what one process learns by them, where there is no client."""
    settings = SETTINGS | {"reproducible": True, "n_shards": 3, "epochs": 8}
    return settings, DeepLearningRegressor(**settings).fit(read(folder), "y")


@pytest.mark.parametrize("given", [{}, {"elastic_averaging": True}], ids=str)
def test_fixed_shards_have_the_bits_of_one_process_although_workers_are_killed(folder, fixed, given):
    settings, here = fixed
    if given:
        here = DeepLearningRegressor(**settings | given).fit(read(folder), "y")
    killed = []
    options = {"n_workers": 2, "threads_per_worker": 2, "dashboard_address": ":0", "memory_limit": "3GiB"}
    with LocalCluster(**options) as cluster, Client(cluster) as client:

        def kill(record):
            if record["iterations"] in {4, 9} and len(killed) < 2:
                killed.append(min(trainers(client) - set(killed)))
                threading.Timer(0.02 * len(killed), os.kill, (killed[-1], signal.SIGKILL)).start()

        with warnings.catch_warnings():  # elastic replicas die with their workers: the training goes back to a copy
            warnings.simplefilter("ignore" if given else "error", DaskDLWarning)
            there = DeepLearningRegressor(**settings | given, client=client)
            there.fit(read(folder), "y", callbacks=[kill])
        assert len(killed) == 2
        assert_same_bits(there, here)
        assert_nothing_left(client)


def assert_good(model, folder):
    table = pd.read_parquet(folder)
    assert model.score(table, "y") > 0.8
    history = model.history_
    assert history["samples"].is_monotonic_increasing and model.model_.record.n_seen == history["samples"].iloc[-1]


def test_a_worker_is_killed_and_its_nanny_brings_another(client, folder):
    before = pids(client)
    killed = min(before)

    def is_replaced():
        return len(trainers(client) - {before[killed]}) == 2

    model = train_while(client, folder, lambda _: os.kill(before[killed], signal.SIGKILL), until=after(2, is_replaced))
    assert_good(model, folder)
    after_ = pids(client)
    assert killed not in after_ and len(after_) == 2  # the new one took part:
    assert model.parameters_["n_jobs"] == 2
    assert_nothing_left(client)


def test_a_worker_is_retired(client, folder):
    before = pids(client)
    gone = min(before)

    def is_alone():
        return trainers(client) == set(before.values()) - {before[gone]}

    model = train_while(client, folder, lambda _: client.retire_workers([gone]), until=after(2, is_alone))
    assert_good(model, folder)
    assert list(pids(client)) != [gone] and model.parameters_["n_jobs"] == 1
    assert_nothing_left(client)


def test_a_worker_is_cut_off_and_comes_back(client, folder, monkeypatch):
    monkeypatch.setattr("dask_dl.cluster.liveness.CUT_OFF", 3.0)
    processes = pids(client)
    stopped = processes[min(processes)]

    def happens(rounds):
        os.kill(stopped, signal.SIGSTOP)
        while rounds.acquire(blocking=False):
            pass
        for _ in range(3):  # the first may have been under way
            assert rounds.acquire(timeout=60), "the others do not go on without it"
        os.kill(stopped, signal.SIGCONT)

    def is_back():
        return trainers(client) == set(processes.values())

    try:
        model = train_while(client, folder, happens, until=after(2, is_back))
    finally:
        os.kill(stopped, signal.SIGCONT)
    assert_good(model, folder)
    assert model.parameters_["n_jobs"] == 2
    assert_nothing_left(client)


def test_workers_are_added_and_taken_away(cluster, client, folder):
    def happens(rounds):
        cluster.scale(3)
        while len(trainers(client)) < 3:
            assert rounds.acquire(timeout=60)
        cluster.scale(1)

    model = train_while(client, folder, happens, until=after(2, lambda: len(trainers(client)) == 1))
    assert_good(model, folder)
    assert model.parameters_["n_jobs"] == 1
    assert_nothing_left(client)


def test_the_only_worker_is_killed_and_comes_back(folder):
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        (pid,) = pids(client).values()
        with pytest.warns(DaskDLWarning, match="Went back to"):
            model = train_while(
                client, folder, lambda _: os.kill(pid, signal.SIGKILL), until=after(2, lambda: trainers(client) - {pid})
            )
        assert_good(model, folder)


def test_no_worker_is_left(cluster, client, folder, tmp_path):
    given = {"worker_timeout": 1.0, "checkpoint_dir": str(tmp_path), "checkpoint_interval": 1e6, "client": client}
    model = DeepLearningRegressor(**KEEPING | given)

    ended = []

    def watch(record):
        if record["iterations"] >= 5 and not ended:
            ended.append(time.monotonic())
            cluster.scale(0)

    with pytest.raises(NoWorkersError, match="no worker for 1 s"):
        model.fit(read(folder), "y", callbacks=[watch])
    assert time.monotonic() - ended[0] < 30
    assert model.stopped_by_ == "no workers"
    assert_good(model, folder)
    # What was saved is gone on with, here on none but this process.
    again = DeepLearningRegressor(
        **SETTINGS
        | {"overwrite_with_best_model": True}
        | given
        | {"client": None, "epochs": model.model_.record.n_seen / 20_000 + 2}
    )
    cluster.close()
    again.fit(pd.read_parquet(folder), "y", resume=True)
    assert again.model_.record.n_seen == pytest.approx(model.model_.record.n_seen + 40_000, abs=1)


def test_time_is_up_while_there_is_no_worker(cluster, client, folder):
    def watch(record):
        if record["iterations"] >= 5:
            cluster.scale(0)

    began = time.monotonic()
    model = DeepLearningRegressor(**KEEPING | {"max_runtime_secs": 18.0, "worker_timeout": 16.0}, client=client)
    with pytest.raises(NoWorkersError):
        model.fit(read(folder), "y", callbacks=[watch])
    assert time.monotonic() - began < 60
    assert_good(model, folder)


def test_a_cluster_without_workers_is_an_error_in_time(folder):
    with (
        LocalCluster(n_workers=0, dashboard_address=":0") as cluster,
        Client(cluster) as client,
        pytest.raises(NoWorkersError, match="no worker for 1 s"),
    ):
        DeepLearningRegressor(client=client, worker_timeout=1.0).fit(read(folder), "y")


def test_other_work_proceeds_and_heartbeats_go_on(client, folder):
    """One long round: the worker has one thread, and still answers."""
    answers = []

    def happens(_):
        for k in range(20):
            began = time.monotonic()
            assert client.submit(lambda x: x + 1, k, pure=False).result(timeout=30) == k + 1
            answers.append(time.monotonic() - began)
        seen = [worker["last_seen"] for worker in client.scheduler_info(n_workers=-1)["workers"].values()]
        assert time.time() - min(seen) < 5

    given = {"train_samples_per_iteration": 100_000}
    model = train_while(client, folder, happens, until=lambda: True, **given)
    assert len(answers) == 20 and float(np.median(answers)) < 1.0
    assert model.model_.record.n_seen >= 3 * 100_000


def unlearn():
    sys.modules["dask_dl"] = None  # as if it was not installed


def test_a_worker_without_the_package_is_named_before_work_starts(client, folder):
    lacking = max(pids(client))
    client.run(unlearn, workers=[lacking])
    with pytest.raises(ClusterError, match=rf"cannot be used on {lacking}: .*ModuleNotFoundError.*pip install"):
        DeepLearningRegressor(**SETTINGS, client=client).fit(read(folder), "y")


# ---- drivers ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def forked_by_children(monkeypatch):
    """Have the workers of other processes' clusters made by a process that has imported once."""
    monkeypatch.setenv("DASK_DISTRIBUTED__WORKER__MULTIPROCESSING_METHOD", "forkserver")


CLI = [sys.executable, "-c", "import sys; from dask_dl.cli import main; sys.exit(main())"]


def command(folder, model, *more):
    return [
        *CLI, "train", str(folder), "--target", "y", "--model", str(model), "--hidden", "50,50",
        "--random-state", "1", "--stopping-rounds", "0", "--regression-stop", "-1", "--train-samples-per-iteration", "10000",
        "--score-each-iteration", *more,
    ]  # fmt: skip


def started(arguments, line):
    """A process of its own group, once it has printed the line."""
    process = subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    output = []
    for text in process.stdout:
        output.append(text)
        if re.search(line, text):
            return process, output
    raise AssertionError("".join(output))


def test_a_killed_driver_goes_on_with_another_number_of_workers(folder, tmp_path, forked_by_children):
    state, model = tmp_path / "state", tmp_path / "model.zip"
    given = ["--checkpoint-dir", str(state)]
    often = ["--checkpoint-interval", "0", "--epochs", "10000", "--workers", "2", *given]
    process, _ = started(command(folder, model, *often), "checkpoint-00000005")
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert not model.exists()
    newest = CheckpointFolder(str(state)).newest()
    reached = math.ceil(newest[2]["course"]["n_seen"] / 20_000)  # it may have come far before it was killed
    epochs = reached + 2
    arguments = command(folder, model, "--epochs", str(epochs), "--workers", "1", "--resume", *given)
    done = subprocess.run(arguments, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "going on from" in done.stdout
    assert load(model).model_.record.n_seen == 20_000 * epochs


def test_ctrl_c_in_a_terminal_saves_the_model(folder, tmp_path, forked_by_children):
    """The signal reaches the workers too, as it does from a terminal."""
    model = tmp_path / "model.zip"
    process, _ = started(command(folder, model, "--epochs", "10000", "--workers", "2"), r"^ +\d+\.\d\d ")
    time.sleep(1)
    began = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    output = process.stdout.read()
    assert process.wait(timeout=60) == 130, output
    process.stdout.close()
    assert time.monotonic() - began < 20, output
    assert load(model).stopped_by_ == "interrupted"


SCRIPT = """
import os, sys, threading, time
import dask.dataframe as dd
from distributed import Client, LocalCluster
from dask_dl import DeepLearningRegressor

def is_under_way(dask_scheduler):
    return any(str(key).startswith("dask-dl-train") for key in dask_scheduler.tasks)

def interrupt(client):
    global began
    while not client.run_on_scheduler(is_under_way):
        time.sleep(0.1)
    time.sleep(1)
    began = time.monotonic()
    os.kill(os.getpid(), 2)

if __name__ == "__main__":
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster, Client(cluster) as client:
        model = DeepLearningRegressor(hidden=(300, 300), epochs=1e4, train_samples_per_iteration=5_000_000, verbose=True)
        threading.Thread(target=interrupt, args=[client]).start()
        model.fit(dd.read_parquet(sys.argv[1]), "y")
        print("ended", model.stopped_by_, time.monotonic() - began, model.model_.record.n_seen)
"""


def test_ctrl_c_in_a_script_ends_a_round_of_an_hour_and_lines_are_printed_once(folder, tmp_path, forked_by_children):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(script), str(folder)],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    match = re.search(r"ended interrupted ([\d.]+) (\d+)", done.stdout)
    assert match, done.stdout + done.stderr
    assert float(match[1]) < 25 and int(match[2]) > 1000
    for line in ("scanning the training table", "memory of a worker: at most"):  # on the client, and by no worker
        assert done.stdout.count(line) == 1


FOLDS = """
import contextlib, os, sys, threading, time
import dask.dataframe as dd
import numpy as np
from distributed import Client, LocalCluster
from dask_dl import DeepLearningRegressor

class Interrupting(list):
    def write(self, text):
        self.append(text)
        if text.startswith("fold "):  # the first is done
            threading.Timer(0.5, interrupt).start()

    def flush(self):
        pass

def interrupt():
    global began
    began = time.monotonic()
    os.kill(os.getpid(), 2)

def of_scheduler(dask_scheduler):
    names = [*dask_scheduler.tasks, *dask_scheduler.worker_plugins, *dask_scheduler.extensions["queues"].queues]
    return [name for name in map(str, names) if "dask-dl" in name]

def of_worker(dask_worker):
    return [name for name in map(str, [*dask_worker.plugins, *dask_worker.data]) if "dask-dl" in name]

def folds(where, X, left):
    given = {"hidden": (50,), "train_samples_per_iteration": 20_000, "stopping_rounds": 0, "regression_stop": -1}
    model = DeepLearningRegressor(**given, epochs=1000, verbose=True)
    try:
        with contextlib.redirect_stdout(Interrupting()):
            model.fit(X, "y", folds="fold")
    except KeyboardInterrupt as error:
        took, threads = time.monotonic() - began, [t.name for t in threading.enumerate()]
        threads = [name for name in threads if name.startswith(("dask_dl", "fold"))]
        for _ in range(100):  # messages arrive a little later
            if not left():
                break
            time.sleep(0.05)
        print(where, "took", took, error, "left", threads, left(), hasattr(model, "model_"))
        with contextlib.redirect_stdout(None):
            model.set_params(epochs=0.1).fit(X, "y", folds="fold")
        print(where, "and then", len(model.cross_validation_models_))

if __name__ == "__main__":
    table = dd.read_parquet(sys.argv[1]).compute()
    # The first fold has nearly all rows: its training ends long before the others.
    table["fold"] = np.where(np.arange(len(table)) < 200, 1 + np.arange(len(table)) % 2, 0)
    X = dd.from_pandas(table, npartitions=8)
    folds("threads", X, list)
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster, Client(cluster) as client:
        folds("workers", X, lambda: client.run_on_scheduler(of_scheduler) + sum(client.run(of_worker).values(), []))
"""


def test_ctrl_c_while_folds_train_ends_them_and_leaves_nothing_behind(folder, tmp_path, forked_by_children):
    script = tmp_path / "script.py"
    script.write_text(FOLDS)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(script), str(folder)],
        check=False,
        capture_output=True,
        text=True,
        timeout=240,
    )
    for where in ("threads", "workers"):
        text = rf"{where} took ([\d.]+) .*interrupted after 1 of 3 folds; nothing is kept .* left \[\] \[\] False"
        match = re.search(text, done.stdout)
        assert match, done.stdout + done.stderr
        assert float(match[1]) < 25
        assert f"{where} and then 3" in done.stdout


# ---- memory -------------------------------------------------------------------------------------------------------------


def peak(dask_worker):
    return taken(is_fork=True)


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A table whose rows weigh as much as what is imported."""
    place = tmp_path_factory.mktemp("large")
    random = np.random.default_rng(0)
    for k in range(8):
        part = pd.DataFrame(random.normal(size=(50_000, 12)), columns=[f"c{i}" for i in range(12)])
        part["level"] = random.choice([f"level {i}" for i in range(300)], len(part))
        part.assign(y=part["c0"] * 2 + random.normal(size=len(part))).to_parquet(place / f"{k}.parquet")
    return place


@pytest.mark.parametrize("mode", ["memory", "disk", "stream"])
def test_real_peak_of_a_worker_stays_below_the_printed_one(client, large, capsys, monkeypatch, mode):
    monkeypatch.setattr(storage, "MAX_WINDOW", 8 * 2**20)
    given = {"hidden": (200, 200), "epochs": 0.2, "random_state": 1, "verbose": True, "storage": mode}
    model = DeepLearningRegressor(**given, client=client).fit(read(large), "y")
    assert model.parameters_["storage"] == mode
    line = re.search(r"memory of a worker: at most ([\d.,]+) (MB|GB)", capsys.readouterr().out)
    printed = float(line[1].replace(",", "")) * {"MB": 1e6, "GB": 1e9}[line[2]]
    real = max(client.run(peak).values())
    assert 0.6 * printed < real < 1.005 * printed, (real, printed)


def test_a_worker_that_is_too_small_is_warned_of(folder):
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0", memory_limit="450MiB") as cluster,
        Client(cluster) as client,
        pytest.warns(DaskDLWarning, match="1 workers have too little memory"),
    ):
        DeepLearningRegressor(**PLAIN | {"epochs": 0.1}, client=client).fit(parted(make_table(100)), "y")
