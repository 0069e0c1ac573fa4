"""How much to train, and in which portions (specification, section 6.5)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dask_dl.score.history import Pace

#: Seconds of work in a round whose size is automatic ...
SECONDS_PER_ROUND = 1.0
#: ... and the least number of such rounds in a training.
FEWEST_ROUNDS = 10
#: Averages in an epoch, at least: one for every replica, within these limits. Fewer learn less (docs/cluster.md).
AVERAGES_PER_EPOCH = (4, 8)
#: ... and of every replica in a training, at least.
AVERAGES_PER_REPLICA = 5
#: Weights that a thread trains in a second, at least: sizes the first round, before anything is measured.
SLOWEST = 1e8


@dataclass
class Plan:
    """Rows of a training and of its rounds; the last round is cut to the rows asked for, unlike H2O's."""

    n_total: int  #: rows to visit in all
    n_epoch: int  #: rows of an epoch
    pace: Pace  #: of scoring
    fixed: int | None  #: rows of every round; None: automatic
    first: int = 1  #: rows of the first automatic round
    most: int = 2**63  #: rows of any automatic round
    _speed: float = field(default=0.0, init=False)  #: rows per second of the last round

    @classmethod
    def of(
        cls,
        epochs: float,
        n_epoch: int,
        per_iteration: int,
        pace: Pace,
        *,
        n_weights: int,
        n_threads: int,
        n_replicas: int = 1,
        n_copies: int = 1,
    ) -> Plan:
        """From the parameters: `per_iteration` 0 is an epoch, -1 all rows of every replica, -2 is automatic."""
        n_total = round(epochs * n_epoch)
        if epochs > 0:
            n_total = max(1, n_total)
        fixed = {0: n_epoch, -1: n_epoch * n_copies, -2: None}.get(per_iteration, per_iteration)
        first = max(1, int(SLOWEST * n_threads / n_weights))
        most = n_epoch
        if n_replicas > 1:
            fewest, enough = AVERAGES_PER_EPOCH
            n_averages = min(max(n_replicas, fewest), enough)
            most = max(1, min(n_epoch // n_averages, n_total // (AVERAGES_PER_REPLICA * n_replicas)))
        return cls(n_total, n_epoch, pace, fixed, first, most)

    def rows(self, n_seen: int) -> int:
        """Rows of the round that begins after `n_seen`.

        An automatic one takes about SECONDS_PER_ROUND, by the speed of the round before; it is at most an epoch, less where
        replicas are averaged, and at most the share of the training that leaves FEWEST_ROUNDS.
        """
        rest = self.n_total - n_seen
        if self.fixed is not None:
            return min(self.fixed, rest)
        wanted = self._speed * SECONDS_PER_ROUND if self._speed else self.first
        return min(max(1, int(wanted)), self.n_epoch, self.most, max(1, self.n_total // FEWEST_ROUNDS), rest)

    def took(self, n: int, seconds: float) -> None:
        """A round of n rows is over."""
        if n > 0:
            self._speed = n / max(seconds, 1e-6)
