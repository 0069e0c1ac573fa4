"""The peak that is printed before work starts: its terms, and the whole of it."""

from __future__ import annotations

import multiprocessing
import shutil
import tracemalloc
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import dask
import distributed  # noqa: F401  # its defaults are in Dask's configuration then
import numpy as np
import pandas as pd
import peaks
import pytest
from node.problems import optimizer, replica, threads
from peaks import figures, measured
from tables import UNSCORED

from dask_dl import DeepLearningRegressor, memory
from dask_dl.cluster import LocalBackend
from dask_dl.cluster.worker_memory import partition_limits
from dask_dl.kernels.batches import buffer_size, indices_size
from dask_dl.kernels.layout import Topology
from dask_dl.node.stability import instability, is_finite


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("rows")
    random = np.random.default_rng(0)
    for k in range(6):
        part = pd.DataFrame(random.normal(size=(50_000, 12)), columns=[f"c{i}" for i in range(12)])
        part["level"] = random.choice([f"level {i}" for i in range(300)], len(part))
        part["y"] = part["c0"] * 2 + random.normal(size=len(part))
        part.to_parquet(place / f"{k}.parquet")
    return place


@pytest.mark.parametrize("mode", ["auto", "disk", "stream"])
def test_real_peak_stays_below_the_printed_one(forks, folder, tmp_path, mode):
    # A process that imports for itself, where all that it has beside is in memory.
    context = multiprocessing.get_context("spawn") if mode == "auto" else forks
    peak = measured(context, tmp_path, peaks.rows, folder, mode)
    assert f"storage: {'memory' if mode == 'auto' else mode}," in peak.output
    assert peak.real <= peak.printed * 1.005, peak.line  # it is printed with three digits
    assert peak.real > 0.6 * peak.printed, peak.line  # a bound that says nothing is no bound


@pytest.mark.parametrize(
    ("n_jobs", "parallelism"), [(1, "auto"), (2, "staleness"), (8, "staleness"), (2, "team"), (8, "team")]
)
@pytest.mark.parametrize("optimizer", [{}, {"adaptive_rate": False}, {"adaptive_rate": False, "momentum_stable": 0.5}])
def test_terms_of_blocks_and_network_are_those_of_the_arrays(n_jobs, parallelism, optimizer, monkeypatch, capsys):
    random = np.random.default_rng(0)
    n = 5000
    table = pd.DataFrame(random.normal(size=(n, 20)), columns=[f"c{i}" for i in range(20)])
    table = table.assign(level=random.choice(["a", "b"], n), y=random.normal(size=n), w=random.random(n), o=0.5)
    backends = []
    start = LocalBackend.__init__

    def spy(self, *arguments, **more):
        start(self, *arguments, **more)
        backends.append(self)

    monkeypatch.setattr(LocalBackend, "__init__", spy)
    given = UNSCORED | optimizer | {"n_jobs": n_jobs, "parallelism": parallelism}
    DeepLearningRegressor(hidden=(70, 64), epochs=0.1, verbose=True, **given).fit(
        table, "y", sample_weight="w", offset="o"
    )
    terms = {name: n_bytes for n_bytes, name in figures(capsys.readouterr().out.split("memory: ")[1].splitlines()[0])}
    (backend,) = backends
    blocks = backend.shard.tables["training"].blocks.values()
    assert terms["encoded rows"] == pytest.approx(sum(block.handle.nbytes for block in blocks), rel=0.01)
    arrays = [backend.shard.replica.flat, *backend.shard.replica.states]
    for rank, context in enumerate(backend.shard.replica.contexts):
        if len(context.copy.shared):  # a working copy; the first has the replica's optimizer state
            arrays += [context.dense.weights, context.copy.base, *(context.dense.states if rank else ())]
    assert terms["network"] == pytest.approx(sum(a.nbytes for a in arrays), rel=0.01)
    assert len(backend.shard.replica.contexts) == (min(n_jobs, 5) if parallelism == "team" else n_jobs)


@pytest.mark.parametrize(("n_jobs", "way"), [(1, "auto"), (2, "staleness"), (8, "staleness"), (2, "team"), (2, "auto")])
def test_real_peak_of_threads_stays_below_the_printed_one(forks, tmp_path, n_jobs, way):
    peak = measured(forks, tmp_path, peaks.threads, n_jobs, way)
    assert peak.real <= peak.printed * 1.005, peak.line
    if way != "auto" or n_jobs == 1:  # what a team may turn into is counted, whether it does or not
        assert peak.real > peak.terms["network"] + 150e6, peak.line  # the copies are really there
    weights = 1.65e6  # 12 bytes for each of them, or 4 and 16 for each thread
    assert peak.terms["network"] == pytest.approx(
        weights * (12 if n_jobs == 1 or way == "team" else 4 + 16 * n_jobs), rel=0.02
    )


