"""Division of a cluster among trainings that shall not share workers."""

from __future__ import annotations

import threading
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class Part(NamedTuple):
    """A part of a division."""

    choose: Callable[[Iterable[str]], set[str]]  #: its workers, given the addresses of all
    close: Callable[[], None]  #: tells that it does not need them until it is asked again


class Division:
    """Parts of the workers of a cluster: each worker belongs to one, as long as it is there; a newcomer to the smallest.

    A part that is left without workers is lent one: of a part that is closed, or of the largest, which keeps one.

    Parameters
    ----------
    n : int
        Number of parts.
    """

    def __init__(self, n: int) -> None:
        self._n = n
        self._part: dict[str, int] = {}  #: worker -> its part
        self._closed: set[int] = set()
        self._lock = threading.Lock()

    def parts(self) -> list[Part]:
        """All parts."""
        return [Part(partial(self._of, k), partial(self._closed.add, k)) for k in range(self._n)]

    def _of(self, k: int, workers: Iterable[str]) -> set[str]:
        with self._lock:
            self._closed.discard(k)
            there = sorted(workers)
            self._part = {worker: self._part[worker] for worker in there if worker in self._part}
            sizes = Counter(dict.fromkeys(range(self._n), 0))
            sizes.update(self._part.values())
            for worker in there:
                if worker not in self._part:
                    smallest = min(sizes, key=lambda part: (part in self._closed, sizes[part], part))
                    self._part[worker] = smallest
                    sizes[smallest] += 1
            if not sizes[k] and there:
                self._lend(k, sizes)
            return {worker for worker, part in self._part.items() if part == k}

    def _lend(self, k: int, sizes: Counter[int]) -> None:
        able = [part for part, n in sizes.items() if n > (part not in self._closed)]
        if able:
            lender = max(able, key=lambda part: (part in self._closed, sizes[part], -part))
            self._part[max(worker for worker, part in self._part.items() if part == lender)] = k
