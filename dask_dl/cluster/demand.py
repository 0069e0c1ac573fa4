"""The demand for workers that a training shows to Dask's adaptive scaling."""

from __future__ import annotations

import contextlib
import math
from typing import Any

import dask
from dask.utils import parse_timedelta

from dask_dl.cluster.spans import in_span
from dask_dl.cluster.waiting import within

#: Name of the tasks on the Dask dashboard, and of the resource that they ask for.
NAME = "dask-dl-more-workers"
#: Maximum number of tasks.
MAX_TASKS = 1000
#: Seconds that the scheduler may take to answer.
ANSWER = 10.0


class Demand:
    """Tasks that no worker can run: adaptive scaling reads from them how many threads would be of use.

    A cluster that adapts asks `Scheduler.adaptive_target`, which counts tasks without a worker. A training has none, as its
    tasks are pinned to workers that are there. These tasks ask for a resource that no worker has, so that they stay with the
    scheduler: they take no thread, and hold no worker that is to be retired.

    Parameters
    ----------
    client : distributed.Client
    job : str
        Identifier of the training.
    """

    def __init__(self, client: Any, job: str) -> None:
        self._client, self._job = client, job
        self.tasks: list[Any] = []
        self._n_made = 0
        self._n_threads = 0

    def show(self, n_threads: int) -> None:
        """Ask for so many threads in all, those that are there included."""
        self.tasks = [task for task in self.tasks if task.status == "pending"]  # see `no-workers-timeout` of Dask
        if n_threads == self._n_threads and self.tasks:
            return
        self._n_threads = n_threads
        n = min(n_threads * self._tasks_per_thread(n_threads), MAX_TASKS)
        with contextlib.suppress(Exception):  # there may be no client, or no scheduler
            for task in self.tasks[n:]:
                task.release()
            del self.tasks[n:]
            keys = [f"{NAME}-{self._job}-{self._n_made + k}" for k in range(n - len(self.tasks))]
            self._n_made += len(keys)
            if keys:
                with in_span():
                    self.tasks += self._client.map(
                        bool, range(len(keys)), key=keys, pure=False, resources={NAME: 1}, batch_size=len(keys)
                    )

    def withdraw(self) -> None:
        """Ask for nothing any more."""
        tasks, self.tasks, self._n_threads = self.tasks, [], 0
        within(ANSWER, lambda: self._client.cancel(tasks))
        for task in tasks:
            task.release()

    def _tasks_per_thread(self, n_threads: int) -> int:
        """Number of tasks that adaptive scaling takes for work of one thread.

        It asks for a thread for every `target` seconds of work that wait. Where the scheduler may be told so, a task counts
        that much (a bit less, as Dask rounds up); else what Dask assumes of tasks that it does not know.
        """
        adaptive = getattr(self._client.cluster, "_adaptive", None)
        default = dask.config.get("distributed.adaptive.target-duration")
        target = float(parse_timedelta(getattr(adaptive, "target_duration", default)))
        name, seconds = NAME, target * (1 - 0.5 / max(1, n_threads))

        def weigh(dask_scheduler: Any) -> None:  # local, so that it is pickled by value: the scheduler may lack dask_dl
            from distributed.scheduler import TaskPrefix

            prefix = dask_scheduler.task_prefixes.setdefault(name, TaskPrefix(name))
            prefix.duration_average = seconds

        if within(ANSWER, lambda: self._client.run_on_scheduler(weigh)) is None:
            return 1
        unknown = parse_timedelta(dask.config.get("distributed.scheduler.unknown-task-duration"))
        return math.ceil(target / float(unknown))
