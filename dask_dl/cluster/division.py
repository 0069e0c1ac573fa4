"""Division of a cluster among trainings that shall not share workers."""

from __future__ import annotations

import threading
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class Division:
    """Parts of the workers of a cluster: each worker belongs to one, as long as it is there; a newcomer to the smallest.

    Parameters
    ----------
    n : int
        Number of parts.
    """

    def __init__(self, n: int) -> None:
        self._n = n
        self._part: dict[str, int] = {}  #: worker -> its part
        self._lock = threading.Lock()

    def parts(self) -> list[Callable[[Iterable[str]], set[str]]]:
        """Functions that choose the workers of each part, given the addresses of all."""
        return [partial(self._of, k) for k in range(self._n)]

    def _of(self, k: int, workers: Iterable[str]) -> set[str]:
        with self._lock:
            there = sorted(workers)
            self._part = {worker: self._part[worker] for worker in there if worker in self._part}
            sizes = Counter(dict.fromkeys(range(self._n), 0))
            sizes.update(self._part.values())
            for worker in there:
                if worker not in self._part:
                    smallest = min(sizes, key=lambda part: (sizes[part], part))
                    self._part[worker] = smallest
                    sizes[smallest] += 1
            return {worker for worker, part in self._part.items() if part == k}
