"""Which workers may take part: each is asked what is installed, and judged, for itself."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from dask_dl.cluster import environment
from dask_dl.cluster.submit import ATTEMPTS
from dask_dl.cluster.waiting import pause_after
from dask_dl.errors import ClusterError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from concurrent.futures import Future

    from dask_dl.cluster.backend import Reporter
    from dask_dl.cluster.liveness import Member

#: Seconds that a worker gets to say what is installed: it may have to load all of that first.
ASKING = 60.0
#: Workers that are asked at a time: each question is a connection to the scheduler.
MAX_QUESTIONS = 128


class Admission:
    """Asks workers what is installed, and keeps which of them may not take part.

    A worker that dies or does not answer is asked again later. One whose answer rules it out, or that fails in what it has to
    do, is refused, and that is said once.

    Parameters
    ----------
    client : distributed.Client
    tell : Reporter
        Warned of workers that are refused, and of what differs between others.
    """

    def __init__(self, client: Any, tell: Reporter) -> None:
        self.facts: dict[str, dict[str, Any]] = {}  #: answers of the workers that may take part
        self.refused: dict[str, str] = {}  #: worker -> the reason
        self.answered: dict[str, Any] = {}  #: what every worker said of itself, or the error of one that cannot say
        self.hosts: dict[str, str] = {}  #: of the workers that answered
        self._client, self._tell = client, tell
        self._asked: dict[str, Future[Any]] = {}
        self._slots = asyncio.Semaphore(MAX_QUESTIONS)
        self._n_failures: Counter[str] = Counter()
        self.due: dict[str, float] = {}  #: worker -> when it may be tried again, of `time.monotonic`
        self._told: set[str] = set()  #: hosts and reasons

    def ask(self, alive: Mapping[str, Member]) -> None:
        """Ask those that have not answered yet; does not wait."""
        for worker in alive:
            if not {worker} & (self.facts.keys() | self.refused.keys() | self._asked.keys()) and self.is_due(worker):
                question = self._question(worker)
                try:
                    self._asked[worker] = asyncio.run_coroutine_threadsafe(question, self._client.loop.asyncio_loop)
                except RuntimeError:  # the client was closed
                    question.close()

    async def _question(self, worker: str) -> Any:
        async with self._slots:
            call = self._client.run(environment.describe, workers=[worker], on_error="return")
            return (await asyncio.wait_for(call, ASKING))[worker]

    def answers(self, alive: Mapping[str, Member]) -> dict[str, Any]:
        """Answers of workers since the last call: facts, or the error of a worker that cannot say."""
        found: dict[str, Any] = {}
        for worker, question in list(self._asked.items()):
            if worker not in alive:
                question.cancel()
            elif not question.done():
                continue
            del self._asked[worker]
            if question.cancelled():
                continue
            answer = question.exception() or question.result()
            if isinstance(answer, OSError):  # it died, or it hangs (TimeoutError): no answer
                self.failed(worker, f"it does not say what is installed: {answer!r}")
            else:
                found[worker] = answer
        return found

    def judge(self, alive: Mapping[str, Member], *, strict: bool = False) -> None:
        """Take note of the answers. Raises ClusterError when they are `strict` and rule a worker out."""
        answers = self.answers(alive)
        self.answered |= answers
        for worker, answer in list(answers.items()):
            self.hosts[worker] = answer["host"] if isinstance(answer, dict) else alive[worker].host
            if not strict and (why := environment.objection(answer, "this worker")) is not None:
                self.refuse(worker, why)
                del answers[worker]
        if answers:
            for text in environment.check(answers):
                self._tell.warn(text)
            self.facts |= answers

    def suffices(self, alive: Mapping[str, Member], *, partly: bool) -> bool:
        """Whether some workers may take part, and all others, or `partly` not all, are refused.

        Raises ClusterError when all are refused.
        """
        known, refused = alive.keys() & self.facts.keys(), alive.keys() & self.refused.keys()
        if refused and refused == alive.keys():
            raise ClusterError(" ".join(dict.fromkeys(self.refused[worker] for worker in sorted(refused))))
        return bool(known) and (partly or len(known | refused) == len(alive))

    @property
    def is_asking(self) -> bool:
        """Whether an answer is awaited."""
        return not all(question.done() for question in self._asked.values())

    def refuse(self, worker: str, why: str) -> None:
        """Leave a worker out for good; said once for each host and reason."""
        self.refused[worker] = why
        self.facts.pop(worker, None)
        about = f"on host {self.hosts.get(worker, 'unknown')}: {why}"
        if about not in self._told:
            self._told.add(about)
            self._tell.warn(f"worker {worker} is not used, {about}", "left out")

    def failed(self, worker: str, why: str) -> None:
        """Try a worker again later, when it was lost or did not answer; refuse it when that happens again and again."""
        self._n_failures[worker] += 1
        self.due[worker] = time.monotonic() + pause_after(self._n_failures[worker])
        if self._n_failures[worker] >= ATTEMPTS:
            self.refuse(worker, f"it was lost {ATTEMPTS} times; the last time, {why}")

    def is_due(self, worker: str) -> bool:
        """Whether a worker may be tried (again) by now."""
        return time.monotonic() >= self.due.get(worker, 0.0)

    def close(self) -> None:
        """Wait for no answer any more."""
        for question in self._asked.values():
            with contextlib.suppress(RuntimeError):  # the client was closed
                question.cancel()
        self._asked = {}
