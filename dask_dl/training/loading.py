"""Place of encoded rows, the memory that it takes, and the second pass over the tables, which encodes them."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from dask_dl import jit, memory
from dask_dl.errors import SchemaError
from dask_dl.frame.blocks import BlockOptions
from dask_dl.frame.recipe import Recipe
from dask_dl.frame.scored_sample import ScoredSample
from dask_dl.frame.source import FOLD, OFFSET, Source
from dask_dl.kernels.batches import buffer_size
from dask_dl.kernels.optimizers import N_STATES
from dask_dl.node.predict import rows_per_chunk
from dask_dl.node.replica import ROWS_TO_PREDICT
from dask_dl.storage import Budget, Decision, decide
from dask_dl.training.settings import FoldSettings, PlacementSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from dask_dl.cluster.backend import Backend
    from dask_dl.events import Listeners
    from dask_dl.frame.scan import Scan
    from dask_dl.kernels.layout import Topology
    from dask_dl.node.parallelism import Parallelism
    from dask_dl.training.problem import PreparedTables, Problem


class EncodedTables(NamedTuple):
    """Tables whose encoded rows a backend keeps."""

    data: PreparedTables
    rows: dict[str, tuple[int, int]]  #: of each table, and how many of them train or are scored
    storage: memory.Storage  #: where encoded rows are
    n_bytes: int  #: that they take, about, in the process with most of them


def load(problem: Problem, tell: Listeners, here: Backend, *, has_checksums: bool) -> EncodedTables:
    """Decide where the rows shall be, say what it will take, and read the tables a second time.

    Parameters
    ----------
    problem : Problem
        Tables and network.
    tell : Listeners
        Told what happens.
    here : Backend
        Reads and keeps the tables.
    has_checksums : bool
        Whether blocks get checksums, as checkpoints need them.

    Returns
    -------
    EncodedTables

    Raises
    ------
    SchemaError
        When no row of the validation table can be scored.
    """
    topology, found = problem.topology, problem.found
    tell.say(f"{found.n_rows:,} rows to {topology.n_inputs:,} inputs, {topology.n_parameters:,} weights and biases")
    needs = storage_needs(problem, here)
    storage, need, why = needs.decide(problem.run.storage)
    tell.say(f"storage: {storage.mode}, {why}")
    _say_memory(need, tell, here)
    say_threads(tell, topology, problem.threads)
    table_rows = {}
    for name, (source, scanned) in problem.tables.items():
        required = problem.required if name == "training" else frozenset[str]()
        recipe = Recipe.of(source, scanned, problem.encoder, problem.head, found.mean_weight, required=required)
        options = BlockOptions(scored_sample(problem, name), has_checksums)
        if name == "training":
            options = options._replace(groups=_groups(problem))
        n_used = here.load(
            name, source, scanned, recipe, options, storage, tell.reading("encode"), trains=name == "training"
        )
        if name == "validation":
            check_scored(n_used, scanned, source, tell)
        table_rows[name] = scanned.n_rows, n_used
    return EncodedTables(problem.tables_only, table_rows, storage, needs.n_bytes)


def scored_sample(problem: Problem, table: str) -> ScoredSample:
    """Sample of a table to score on."""
    (_, scanned), scoring, classes = problem.tables[table], problem.run.scoring, problem.head.classes
    counts = [scanned.n_used]
    if table == "validation" and classes:  # rows of other classes are not scored
        counts = [scanned.classes.get(label, 0) for label in classes]
        counts = counts if scoring.is_stratified else [sum(counts)]
    return ScoredSample.of(problem.seed, f"{table} sample", scoring.samples[table], counts)


def _groups(problem: Problem) -> tuple[str, ...]:
    """Groups that are kept of every row that trains."""
    folds = FoldSettings.of(problem.requested)
    return tuple(
        dict.fromkeys(
            (
                *problem.view.groups,
                *(("fold",) if FOLD in problem.tables["training"][0].roles else ()),
                *(("class",) if folds.n and folds.how == "stratified" else ()),
            )
        )
    )


def size_of_checkpoint(problem: Problem, here: Backend) -> int:
    """Bytes of a checkpoint of a training, without its history; `here.choose` was called before."""
    placement = PlacementSettings.of(problem.requested)
    n_shards, is_elastic = here.n_shards or 1, placement.moving_rate is not None
    n_networks = 1 + problem.run.keeps_best + (n_shards if is_elastic and n_shards > 1 else 0)
    has_momentum = not is_elastic and placement.momentum != 0
    n_velocities = int(has_momentum and (n_shards > 1 or not here.is_local))
    return problem.topology.size * 4 * (n_networks * (1 + N_STATES[problem.optimizer.kind]) + n_velocities)


def say_needs(problem: Problem, storage: memory.Storage, tell: Listeners, here: Backend) -> None:
    """Say what a training takes on rows that are encoded already.

    Parameters
    ----------
    problem : Problem
        Tables and network.
    storage : memory.Storage
        Where the rows are.
    tell : Listeners
        Told what it takes.
    here : Backend
        Keeps the rows.
    """
    tell.say(f"storage: {storage.mode}, as the Dataset was prepared")
    _say_memory(storage_needs(problem, here).need(storage), tell, here)
    say_threads(tell, problem.topology, problem.threads)


def _say_memory(need: memory.Memory, tell: Listeners, here: Backend) -> None:
    tell.say(f"memory{'' if here.is_local else ' of a worker'}: {need}")
    text = here.too_small(need.peak)
    if text:
        tell.warn(text)


def say_threads(tell: Listeners, topology: Topology, threads: Parallelism) -> None:
    """A line for every layer."""
    for layer, way in threads.by_layer(topology).items():
        tell.say(f"{layer}: {way}")


def check_scored(n_scored: int, found: Scan, validation: Source, tell: Listeners) -> None:
    """Check how many rows of a validation table can be scored: not those whose label training never saw.

    Parameters
    ----------
    n_scored : int
        Rows that can be.
    found : Scan
        Result of the scan of the table.
    validation : Source
        The table.
    tell : Listeners
        Warned where some cannot.

    Raises
    ------
    SchemaError
        When none can.
    """
    if n_scored == 0:
        raise SchemaError(f"no label of {validation.label} was seen in training.")
    if n_scored < found.n_used:
        text = (
            f"{found.n_used - n_scored:,} rows of {validation.label} have labels that training never saw: not scored."
        )
        tell.warn(text)


class StorageNeeds(NamedTuple):
    """Everything by which it is decided where the rows shall be."""

    need: Callable[[memory.Storage], memory.Memory]  #: the peak memory of the process with most of them
    budget: Budget
    n_bytes: int  #: of the encoded rows of both tables
    bytes_per_row: int
    largest_block: int  #: bytes
    fixed: bool  #: whether the same is chosen on every machine

    def decide(self, requested: str) -> Decision:
        """Choose a storage. Raises SchemaError for a source that cannot be streamed, if it is to be."""
        given = self._asdict()
        return decide(requested, given.pop("need"), given.pop("budget"), **given)


def storage_needs(problem: Problem, here: Backend) -> StorageNeeds:
    """Return what the storages of a training need, and what there is."""
    run, topology, threads, found = problem.run, problem.topology, problem.threads, problem.found
    source, validation = problem.tables["training"][0], problem.tables.get("validation")
    workload = here.workload(found, validation[1] if validation else None)
    n_validation = validation[1].n_rows if validation else 0
    blocks = workload.largest_blocks
    # With sparse inputs a mean.
    row = math.ceil(problem.encoder.bytes_per_row(found.n_entries / found.n_rows)) + 4 * (2 + (OFFSET in source.roles))
    samples = {name: scored_sample(problem, name) for name in problem.tables}
    drawn = {name: sum(sample.sizes) for name, sample in samples.items() if sample.is_drawn}
    maxima = {"training": found.n_used, "validation": n_validation}

    def n_scored(storage: memory.Storage) -> int:
        """Rows that are scored at a time: a sample, or all; where those are not in memory, a slice or a block of them."""
        piece = None if storage.mode == "memory" else max(memory.SLICE // row, *blocks)
        whole = [n if piece is None else min(n, piece) for name, n in maxima.items() if name not in drawn]
        return int(workload.share * max([*drawn.values(), *whole]))

    def n_kept() -> int:
        """Networks that are kept; a checkpoint is written from copies, and what is written is laid out in memory first."""
        if workload.n_kept is not None:
            return workload.n_kept
        n_copies, velocity = (1 + run.keeps_best) * (3 if run.checkpoint_dir else 1), int(workload.has_velocity)
        n_velocities = math.ceil((n_copies + 1) * velocity / (1 + N_STATES[problem.optimizer.kind]))
        return n_copies * (1 + workload.n_snapshot) + n_velocities

    largest = max(scanned.largest_partition for _, scanned in problem.tables.values())
    n_bytes = (workload.n_rows + workload.n_validation) * row
    n_active = len(problem.encoder.categories) + found.longest  # at most, in a row
    # Of an array, or of a table that is here, no file describes the columns.
    n_columns = len(found.columns) if source.lazy is not None and source.is_named else 0

    def n_readers(storage: memory.Storage) -> int:
        """Partitions read at a time; the thread that reads ahead has memory of its own, which others do not share."""
        return workload.n_readers + (storage.mode == "stream")

    need = partial(
        memory.estimate,
        n_rows=workload.n_rows,
        visits_per_row=problem.balance.n_visits(problem.class_counts) / found.n_rows if problem.balance else 1.0,
        group_bytes=len(_groups(problem)) * (2 if len(problem.head.classes) <= 2**16 else 4),
        n_columns=len(found.columns),
        planned_columns=n_columns if here.is_local else 0,
        n_levels=found.n_levels,
        n_validation=workload.n_validation,
        n_samples=round(workload.share * sum(n + samples[name].n_aside for name, n in drawn.items())),
        bytes_per_row=row,
        n_weights=topology.size,
        n_dense=topology.dense_size,
        n_buffer=buffer_size(topology, problem.optimizer, n_active)
        + ROWS_TO_PREDICT * (2 * topology.buffers[0] + 3 * n_active),
        n_states=N_STATES[problem.optimizer.kind],
        n_threads=threads.n_threads,
        n_copies=threads.n_copies,
        n_replicas=workload.n_replicas,
        n_kept=n_kept(),
        n_outputs=topology.n_outputs,
        compiles=not jit.is_cached(problem.kernel),
        largest_block=blocks[0],
        batch=problem.optimizer.batch,
    )
    return StorageNeeds(
        lambda storage: need(
            storage=storage,
            n_scored=n_scored(storage),
            n_measured=min(n_scored(storage), rows_per_chunk(topology.n_outputs)),
            read_bytes=n_readers(storage) * largest,
            read_columns=n_readers(storage) * n_columns,
        ),
        here.budget(source),
        n_bytes,
        row,
        blocks[0] * row,
        run.reproducible,
    )
