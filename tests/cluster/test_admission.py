"""Every worker is judged for itself: by what it answers, by whether it answers, and by what it fails in."""

from __future__ import annotations

import asyncio
import warnings

import pytest
from cluster.tables import in_loop, nothing_left, parted, rounds
from distributed import Client, Worker, get_worker
from distributed.utils_test import gen_cluster
from tables import make_table

from dask_dl import DeepLearningRegressor
from dask_dl.cluster import environment, plugin, submit, waiting
from dask_dl.cluster.admission import Admission
from dask_dl.cluster.liveness import Member
from dask_dl.cluster.submit import Submitter
from dask_dl.errors import ClusterError, DaskDLWarning, NoWorkersError
from dask_dl.events import Listeners, Warned
from dask_dl.frame.block_store import OnDisk

no_worker = gen_cluster(client=True, nthreads=[], timeout=60)
one_worker = gen_cluster(client=True, nthreads=[("127.0.0.1", 1)], timeout=120)
two_workers = gen_cluster(client=True, nthreads=[("127.0.0.1", 1)] * 2, timeout=120)


def facts(**changes):
    return environment.describe() | changes


@pytest.fixture
def answers(monkeypatch):
    """Answers by address, in the place of what a worker says: facts, or an error."""
    found, run = {}, Client.run

    async def answer(worker):
        return {worker: found[worker]() if callable(found[worker]) else found[worker]}

    def run_or_answer(client, function, *args, workers=None, **more):
        if function is environment.describe and workers[0] in found:
            return answer(*workers)
        return run(client, function, *args, workers=workers, **more)

    monkeypatch.setattr(Client, "run", run_or_answer)
    return found


# ---- what is compared -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (facts(dask_dl="0.0.1"), r"dask_dl is .* here and 0\.0\.1 on w1"),
        (facts(sources="0123456789ab"), r"other sources here \(\w+\) than on w1 \(0123456789ab\)"),
        (facts(numba=environment.MISSING), "numba: not installed on w1"),
        (ModuleNotFoundError("No module named 'dask_dl'"), "cannot be used on w1: ModuleNotFoundError.*pip install"),
        (facts(sources=None), None),  # installed in a zip file: its version has to do
        (facts(), None),
    ],
)
def test_a_worker_is_ruled_out_by_its_answer(answer, text):
    why = environment.objection(answer, "w1")
    if text is None:
        assert why is None
        return
    with pytest.raises(ClusterError, match=text):
        environment.check({"w0": facts(), "w1": answer})


# ---- who answers --------------------------------------------------------------------------------------------------------


def joining(s, answers, *spoilt):
    """A callback after which further workers are there in the third round: one healthy, others with a given answer."""
    loop, new = asyncio.get_running_loop(), []

    async def start():
        for answer in (None, *spoilt):
            worker = await Worker(s.address, nthreads=1)
            new.append(worker)
            if answer is not None:
                answers[worker.address] = answer

    def watch(record):
        if record["iterations"] == 3 and not new:
            in_loop(start(), loop)

    return new, watch


def test_a_worker_that_joins_is_refused_once_and_a_healthy_one_beside_it_is_used(answers, capsys):
    @one_worker
    async def run(c, s, a):
        new, watch = joining(s, answers, facts(dask_dl="0.0.1", host="node7"), ImportError("libsvml is missing"))

        def texts():
            return [str(w.message) for w in caught if issubclass(w.category, DaskDLWarning)]

        def until(record):
            watch(record)
            return len(texts()) == 2 and len(plugins_with_blocks(a, *new)) == 2

        model = DeepLearningRegressor(**rounds(300) | {"epochs": 1e4}, verbose=True)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            await model.fit(parted(make_table(), 8), "y", callbacks=[until])
        assert model.parameters_["n_jobs"] == 2 and len(texts()) == 2
        for worker, why in ((new[1], "on host node7: dask_dl is"), (new[2], "libsvml is missing")):
            (text,) = [text for text in texts() if f"worker {worker.address} is not used" in text]
            assert why in text
        out = capsys.readouterr().out
        assert out.count(f"left out: worker {new[1].address} is not used, on host node7") == 1
        await nothing_left(s, a, *new)
        for worker in new:
            await worker.close()

    run()


def plugins_with_blocks(*workers):
    from cluster.tables import training_plugins

    homes = [home for worker in workers for home in training_plugins(worker)]
    return [home for home in homes if "training" in home.shard.tables and home.shard.tables["training"].blocks]


def test_a_worker_that_does_not_answer_is_asked_again_and_holds_up_nobody(answers):
    @one_worker
    async def run(c, s, a):
        asked = []

        def silent():
            asked.append(0)
            return OSError("it died") if len(asked) < 4 else facts()

        new, watch = joining(s, answers, silent)

        def until(record):
            watch(record)
            return len(plugins_with_blocks(a, *new)) == 3

        model = DeepLearningRegressor(**rounds(300) | {"epochs": 1e4})
        await model.fit(parted(make_table(), 9), "y", callbacks=[until])
        assert len(asked) == 4 and model.parameters_["n_jobs"] == 3
        for worker in new:
            await worker.close()

    run()


def test_a_worker_that_never_answers_is_left_out_of_a_training_that_begins(answers, monkeypatch):
    monkeypatch.setattr("dask_dl.cluster.membership.ASKING", 0.5)

    @two_workers
    async def run(c, s, a, b):
        answers[b.address] = TimeoutError()
        model = await DeepLearningRegressor(**rounds(500)).fit(parted(make_table()), "y")
        assert model.parameters_["n_jobs"] == 1 and model.model_.record.n_seen == 4000

    run()