def test_the_peak_is_the_sum_of_its_terms():
    need = memory.estimate(
        n_rows=10**6, n_validation=10**5, n_scored=10**4, n_measured=10**4, n_samples=10**4,
        bytes_per_row=100, n_weights=10**6, n_dense=10**5,
        n_buffer=1000, n_states=2, n_threads=3, n_copies=3, n_kept=2, n_outputs=10, read_bytes=10**8, compiles=True,
    )  # fmt: skip
    total, *terms = figures(str(need))
    assert total[0] == pytest.approx(sum(n for n, _ in terms), rel=0.01) == pytest.approx(need.peak, rel=0.01)
    assert {name for _, name in terms} >= {"imports", "compiler", "encoded rows", "network"}


@pytest.mark.parametrize("mode", ["memory", "disk", "stream"])
def test_groups_are_in_memory_wherever_rows_are(mode):
    def peak(group_bytes):
        return memory.estimate(
            n_rows=10**6, n_validation=10**5, n_scored=10**4, n_measured=10**4, bytes_per_row=100, n_weights=10**6,
            n_dense=10**5, n_buffer=1000, n_states=2, n_threads=3, n_copies=3, n_kept=2, n_outputs=10, read_bytes=10**8,
            compiles=True, storage=memory.Storage(mode, 2**24), group_bytes=group_bytes,
        ).peak  # fmt: skip

    assert peak(2) - peak(0) == 2 * 10**6


@pytest.mark.parametrize("n_readers", [1, 4])
@pytest.mark.parametrize("n_columns", [3, 1000])
@pytest.mark.parametrize("limit", [450 * 2**20, 2**30, 2**34])
def test_the_largest_partition_is_the_one_whose_reading_reaches_the_limit(limit, n_columns, n_readers):
    n = memory.largest_partition(limit, n_readers, n_columns)

    def peak(n_bytes):
        return memory.IMPORTS + memory.reading(n_readers * n_bytes, n_readers * n_columns)

    assert peak(n) <= limit < peak(n + 10)
    assert not memory.surely_too_large(n, limit)


def test_files_are_cut_to_half_of_what_fits_and_refused_only_when_hopeless():
    few, many = memory.partition_limits(2**30, 1), memory.partition_limits(2**30, 4)
    assert few.fits == memory.largest_partition(2**30) and few.target == few.fits // 2
    assert many.fits < few.fits < few.max == many.max
    assert memory.surely_too_large(few.max + 1, 2**30) and not memory.surely_too_large(few.max - 1, 2**30)
    assert memory.partition_limits(2**40, 1).target == memory.MAX_PARTITION
    # However small a worker is, a partition of the least size is let through, and the worker warned of.
    assert memory.partition_limits(0, 1) == (memory.MIN_PARTITION, memory.MIN_PARTITION)


def test_limits_of_partitions_are_those_of_the_smallest_worker():
    def worker(limit, n_threads):
        return {"memory_limit": limit, "nthreads": n_threads, "host": "h", "last_seen": 1.0, "status": "running"}

    class Client:
        scheduler, status = SimpleNamespace(identity=None), "running"
        workers: ClassVar = {"a": worker(2**32, 1), "b": worker(2**31, 4)}

        def sync(self, *_, **__):
            return {"workers": self.workers}

    share = dask.config.get("distributed.worker.memory.terminate")
    small, large = (memory.partition_limits(int(share * n), t) for n, t in ((2**31, 4), (2**32, 1)))
    assert partition_limits(Client()) == (small.fits, large.max)
    Client.workers = {"a": worker(0, 1)}  # without a limit: as this process
    mine, other = partition_limits(Client(), 3), partition_limits(None, 3)
    assert tuple(mine) == pytest.approx(tuple(other), rel=0.01)  # what is free changes all the time


