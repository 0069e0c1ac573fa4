"""Interface of a fixed shard that the shard of its process needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable


class Dependent(Protocol):
    """Interface of a fixed shard that the shard of its process needs."""

    def forget(self, table: str) -> None:
        """Forget what was derived from the blocks of a table."""

    def close(self, *, waits: bool = True) -> None:
        """End the thread that reads ahead, if there is one."""

    def dropped(self, table: str, numbers: Iterable[int]) -> None:
        """Note that blocks of a table are not in this process any more."""

    def averaged(self, before: int, n_seen: int) -> None:
        """Note that the process has an average, of so many rows, after one of `before` rows."""
