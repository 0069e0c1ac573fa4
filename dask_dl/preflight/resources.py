"""Findings on hosts, memory and disk: what there is, and what a training needs of it."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from dask_dl.cluster.environment import OWN, PACKAGES, differences
from dask_dl.errors import SchemaError
from dask_dl.frame.partition_size import remedies
from dask_dl.memory import largest_partition, size
from dask_dl.storage import SHARE_OF_DISK

if TYPE_CHECKING:
    from dask_dl.cluster.backend import Backend
    from dask_dl.frame.scan import Scan
    from dask_dl.frame.source import Source
    from dask_dl.preflight.findings import Collector
    from dask_dl.storage import Decision
    from dask_dl.training.loading import StorageNeeds

#: Hosts that are described one by one.
MAX_HOSTS = 20
MODES = ("memory", "disk", "stream")


def on_hosts(here: Backend, collector: Collector) -> bool:
    """Find what differs between hosts, and tell what is installed; returns whether any process cannot take part."""
    processes = here.processes()
    hosts = {address: host for address, (host, _) in processes.items()}
    answers = {address: answer for address, (_, answer) in processes.items()}
    seen = [] if here.is_local else differences(answers)
    for difference in seen:
        where = ", ".join(sorted({hosts[worker] for worker in difference.workers}))
        collector.words("error" if difference.is_fatal else "warning", difference.text, host=where)
    facts = {address: answer for address, answer in answers.items() if isinstance(answer, dict)}
    on_host = defaultdict(list)
    for address in facts:
        on_host[hosts[address]].append(address)
    for host, addresses in sorted(on_host.items())[:MAX_HOSTS]:
        about = facts[addresses[0]]
        packages = Counter(
            ", ".join(f"{name} {facts[address][name]}" for name in ("python", OWN, *PACKAGES)) for address in addresses
        )
        what = "this process" if here.is_local else f"{len(addresses)} worker{'s' * (len(addresses) > 1)}"
        collector.add(
            "note",
            f"host {host}: {what}, {about['cores']} cores, {size(about['memory'])} of free memory, {size(about['disk'].free)} "
            f"free in {about['disk'].folder}; {'; '.join(packages)}.",
            host=host,
        )
    return any(difference.is_fatal for difference in seen)


def on_largest_partition(found: Scan, source: Source, here: Backend, collector: Collector) -> None:
    """Find the largest partition, where the process with least memory cannot read it beside those of its other threads.

    Parameters
    ----------
    found : Scan
        Scan of the table.
    source : Source
        The table.
    here : Backend
        Knows the memory.
    collector : Collector
        Receives the finding.
    """
    if source.lazy is None:
        return
    limit, n_readers = here.budget(source), here.workload(found, None).n_readers
    k = max(range(len(found.sizes)), key=found.sizes.__getitem__)
    fits = largest_partition(limit.memory, n_readers, len(source.predictors))
    is_known = any(finding.partition == k and "in memory" in finding.text for finding in collector.findings)
    if not limit.memory or found.sizes[k] <= fits or is_known:
        return
    n_larger = sum(n > fits for n in found.sizes)
    collector.add(
        "warning",
        f"{source.label}: partition {k} takes {size(found.sizes[k])} in memory; with {n_readers} read at a time there is room "
        f"for {size(fits)} each, in {size(limit.memory)} ({limit.of}). {n_larger:,} of {len(found.sizes):,} partitions are too "
        f"large.",
        remedies(fits),
        partition=k,
    )


def on_storage(needs: StorageNeeds, requested: str, here: Backend, collector: Collector) -> Decision:
    """Tell what every storage needs of the process with most rows, and which is chosen; find too little memory and disk.

    Parameters
    ----------
    needs : StorageNeeds
        Needs of the training.
    requested : str
        Storage that was asked for.
    here : Backend
        Knows what there is.
    collector : Collector
        Receives the findings.

    Returns
    -------
    Decision

    Raises
    ------
    SchemaError
        When a source that cannot be read again is to be streamed.
    """
    budget, process = needs.budget, "this process" if here.is_local else "a worker"
    there_is = f"of {size(budget.memory)} ({budget.of})" if budget.memory else "and no limit is known"
    for mode in MODES:
        try:
            peak = needs.decide(mode).memory.peak
        except SchemaError as error:
            collector.add("note", str(error), parameter="storage")
            continue
        text = f"storage={mode!r} needs up to {size(peak)} of memory in {process}, {there_is}"
        if mode == "disk":
            text += f", and {size(needs.n_bytes)} of {size(budget.disk)} that are free in {budget.folder}"
            text += f"; {budget.no_disk}" if budget.no_disk else ""
        collector.add("note", f"{text}.", parameter="storage")
    chosen = needs.decide(requested)
    mode, peak = chosen.storage.mode, chosen.memory.peak
    collector.add("note", f"storage: {mode}, {chosen.why}.", parameter="storage")
    collector.add("note", f"memory{'' if here.is_local else ' of a worker'}: {chosen.memory}.")
    small = here.too_small(peak)
    if small:
        collector.words("warning", small)
    elif budget.memory and peak > budget.memory:
        collector.add(
            "warning",
            f"storage={mode!r} may need {size(peak)} of memory in {process}, {there_is}.",
            "Give it more memory, use more workers, smaller partitions, fewer threads, or another storage.",
            parameter="storage",
        )
    if mode == "disk" and (budget.no_disk or needs.n_bytes > SHARE_OF_DISK * budget.disk):
        collector.add(
            "warning",
            f"storage='disk' writes {size(needs.n_bytes)} of rows, and {size(budget.disk)} are free in {budget.folder}"
            f"{f': {budget.no_disk}' if budget.no_disk else ''}.",
            "Name a larger local disk: dask's temporary-directory, or a worker's --local-directory.",
            parameter="storage",
        )
    return chosen
