"""Replicas of elastic averaging of fixed shards, which a snapshot has to hold: they are not their average."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dask_dl.cluster import round_tasks
from dask_dl.cluster.plugin import GoneError
from dask_dl.cluster.submit import TaskSpec
from dask_dl.errors import ReplicasLostError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from dask_dl.cluster.membership import Membership


def fetched(membership: Membership, last: Mapping[str, str]) -> dict[str, tuple[NDArray[np.float32], ...]]:
    """Fetch the replica of every fixed shard, from the worker that trained it last. Raises ReplicasLostError."""
    table, job, version = membership.training, membership.job, membership.version
    hosts = table.hosts() | dict(
        last
    )  # a shard whose rows have moved since is followed by its replica when a round begins
    calls = {(worker, shard): TaskSpec(round_tasks.replica, (job, version, shard)) for shard, worker in hosts.items()}
    done = membership.submitter.run("give", calls)[0]
    found = {shard: vectors for (_, shard), vectors in done.items()}
    if any(table.n_visits_of(shard) and shard not in found for shard in table.shards or ()):
        raise ReplicasLostError("a replica of elastic averaging is gone with its worker.")
    return found


def bring(membership: Membership, before: Mapping[str, str]) -> None:
    """Have replicas follow their shards, whose workers were others before; those that are lost with them stay lost."""
    table, job, version = membership.training, membership.job, membership.version
    calls, sources, moved = {}, set(), {}
    for shard, worker in table.hosts().items():
        source = before.get(shard, worker)
        if source != worker and source in membership.taking_part:
            vectors = membership.submitter.submit("give", source, round_tasks.replica, job, version, shard)
            calls[worker, shard] = TaskSpec(round_tasks.adopt, (vectors, job, version, table.rows_of(shard)))
            sources.add(source)
            moved[worker, shard] = source
    done, _ = membership.submitter.run("take", calls, also=sources)
    leave = {
        (source, shard): TaskSpec(round_tasks.leave, (job, shard))
        for (worker, shard), source in moved.items()
        if (worker, shard) in done
    }
    membership.submitter.run("take", leave)


def given(
    membership: Membership,
    replicas: Mapping[str, tuple[NDArray[np.float32], ...]],
    consensus: tuple[NDArray[np.float32], ...],
) -> bool:
    """Give every fixed shard its replica of a snapshot, or the consensus; tells whether all have theirs."""
    membership.settle()  # fixed shards are where their rows are
    table, job, version = membership.training, membership.job, membership.version
    calls = {}
    for shard, worker in table.hosts().items():
        try:
            vectors = membership.submitter.send(replicas.get(shard, consensus), worker)
        except GoneError:
            return False
        calls[worker, shard] = TaskSpec(round_tasks.adopt, (vectors, job, version, table.rows_of(shard)))
    lost = membership.submitter.run("take", calls)[1]
    membership.lose({worker for worker, _ in lost}, "did not answer")
    return not lost