def test_nobody_answers_in_time(answers, monkeypatch):
    @one_worker
    async def run(c, s, a):
        answers[a.address] = OSError("it died")
        with pytest.raises(NoWorkersError, match=r"for 1 s, though 1 were there.*worker_timeout"):
            await DeepLearningRegressor(**rounds(500) | {"worker_timeout": 1.0}).fit(parted(make_table()), "y")
        await nothing_left(s, a)

    run()


@no_worker
async def test_a_worker_is_tried_again_with_pauses_and_then_refused(c, s):
    said = []
    judge = Admission(c, Listeners([said.append]))
    for _ in range(submit.ATTEMPTS - 1):
        judge.due.clear()
        assert judge.is_due("w")
        judge.failed("w", "it was killed")
        assert not judge.is_due("w") and not said
    with pytest.warns(DaskDLWarning, match=r"lost 20 times; the last time, it is gone"):
        judge.failed("w", "it is gone")
    assert [type(event) for event in said] == [Warned] and "w" in judge.refused
    pauses = [waiting.pause_after(n) for n in range(1, submit.ATTEMPTS)]
    assert pauses == sorted(pauses) and sum(pauses) > 60 and max(pauses) == waiting.MAX_PAUSE


@no_worker
async def test_the_same_reason_on_the_same_host_is_said_once(c, s):
    said = []
    judge = Admission(c, Listeners([said.append]))
    for k in range(3):
        judge.hosts[f"w{k}"] = "node1" if k < 2 else "node2"
    with pytest.warns(DaskDLWarning, match="node1"):
        judge.refuse("w0", "it has no disk")
    judge.refuse("w1", "it has no disk")
    with pytest.warns(DaskDLWarning, match="node2"):
        judge.refuse("w2", "it has no disk")
    assert len(said) == 2 and judge.refused.keys() == {"w0", "w1", "w2"}


# ---- workers that cannot do their part ----------------------------------------------------------------------------------


def test_a_worker_whose_disk_is_full_is_left_out(monkeypatch, told):
    """Its blocks go to the other one, those too for which there was room."""
    inner, full, written = OnDisk.put, [], []

    def put(self, rows, again):
        if any(str(self.folder).startswith(str(folder)) for folder in full):
            written.append(rows.n)
            if len(written) > 2:
                raise self.write_error(OSError(28, "No space left on device"), rows.nbytes)
        return inner(self, rows, again)

    monkeypatch.setattr(OnDisk, "put", put)

    @two_workers
    async def run(c, s, a, b):
        full.append(b.local_directory)
        with pytest.warns(DaskDLWarning, match=rf"{b.address} is not used, on host .*the disk is full"):
            model = await DeepLearningRegressor(**rounds(500), storage="disk").fit(parted(make_table()), "y")
        assert model.parameters_["n_jobs"] == 1 and model.model_.record.n_seen == 4000
        assert len(written) > 2 and {event.kind for event in told} == {"left out"}  # once more where it joins anew

    run()


@pytest.mark.parametrize("step", ["restore", "compile"])
def test_a_worker_that_cannot_hold_the_network_is_left_out_of_a_restoring(step, monkeypatch):
    """The last worker dies; of two that come, one has too little memory."""

    @one_worker
    async def run(c, s, a):
        loop, new = asyncio.get_running_loop(), []
        inner = getattr(plugin.Shard, step)

        def fails(*args, **more):
            if new and get_worker() is new[0]:
                raise MemoryError("too little")
            return inner(*args, **more)

        async def replace():
            new.append(await Worker(s.address, nthreads=1))
            await a.close()
            loop.call_later(1, lambda: asyncio.ensure_future(another()))

        async def another():
            new.append(await Worker(s.address, nthreads=1))

        def watch(record):
            if record["iterations"] == 4 and not new:
                monkeypatch.setattr(plugin.Shard, step, fails)
                in_loop(replace(), loop)

        with pytest.warns(DaskDLWarning, match="is not used.*MemoryError"):
            model = await DeepLearningRegressor(**rounds(500)).fit(parted(make_table()), "y", callbacks=[watch])
        assert model.model_.record.n_seen == 4000
        for worker in new:
            await worker.close()

    run()


@one_worker
async def test_the_only_worker_fails_at_the_start(c, s, a):
    def fails(*_):
        raise MemoryError("too little")

    inner, plugin.Shard.compile = plugin.Shard.compile, fails
    try:
        with pytest.raises(ClusterError, match=rf"worker {a.address} cannot do its part: MemoryError"):
            await DeepLearningRegressor(**rounds(500)).fit(parted(make_table()), "y")
    finally:
        plugin.Shard.compile = inner
    await nothing_left(s, a)


def test_steps_are_tried_again_with_pauses_and_end(monkeypatch):
    slept = []
    monkeypatch.setattr(Submitter, "pause", lambda self, seconds: slept.append(seconds))
    attempts = Submitter(None, None, "j", 1.0, print).attempts()
    assert [next(attempts) for _ in range(20)] == [None] * 20
    with pytest.raises(ClusterError, match="lost 20 times in a row"):
        next(attempts)
    assert len(slept) == 19 and sum(slept) > 60


def test_an_answer_is_forgotten_with_its_worker(answers):
    @no_worker
    async def run(c, s):
        judge = Admission(c, Listeners())
        alive = {"tcp://127.0.0.1:9": Member("tcp://127.0.0.1:9", 1, 0, "127.0.0.1")}
        judge.ask(alive)
        assert judge.is_asking
        judge.judge({})
        assert not judge.is_asking and not judge.facts and not judge.refused

    run()