def test_nothing_fits_where_the_imports_do_not():
    assert memory.largest_partition(memory.IMPORTS // 2) == 0
    assert memory.surely_too_large(1, memory.MIN_IMPORTS)


@pytest.mark.parametrize(("n", "text"), [(5, "5 B"), (1500, "1.5 kB"), (12_345_678, "12.3 MB"), (2.5e12, "2,500 GB")])
def test_sizes_for_people(n, text):
    assert memory.size(n) == text


def test_the_example_of_the_page_is_what_the_formula_says():
    page = (Path(__file__).parents[1] / "docs" / "guide" / "larger-than-memory.md").read_text()

    def worker(mode, window=0, partition=128 * 10**6):
        return memory.estimate(
            storage=memory.Storage(mode, window), n_rows=100_260_000, n_validation=0, n_scored=500, n_measured=500,
            n_samples=1155, bytes_per_row=492, n_weights=100_000, n_dense=65_000, n_buffer=1000, n_states=2, n_threads=4,
            n_copies=4, n_kept=11, n_outputs=2, read_bytes=4 * partition, compiles=True, largest_block=260_000,
        )  # fmt: skip

    whole, on_disk = worker("memory"), worker("disk", 2**28)
    assert f"In memory a worker would need {memory.size(whole.peak)}." in page
    assert f"and {memory.size(on_disk.peak)} of memory at most" in page
    few = on_disk.network + on_disk.kept + on_disk.threads + on_disk.samples
    for name, n in [
        ("imports and compiler", memory.IMPORTS + memory.COMPILER),
        ("two windows of 268 MB", on_disk.blocks),
        ("visiting order", on_disk.order),
        ("network, copies, threads, samples", few),
        ("reading: 4 threads, 6.5 x 128 MB each, and chunks", on_disk.reading),
    ]:
        assert f"| {name} | {memory.size(n)} |" in page
    assert f"would bring it to {memory.size(worker('disk', 2**28, 32 * 10**6).reading)}" in page
    assert f"{whole.peak / 0.6 / 1e9:.0f} GB for each of 20 workers" in page


@pytest.mark.parametrize("batch", [1, 8, 300])
@pytest.mark.parametrize("activation", ["rectifier", "maxout"])
@pytest.mark.parametrize(("dropout", "kept"), [((), 1.0), ((0.5, 0.5), 0.9)])
def test_buffers_of_a_thread_are_as_large_as_the_formula_says(batch, activation, dropout, kept):
    topology = Topology(10, 30, (50, 20), 3, activation, "softmax", dropout)
    settings = optimizer()._replace(batch=batch, input_kept=kept)
    context = replica(topology, settings, threads("one thread", 1)).contexts[0]
    n_active = 2 * batch
    n_marks = n_active + (indices_size(topology.n_onehot, batch, n_active) if batch > 1 else n_active)
    parts = context.team.acts, context.team.errors, context.scratch
    assert sum(part.size for part in parts) + n_marks == buffer_size(topology, settings, 2)


@pytest.fixture(scope="module")
def distinct(tmp_path_factory):
    """A column of 300,000 distinct texts."""
    place = tmp_path_factory.mktemp("distinct")
    for k in range(10):
        names = [f"user {i:07}" for i in range(k * 30_000, (k + 1) * 30_000)]
        pd.DataFrame({"user": names, "y": np.arange(30_000) % 7.0}).to_parquet(place / f"{k}.parquet")
    return place


def test_real_peak_of_many_distinct_texts_stays_below_the_printed_one(forks, tmp_path, distinct):
    peak = measured(forks, tmp_path, peaks.levels, distinct)  # 480 bytes a level, 140 by another encoding
    assert peak.real <= peak.printed * 1.005, peak.line
    assert peak.terms["columns and levels"] == pytest.approx(3e5 * memory.LEVEL, rel=0.01)


def test_real_peak_of_many_sparse_columns_stays_below_the_printed_one(forks, tmp_path):
    peak = measured(forks, tmp_path, peaks.sparse_columns)
    assert peak.real <= peak.printed * 1.005, peak.line


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """Two equal files of 6,000 columns, where the columns weigh more than the rows."""
    place = tmp_path_factory.mktemp("wide")
    table = pd.DataFrame(np.random.default_rng(0).standard_normal((100, 6_000), np.float32)).add_prefix("c")
    table.assign(y=table["c0"] * 2.0).to_parquet(place / "0.parquet")
    shutil.copy(place / "0.parquet", place / "1.parquet")  # writing takes as long as all the rest
    return place


@pytest.mark.slow
@pytest.mark.parametrize(
    ("training", "given"),
    [(peaks.wide, ["folder"]), (peaks.large, [1]), (peaks.large, [2]), (peaks.many_classes, [])],
    ids=["wide", "large", "large, two threads", "many classes"],
)
def test_real_peak_of_extremes_stays_below_the_printed_one(forks, tmp_path, wide, training, given):
    peak = measured(forks, tmp_path, training, *(wide if argument == "folder" else argument for argument in given))
    assert peak.real <= peak.printed * 1.005, peak.line
    assert peak.real > 0.5 * peak.printed, peak.line


def test_checking_weights_makes_no_copies_of_them():
    topology = Topology(0, 1000, (1000,), 1, "rectifier", "linear", ())
    flat = np.zeros(topology.size, np.float32)
    assert not instability(topology, flat)  # what is imported and cached by a first call
    tracemalloc.start()
    assert not instability(topology, flat) and is_finite(flat)
    _, maximum = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert maximum < 2.2 * flat.nbytes  # a layer as it is laid out in files, twice while it is put together


@pytest.mark.parametrize("place", [0, -1])
@pytest.mark.parametrize(("value", "text"), [(np.nan, "not finite"), (np.inf, "not finite"), (3e38, "exploded")])
def test_checking_weights_in_chunks_leaves_none_out(place, value, text):
    topology = Topology(0, 400, (400,), 1, "rectifier", "linear", ())
    flat = np.zeros(topology.size, np.float32)
    weights, biases = topology.unpack(flat)
    weights[0].flat[place] = value
    flat = topology.pack(weights, biases)
    assert text in instability(topology, flat) and "layer 1" in instability(topology, flat)
    assert is_finite(flat) == np.isfinite(value)
