"""Averages of the replicas of a round, made by ordinary tasks on the workers, from whose root all workers go on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dask_dl.cluster import round_tasks
from dask_dl.cluster.averaging import FAN, Contribution
from dask_dl.cluster.plugin import GoneError
from dask_dl.cluster.submit import TaskSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dask_dl.cluster.membership import Membership


class AverageTree:
    """A tree of averages, and the workers that go on from its root.

    Parameters
    ----------
    membership : Membership
        The workers that take part.
    moving_rate : float or None
        Of elastic averaging; None: replicas go on from their average.
    """

    def __init__(self, membership: Membership, moving_rate: float | None) -> None:
        self._membership, self._submitter, self._moving_rate = membership, membership.submitter, moving_rate
        self._received: dict[str, Any] = {}  #: worker -> future: it goes on from the average
        self._passing: list[str] = []  #: workers from which others fetch it
        self.was_several = False  #: whether there was ever more than one replica: a consensus with oneself is none

    def forget(self) -> None:
        """Forget an average that is not wanted any more."""
        self._received = {}

    def average(
        self, trained: Mapping[str, Any], hosts: Mapping[str, str], outer: float, n_seen: int
    ) -> tuple[dict[str, round_tasks.Report], set[str]]:
        """Average what shards contribute; go on waiting where an interrupt ended the waiting before.

        Parameters
        ----------
        trained : mapping of str to Future or Contribution
            Contribution of every shard.
        hosts : mapping of str to str
            Worker of every shard, where its contribution lies.
        outer : float
            Momentum of the step from one average to the next.
        n_seen : int
            Rows learned before the round.

        Returns
        -------
        dict of str to Report
            Answers of the workers that go on from the average; none where no worker has it.
        set of str
            Workers that were lost.
        """
        try:
            if not self._received:
                self._send(trained, hosts, outer, n_seen)
            holders = [hosts[shard] for shard, part in trained.items() if not isinstance(part, Contribution)]
            lost = self._submitter.wait(self._received, also=[*holders, *self._passing])
            answers, lost = self._submitter.results(self._received, lost)
            reports = {worker: report for worker, report in answers.items() if report is not None}
            # Those would be asked again and again, for they are there.
            self._membership.lose(answers.keys() - reports.keys(), "has forgotten its replica")
            reports = reports or self._confirmed()
        except GoneError:
            reports, lost = {}, set()
        self._received = {}
        return reports, lost

    def _confirmed(self) -> dict[str, round_tasks.Report]:
        """Reports of workers that went on from the average before it was known that others could not."""
        self._membership.look()
        calls = {
            w: TaskSpec(round_tasks.confirm, (self._membership.job, self._membership.version))
            for w in self._membership.taking_part
        }
        return {
            worker: report for worker, report in self._submitter.run("confirm", calls)[0].items() if report is not None
        }

    def _send(self, trained: Mapping[str, Any], hosts: Mapping[str, str], outer: float, n_seen: int) -> None:
        """Submit the tree, and what workers do with its root; an interrupt in between leaves what may be waited for.

        Every attempt has a version of its own, so that none is mistaken for another.
        """
        self._membership.next_version()
        layer = [self._placed(hosts[shard], part) for shard, part in sorted(trained.items())]
        outer = outer if len(layer) > 1 else 0.0  # the mean of one is its own arrays
        while len(layer) > 1:
            groups = [layer[k : k + FAN] for k in range(0, len(layer), FAN)]
            layer = [
                (
                    group[0][0],
                    self._submitter.submit("average", group[0][0], round_tasks.average, *(f for _, f in group)),
                )
                for group in groups
            ]
        ((_, mean),) = layer
        moving_rate = self._moving_rate if self.was_several else None
        receivers = sorted(self._membership.taking_part)
        relays: list[Any] = []
        self._passing = receivers[: (len(receivers) - 1) // FAN]
        for k, worker in enumerate(receivers):
            # The first few fetch it from the root, others from one certain worker before them, eight from each, to which it is
            # a result of its own: among all that have a copy Dask would choose at random.
            source = relays[k // FAN - 1] if k >= FAN else mean
            if k < len(self._passing):
                source = self._submitter.submit("relay", worker, round_tasks.relay, source)
                relays.append(source)
            arguments = (source, self._membership.job, self._membership.version, outer, moving_rate, n_seen)
            self._received[worker] = self._submitter.submit("receive", worker, round_tasks.receive, *arguments)

    def _placed(self, worker: str, part: Any) -> tuple[str, Any]:
        """A worker that can average a contribution, and its future. Raises GoneError."""
        if not self._membership.taking_part:
            raise GoneError("no worker is left to average on.")
        place = worker if worker in self._membership.taking_part else min(self._membership.taking_part)
        return place, self._submitter.send(part, place) if isinstance(part, Contribution) else part
