"""Workers that do nothing, for the real scheduler, client and driver: what `scheduler.py` measures.

A worker here is Dask's own state machine and nothing else: it says and asks what a real one would, at once, and its tasks and
transfers take no time. All workers live in a process of their own, so that the processor time of this one is that of
scheduler, client and driver. A heartbeat costs the scheduler a little less than a real one, which brings more metrics.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import multiprocessing
import threading
import time
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import dask
from distributed import Client, LocalCluster
from distributed.batched import BatchedSend
from distributed.comm import connect, listen
from distributed.protocol import to_serialize
from distributed.versions import get_versions
from distributed.worker_state_machine import (
    AcquireReplicasEvent,
    ComputeTaskEvent,
    Execute,
    ExecuteSuccessEvent,
    FreeKeysEvent,
    GatherDep,
    GatherDepSuccessEvent,
    RefreshWhoHasEvent,
    RemoveReplicasEvent,
    SecedeEvent,
    SendMessageToScheduler,
    WorkerState,
)

from dask_dl.cluster.averaging import Contribution
from dask_dl.cluster.round_tasks import Report
from dask_dl.node.parallelism import Parallelism

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

MEMORY = 64 * 2**30  #: bytes of a worker
EVENTS = {
    "acquire-replicas": AcquireReplicasEvent,
    "compute-task": ComputeTaskEvent,
    "free-keys": FreeKeysEvent,
    "refresh-who-has": RefreshWhoHasEvent,
    "remove-replicas": RemoveReplicasEvent,
}
REPORT = Report(0, None, Parallelism("one thread", 1, 64, "it has one thread"), 100, 0.0, None)
SMALL = 1000  #: bytes of a report


class Transfer(NamedTuple):
    """Results of tasks that a worker fetched from another one."""

    sender: str
    receiver: str
    keys: tuple[str, ...]


class SimulatedWorker:
    """A worker that computes nothing.

    Parameters
    ----------
    number : int
    transfers : list of Transfer
        What all of them have fetched.
    """

    def __init__(self, number: int, transfers: list[Transfer]) -> None:
        self._number, self._transfers = number, transfers
        self.seconds, self.n_bytes = 0.0, SMALL  #: that training takes, and of what it contributes
        self._interval = 0.5  #: seconds between two heartbeats

    async def start(self, scheduler: str) -> None:
        """Listen, register, and do as told from then on."""
        self._listener = await listen("tcp://127.0.0.1:0", self._answer, deserialize=False)
        self.address = self._listener.contact_address
        self._state = WorkerState(
            address=self.address,
            transfer_incoming_bytes_limit=MEMORY / 10,
            transfer_message_bytes_limit=50_000_000,
            transfer_incoming_count_limit=50,
            validate=False,
        )
        comm = await connect(scheduler, deserialize=False)
        await comm.write(
            {
                "op": "register-worker",
                "reply": False,
                "address": self.address,
                "status": "running",
                "nthreads": 1,
                "name": self._number,
                "now": time.time(),
                "resources": {},
                "memory_limit": MEMORY,
                "local_directory": "/tmp",
                "services": {},
                "nanny": None,
                "pid": 0,
                "versions": VERSIONS,
                "metrics": self._metrics(),
                "extra": {},
                "stimulus_id": f"worker-connect-{time.time()}",
                "server_id": f"worker-{self._number}",
            },
            serializers=["msgpack"],
        )
        self._interval = (await comm.read())["heartbeat-interval"]
        self._stream = BatchedSend(interval="2ms")
        self._stream.start(comm)
        self._tasks = [asyncio.create_task(self._obey(comm)), asyncio.create_task(self._beat(scheduler))]

    async def _obey(self, comm: Any) -> None:
        """Handle what the scheduler sends."""
        with contextlib.suppress(OSError):
            while True:
                for message in await comm.read():
                    if event := EVENTS.get(message.pop("op")):
                        self._handle(event(**message))

    def _handle(self, event: Any) -> None:
        loop = asyncio.get_running_loop()
        for instruction in self._state.handle_stimulus(event):
            if isinstance(instruction, SendMessageToScheduler):
                self._stream.send(instruction.to_dict())
            elif isinstance(instruction, Execute):
                loop.call_soon(self._execute, instruction.key)
            elif isinstance(instruction, GatherDep):
                self._transfers.append(Transfer(instruction.worker, self.address, tuple(instruction.to_gather)))
                data = dict.fromkeys(instruction.to_gather, REPORT)
                arrived = GatherDepSuccessEvent(
                    worker=instruction.worker,
                    total_nbytes=instruction.total_nbytes,
                    data=data,
                    stimulus_id=f"gather-dep-success-{time.time()}",
                )
                loop.call_soon(self._handle, arrived)

    def _execute(self, key: str) -> None:
        """Do nothing in place of a task; training lets others have their turn first."""
        is_training = key.startswith("dask-dl-train")
        if is_training:
            self._handle(SecedeEvent(key=key, compute_duration=0.0, stimulus_id=f"secede-{time.time()}"))
        asyncio.get_running_loop().call_later(self.seconds * is_training, self._finish, key)

    def _finish(self, key: str) -> None:
        is_report = "-receive-" in key
        now = time.time()
        self._handle(
            ExecuteSuccessEvent(
                key=key,
                run_id=self._state.tasks[key].run_id,
                value=REPORT,
                start=now,
                stop=now,
                nbytes=SMALL if is_report else self.n_bytes,
                type=Report if is_report else Contribution,
                stimulus_id=f"task-finished-{now}",
            )
        )

    async def _beat(self, scheduler: str) -> None:
        """Tell the scheduler now and then that this one is alive."""
        await asyncio.sleep(self._interval * (self._number % 100) / 100)
        with contextlib.suppress(OSError):
            comm = await connect(scheduler, deserialize=False)
            while True:
                message = {"address": self.address, "now": time.time(), "metrics": self._metrics()}
                await comm.write({"op": "heartbeat_worker", "reply": True, "executing": {}, "extensions": {}} | message)
                self._interval = (await comm.read())["heartbeat-interval"]
                await asyncio.sleep(self._interval)

    async def _answer(self, comm: Any) -> None:
        """Answer calls: for results of tasks, and for functions, which are not run."""
        with contextlib.suppress(OSError):
            while True:
                message = await comm.read()
                if message["op"] == "get_data":
                    here = self._state.data.keys() & message["keys"]
                    data = {key: to_serialize(self._state.data[key]) for key in here}
                    await comm.write({"status": "OK", "data": data})
                    await comm.read()
                elif message.get("reply", True):
                    await comm.write({"status": "OK", "result": to_serialize(None)})

    def _metrics(self) -> dict[str, Any]:
        activities = (("execute", "dask-dl-train", "thread-cpu", "seconds"), ("get-data", "network", "seconds"))
        return {
            "task_counts": {"memory": 1},
            "bandwidth": {"total": 1e8, "workers": {}, "types": {}},
            "digests_total_since_heartbeat": dict.fromkeys(activities, 0.01),
            "managed_bytes": 0,
            "spilled_bytes": {"memory": 0, "disk": 0},
            "transfer": dict.fromkeys(("incoming_bytes", "incoming_count", "outgoing_bytes", "outgoing_count"), 0),
            "event_loop_interval": 0.02,
            "cpu": 100.0,
            "memory": 2**30,
            "time": time.time(),
            "host_net_io": {"read_bps": 0.0, "write_bps": 0.0},
            "host_disk_io": {"read_bps": 0.0, "write_bps": 0.0},
            "num_fds": 30,
        }


VERSIONS = get_versions()


def quieten() -> None:
    """Say nothing of lost connections: all workers go at once in the end."""
    for name in ("distributed.batched", "distributed.comm.tcp", "distributed.nanny"):
        logging.getLogger(name).setLevel(logging.ERROR)


def live(pipe: Connection, n: int, scheduler: str) -> None:
    """Keep workers until the pipe is closed; answers (what, value) by what they have fetched since the last question."""
    quieten()

    async def run() -> None:
        transfers: list[Transfer] = []
        workers = [SimulatedWorker(number, transfers) for number in range(n)]
        for worker in workers:
            await worker.start(scheduler)
        ended, loop = asyncio.Event(), asyncio.get_running_loop()

        def answer() -> None:
            try:
                seconds, n_bytes = pipe.recv()
            except EOFError:
                ended.set()
                loop.remove_reader(pipe.fileno())
                return
            for worker in workers:
                worker.seconds, worker.n_bytes = seconds, n_bytes
            pipe.send(list(transfers))
            transfers.clear()

        loop.add_reader(pipe.fileno(), answer)
        pipe.send([])
        await ended.wait()

    asyncio.run(run())


class Processor(NamedTuple):
    """Seconds of processor time."""

    scheduler: float  #: its event loop
    driver: float  #: all other threads of this process

    def since(self, before: Processor) -> Processor:
        """What was used after an earlier moment."""
        return Processor(self.scheduler - before.scheduler, self.driver - before.driver)

    @property
    def total(self) -> float:
        """Both."""
        return self.scheduler + self.driver


class Simulation:
    """A scheduler in this process with workers, real ones or simulated ones; the client has an event loop of its own."""

    def __init__(self, cluster: LocalCluster, client: Client, pipe: Connection | None = None) -> None:
        self.scheduler, self.client, self._pipe = cluster.scheduler, client, pipe

        async def ident() -> int:
            return threading.get_ident()

        self._clock = time.pthread_getcpuclockid(cluster.sync(ident))

    def processor(self) -> Processor:
        """Processor time until now."""
        scheduler = time.clock_gettime(self._clock)
        return Processor(scheduler, time.process_time() - scheduler)

    def pretend(self, *, seconds: float = 0.0, n_bytes: int = SMALL) -> list[Transfer]:
        """Have training take so many seconds, and contribute so many bytes; returns what was fetched before."""
        assert self._pipe is not None
        self._pipe.send((seconds, n_bytes))
        return self._pipe.recv()

    @contextlib.contextmanager
    def counted(self) -> Iterator[Counter[str]]:
        """Count the messages to and from the scheduler inside the `with`."""
        counts: Counter[str] = Counter()
        scheduler, connect_to = self.scheduler, self.scheduler.rpc.connect
        streams = {**scheduler.stream_comms, **scheduler.client_comms}
        handlers = scheduler.handlers, scheduler.stream_handlers

        async def called(address: str, *more: Any) -> Any:
            counts["call of a worker"] += 1
            return await connect_to(address, *more)

        def sent(send: Any, *messages: Any) -> None:
            counts.update(message["op"] for message in messages)
            send(*messages)

        for stream in streams.values():
            stream.send = partial(sent, stream.send)
        scheduler.handlers, scheduler.stream_handlers = (Counted(old, counts) for old in handlers)
        scheduler.rpc.connect = called
        try:
            yield counts
        finally:
            for stream in streams.values():
                del stream.send
            scheduler.handlers, scheduler.stream_handlers = handlers
            del scheduler.rpc.connect


class Counted(dict[str, Any]):
    """Handlers of messages, which count how often they are looked up."""

    def __init__(self, handlers: dict[str, Any], counts: Counter[str]) -> None:
        super().__init__(handlers)
        self._counts = counts

    def __getitem__(self, name: str) -> Any:
        self._counts[name] += 1
        return super().__getitem__(name)


@contextlib.contextmanager
def scheduler_of(n: int, *, is_real: bool = False) -> Iterator[Simulation]:
    """A scheduler with n workers of one thread, simulated or real processes."""
    quieten()
    with contextlib.ExitStack() as stack:
        stack.enter_context(dask.config.set({"distributed.scheduler.worker-ttl": None}))  # a simulation may be paused
        cluster = stack.enter_context(
            LocalCluster(
                n_workers=n * is_real, processes=True, threads_per_worker=1, memory_limit=0, dashboard_address=None
            )
        )
        pipe = None
        if not is_real:
            context = multiprocessing.get_context("spawn")
            pipe, theirs = context.Pipe()
            process = context.Process(target=live, args=(theirs, n, cluster.scheduler_address), daemon=True)
            process.start()
            theirs.close()
            stack.callback(process.join)
            stack.callback(pipe.close)
            pipe.recv()
        client = stack.enter_context(Client(cluster.scheduler_address))
        client.wait_for_workers(n)
        yield Simulation(cluster, client, pipe)
