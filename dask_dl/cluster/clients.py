"""Finding a client to train with, or making one."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dask_dl.errors import ClusterError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def find_client(given: Any) -> Any:
    """The client to train with: the one given, else the active one, else None (train in this process).

    Inside a task only `worker_client` makes a client active: any other task would wait for the slot that it holds itself.
    """
    if given is not None:
        if not hasattr(given, "scheduler") or getattr(given, "status", None) in {"closed", "closing"}:
            raise ClusterError(f"client={given!r} is no running dask.distributed.Client.")
        return given
    if "distributed" not in sys.modules:  # then there is no client, and importing it takes half a second
        return None
    from distributed import Client, get_worker
    from distributed.threadpoolexecutor import thread_state

    with contextlib.suppress(ValueError):
        worker = get_worker()
        is_waited_for = getattr(thread_state, "proceed", True)
        return None if is_waited_for else worker._get_client()  # noqa: SLF001  # what `worker_client` yields
    try:
        client = Client.current()
    except ValueError:
        return None
    return client if client.status == "running" else None


async def awaitable(work: Callable[..., Any]) -> Any:
    """`work` on a thread of its own; when its caller is cancelled it ends as after Ctrl-C, and is waited for."""
    cancelled = threading.Event()
    running = asyncio.ensure_future(asyncio.to_thread(work, cancelled=cancelled.is_set))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        cancelled.set()
        await asyncio.wait([running])
        raise


def slot() -> tuple[int, str] | None:
    """Threads of the worker whose task this is, and what to call them; None outside of tasks."""
    if "distributed" not in sys.modules:
        return None
    from distributed import get_worker

    try:
        n = int(get_worker().state.nthreads)
    except ValueError:
        return None
    return n, f"a task on a worker with {n} threads"


def worker_limit() -> int:
    """Bytes that the worker whose task this is may have; 0 outside of tasks, and without a limit."""
    if "distributed" not in sys.modules:
        return 0
    from distributed import get_worker

    try:
        return int(get_worker().memory_manager.memory_limit or 0)
    except ValueError:
        return 0


def address_in(path: str) -> str:
    """Address of the scheduler that wrote a file. Raises ClusterError."""
    try:
        # distributed would wait, without end, for a file that is not there.
        return str(json.loads(Path(path).read_text(encoding="utf-8"))["address"])
    except OSError as error:
        raise ClusterError(
            f"--scheduler-file: {path} cannot be read: {error.strerror}. Is the scheduler up?"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise ClusterError(
            f"--scheduler-file: {path} holds no address of a scheduler; `dask scheduler --scheduler-file` writes such a file."
        ) from error


@contextlib.contextmanager
def connected(address: str, security: Any = None) -> Iterator[Any]:
    """A client of a running cluster."""
    from distributed import Client
    from distributed.comm import get_address_host

    try:
        get_address_host(address)  # a client whose address has a wrong form would stay the default client of Dask
        client = Client(address, security=security)
    except (OSError, TimeoutError, ValueError) as error:
        raise ClusterError(f"--scheduler {address}: cannot be reached: {error}") from error
    with client:
        yield client


@contextlib.contextmanager
def local_cluster(n_workers: int, n_threads: int, memory_limit: str | None) -> Iterator[Any]:
    """A client of a cluster of processes that is started here, and ended with it."""
    from dask.utils import parse_bytes
    from distributed import Client, LocalCluster

    settings: dict[str, Any] = {"n_workers": n_workers, "threads_per_worker": n_threads}
    if memory_limit is not None:
        try:
            settings["memory_limit"] = memory_limit if memory_limit == "auto" else parse_bytes(memory_limit)
        except ValueError as error:
            raise ClusterError(f"--memory-limit: {memory_limit!r} is neither like 4GiB nor auto.") from error
    with LocalCluster(**settings) as cluster, Client(cluster) as client:
        yield client
