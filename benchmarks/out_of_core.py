"""A table of 12 GiB, encoded, on workers with 1 GiB of memory each: rows per second beside those of a table in memory.

What it writes: Parquet files of about 3.3 GB, and 12.9 GB of scratch, all of it removed. The page cache never serves the
scratch: a thread writes the files back and has the system forget their pages (POSIX_FADV_DONTNEED), every five seconds, and the
bytes that really came from the disk are counted by the system (`/proc/<pid>/io`).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path
from typing import Self

import dask.dataframe as dd
import numpy as np
import pandas as pd
import psutil
from common import ALL_EPOCHS, FIGURE, figure, options, print_machine, print_table
from distributed import Client, LocalCluster

from dask_dl import DeepLearningClassifier
from dask_dl.errors import DaskDLWarning
from dask_dl.frame.block_store import checksum

GIB = 2**30
N_COLUMNS, N_LATENT, N_CLASSES = 512, 12, 8
ROW = 4 * (N_COLUMNS + 1)  #: bytes of an encoded row, with its class
N_PER_FILE = 16_384
LIMIT = "1GiB"
SETTINGS = ALL_EPOCHS | {"hidden": (200, 200), "random_state": 1, "score_interval": 2.0}


def write_table(folder: Path, n_files: int, first: int = 0) -> Path:
    """Files of grey values: a few hidden numbers, mixed and blurred. The class is where the hidden numbers are."""
    random = np.random.default_rng(0)
    mix, corners = random.normal(size=(N_LATENT, N_COLUMNS)), random.normal(size=(N_LATENT, N_CLASSES, 2))
    folder.mkdir(parents=True)
    for k in range(n_files):
        random = np.random.default_rng([1, first + k])
        hidden = random.normal(size=(N_PER_FILE, N_LATENT)).astype(np.float32)
        seen = hidden @ mix.astype(np.float32) + random.normal(0, 3, (N_PER_FILE, N_COLUMNS)).astype(np.float32)
        scores = np.tanh(np.einsum("nl,lcj->ncj", hidden, corners)).sum(axis=2) + random.normal(
            0, 0.2, (N_PER_FILE, N_CLASSES)
        )
        part = pd.DataFrame(
            np.clip(128 + 10 * seen, 0, 255).astype(np.uint8), columns=[f"g{j}" for j in range(N_COLUMNS)]
        )
        part["y"] = np.array(list("abcdefgh"))[scores.argmax(axis=1)]
        part.to_parquet(folder / f"{k:05}.parquet", index=False)
    return folder


class Watch:
    """Workers, while something is trained: what they spilled, whether they paused, died, how much they took and read."""

    def __init__(self, client: Client, scratch: Path) -> None:
        self.client, self.scratch = client, scratch
        self.n_spilled, self.statuses, self.pids, self.peak, self.n_read, self.n_files = 0, set(), set(), 0, 0, 0
        self._over = threading.Event()

    def __enter__(self) -> Self:
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._forget_pages, self._look)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()
        print(f"peak of a worker: {self.peak / 1e6:.0f} MB", flush=True)

    def _forget_pages(self) -> None:
        while not self._over.wait(5.0):
            files = list(self.scratch.rglob("*.rows"))
            self.n_files = max(self.n_files, len(files))
            for path in files:
                with contextlib.suppress(OSError):
                    number = os.open(path, os.O_RDONLY)
                    os.fdatasync(number)
                    os.posix_fadvise(number, 0, 0, os.POSIX_FADV_DONTNEED)
                    os.close(number)

    def _look(self) -> None:
        def look(dask_worker):
            slow = getattr(dask_worker.data, "slow", None)
            status = Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]
            return (
                os.getpid(),
                str(dask_worker.status),
                len(slow or ()),
                int(status) * 1024,
                psutil.Process().io_counters().read_bytes,
            )

        while not self._over.wait(1.0):
            found = list(self.client.run(look).values())
            self.pids |= {pid for pid, *_ in found}
            self.statuses |= {status for _, status, *_ in found}
            self.n_spilled = max(self.n_spilled, *(n for _, _, n, *_ in found))
            self.peak = max(self.peak, *(peak for *_, peak, _ in found))
            self.n_read = sum(n for *_, n in found)


@contextlib.contextmanager
def workers(n: int, limit: str, scratch: Path):
    """A client of so many processes of one thread each."""
    settings = {"threads_per_worker": 1, "dashboard_address": ":0", "local_directory": str(scratch)}
    with LocalCluster(n_workers=n, memory_limit=limit, **settings) as cluster, Client(cluster) as client:
        yield client


def trained(client: Client, folder: Path, valid: Path, n_rows: int, n_table: int, **given):
    """Fit; returns the model, and the seconds that were not training."""
    began = time.monotonic()
    model = DeepLearningClassifier(**SETTINGS | given, epochs=n_rows / n_table, client=client, verbose=True)
    frame = dd.read_parquet(sorted(folder.glob("*.parquet"))[: n_table // N_PER_FILE])
    model.fit(frame, "y", eval_set=dd.read_parquet(valid))
    last = model.history_.iloc[-1]
    return model, time.monotonic() - began - last["samples"] / last["training_speed"]


def seconds_to(model, loss: float) -> float:
    """Seconds of training until the validation loss was reached."""
    history = model.history_[1:]
    reached = history[history["validation_logloss"] <= loss]
    seconds = history["samples"] / history["training_speed"]
    return float(seconds[reached.index[0]]) if len(reached) else float("inf")


def checksum_share(rows_per_second: float, n_workers: int) -> float:
    """Percent of the time of a reading worker that goes into checksums of its segments, each of 2 MiB."""
    views, n = [memoryview(np.random.default_rng(0).bytes(2**21))], 200
    checksum(views)
    began = time.thread_time()
    for _ in range(n):
        checksum(views)
    per_byte = (time.thread_time() - began) / (n * 2**21)
    return 100 * per_byte * ROW * rows_per_second / n_workers


def main() -> int:
    parser = options(__doc__)
    parser.add_argument("--gib", type=float, help="of encoded rows (default: 12; 0.5 with --quick)")
    parser.add_argument(
        "--folder", type=Path, default=Path(tempfile.gettempdir()), help="for the files (default: %(default)s)"
    )
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", DaskDLWarning)
    print_machine("dask", "distributed", "pyarrow")
    gib = arguments.gib or (0.5 if arguments.quick else 12)
    n_files = -(-int(gib * GIB) // (ROW * N_PER_FILE))
    n_table, n_first = n_files * N_PER_FILE, min(n_files, GIB // (ROW * N_PER_FILE)) * N_PER_FILE
    n_train, n_pairs = (100_000, 1) if arguments.quick else (1_000_000, 2)
    wanted = int(1.5 * n_table * (ROW + N_COLUMNS))
    free = shutil.disk_usage(arguments.folder).free
    if free < wanted:
        wants = f"{free / 1e9:.1f} GB are free in {arguments.folder}, {wanted / 1e9:.1f} GB are wanted"
        print(f"{wants}: use another --folder or --gib.")
        return 2
    place = Path(tempfile.mkdtemp(prefix="dask-dl-out-of-core-", dir=arguments.folder))
    try:
        report(*measure(place, n_table, n_first, n_train, n_pairs, arguments.quick), n_table)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return 0


def measure(place: Path, n_table: int, n_first: int, n_train: int, n_pairs: int, quick: bool):
    """The whole table on the disks of small workers and its first GiB in memory, in turn; then one small worker and two."""
    began = time.monotonic()
    folder, valid = (
        write_table(place / "table", n_table // N_PER_FILE),
        write_table(place / "valid", 1, first=10**6),
    )
    print(f"{n_table:,} rows written in {time.monotonic() - began:.0f} s", flush=True)
    scratch, found, watches = place / "scratch", {"memory": [], "disk": [], "one": [], "two": []}, []
    for _ in range(n_pairs):
        with workers(2, "4GiB", scratch) as client:
            found["memory"].append(trained(client, folder, valid, n_train, n_first, storage="memory"))
        with workers(2, LIMIT, scratch) as client, Watch(client, scratch) as watch:
            mode = "disk" if quick else "auto"
            found["disk"].append(trained(client, folder, valid, n_train, n_table, storage=mode))
        watches.append((watch, 2))
    for _ in range(n_pairs + 1):
        for n, name in ((1, "one"), (2, "two")):
            with workers(n, LIMIT, scratch) as client, Watch(client, scratch) as watch:
                found[name].append(trained(client, folder, valid, n_train // 2, n_first, storage="disk"))
            watches.append((watch, n))
    assert not list(scratch.rglob("*.rows"))
    return found, watches


def report(found, watches, n_table: int) -> None:
    """The figures, against what is promised."""
    speed = {
        name: [float(model.history_["training_speed"].iloc[-1]) for model, _ in runs] for name, runs in found.items()
    }
    losses = [float(model.history_["validation_logloss"].min()) for name in ("one", "two") for model, _ in found[name]]
    loss = 1.02 * max(losses)  # that all have reached
    times = {name: [seconds_to(model, loss) for model, _ in found[name]] for name in ("one", "two")}
    healthy = [
        float(w.statuses == {"Status.running"} and w.n_spilled == 0 and len(w.pids) == n and w.n_files > 0)
        for w, n in watches
    ]
    large = [w for w, _ in watches[: len(found["disk"])]]

    def ratios(a: str, b: str) -> list[float]:
        return [x / y for x, y in zip(speed[a], speed[b], strict=True)]

    print()
    print_table(
        FIGURE,
        [
            figure("GiB of encoded rows", [n_table * ROW / GIB]),
            figure("rows/s, 2 workers of 1 GiB, all rows on disk", speed["disk"]),
            figure("rows/s, 2 workers of 4 GiB, the first GiB in memory", speed["memory"]),
            figure("disk over memory", ratios("disk", "memory"), min_value=0.9),
            figure(
                "seconds that were not training: scan, encoding, scoring", [seconds for _, seconds in found["disk"]]
            ),
            figure("rows/s, 1 worker of 1 GiB, the first GiB on disk", speed["one"]),
            figure("rows/s, 2 such workers", speed["two"]),
            figure("2 workers over 1", ratios("two", "one"), min_value=1.5),
            figure(f"seconds to a validation logloss of {loss:.3f}, 1 worker", times["one"]),
            figure("the same, 2 workers", times["two"]),
            figure("no spill, no pause, no restart (1: all is well)", healthy, min_value=1),
            figure(
                "checksums of scratch, % of a worker's time", [checksum_share(s, 2) for s in speed["disk"]], max_value=3
            ),
            figure("peak of a worker, MB", [w.peak / 1e6 for w, _ in watches], max_value=0.6 * GIB / 1e6),
            figure("bytes from the disk over those of the rows", [w.n_read / (n_table * ROW) for w in large]),
        ],
    )


if __name__ == "__main__":
    sys.exit(main())
