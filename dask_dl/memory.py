"""Peak memory of a training, computed before it starts (docs/explanation/memory.md).

peak = imports + compiler + encoded rows + visiting order + network + kept copies + threads + rows to score on
     + the larger of (reading partitions, scoring)

Where rows are not kept in memory, two windows of them are. Where they are read again and again, reading and scoring add
up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

#: What the interpreter and its imports take (NumPy, pandas, PyArrow, Dask, scikit-learn, Numba with kernels from the cache).
IMPORTS = 360 * 2**20
#: What the compiler takes besides, when the kernels are compiled in this process.
COMPILER = 100 * 2**20
#: Bytes at work per byte of a partition in memory: the file's pages and columns, of which PyArrow's allocator keeps what it
#: once had, the frame built from them, and one part of it encoded. Measured where it is most: numbers that do not compress.
READING = 6.5
#: Bytes of the largest partition that fits, as a frame: at least, and those to which files are cut at most.
MIN_PARTITION, MAX_PARTITION = 2**24, 2**27
#: The least that takes, of any table: its columns as they come from the file, a part of the frame beside them.
MIN_READING = 1.5
#: The least that a worker's imports take.
MIN_IMPORTS = 150 * 2**20
#: Bytes at work per column of a partition that is read, however few rows it has: the metadata of its file and the readers of
#: its pages; and what Dask's plan of the table keeps of a column in the process that opened it.
COLUMN_READ, COLUMN_PLANNED = 12_000, 6_000
#: Temporary arrays of a chunk of numeric columns, 8 MiB each (`frame.columns.NUMBERS_PER_CHUNK`), while it is summed up.
CHUNKS = 6 * 2**23
#: What is known of a column, and of a level: names, figures, counts, and the tables by which they are found.
COLUMN, LEVEL = 800, 500
#: Row numbers, their random keys, the sorting permutation and its workspace or the result, 8 bytes each.
ORDER_PER_ROW = 32
#: Which visit to its row each one is, as drawn and in order, where rows are visited several times.
COPIES_PER_VISIT = 24
#: The order of the rows of a window beside that, while another one is trained.
ORDER_KEPT = 16
#: Two slices of gathered rows, the one that is trained and the one that replaces it, of at most this many bytes each.
SLICE = 2**24
#: Of a thread: what it touches of its stack and of its own heap.
THREAD = 2**18
#: float32 outputs twice, and three float64 arrays of their size where probabilities are corrected and measured.
SCORING_PER_OUTPUT = 2 * 4 + 3 * 8
#: Of a row that is scored: its truth, its weight, its errors by each metric.
SCORING_PER_ROW = 10 * 8


class Storage(NamedTuple):
    """Place of encoded rows while a training lasts."""

    mode: str  #: "memory", "disk" or "stream"
    window: int = 0  #: bytes of rows that are shuffled together, where they are not in memory, in each of two buffers
    max_rows: int | None = None  #: that a process may come to hold when rows move; None: any number


IN_MEMORY = Storage("memory")


@dataclass(frozen=True)
class Memory:
    """Bytes by purpose."""

    blocks: int
    order: int
    network: int
    kept: int
    threads: int
    samples: int
    reading: int
    scoring: int
    compiler: int = 0
    columns: int = 0
    mode: str = "memory"  #: of `Storage`

    @property
    def peak(self) -> int:
        """Bytes at the worst moment, imports included."""
        return sum(self._parts().values())

    def __str__(self) -> str:
        parts = " + ".join(f"{size(n)} {name}" for name, n in self._parts().items() if n)
        return f"at most {size(self.peak)} = {parts}"

    def _parts(self) -> dict[str, int]:
        return {
            "imports": IMPORTS,
            "encoded rows" if self.mode == "memory" else "windows of rows": self.blocks,
            "visiting order": self.order,
            "columns and levels": self.columns,
            "network": self.network,
            "kept copies": self.kept,
            "threads": self.threads,
            "compiler": self.compiler,
            "rows to score on": self.samples,
            **(
                {"reading": self.reading, "scoring": self.scoring}
                if self.mode == "stream"
                else {"reading or scoring": max(self.reading, self.scoring)}
            ),
        }


def rows_of_slice(bytes_per_row: int, batch: int) -> int:
    """Rows that are gathered at a time: about SLICE bytes, in whole mini-batches."""
    return max(1, SLICE // bytes_per_row // batch) * batch


def size(n: float) -> str:
    """Bytes for people."""
    for unit in ("B", "kB", "MB", "GB"):
        if n < 1000 or unit == "GB":
            break
        n /= 1000
    return f"{n:.3g} {unit}" if n < 1000 else f"{n:,.0f} {unit}"


def reading(n_bytes: int, n_columns: int = 0) -> int:
    """Peak bytes, imports aside, at which partitions of so many bytes as pandas frames are scanned and encoded together.

    `n_columns` counts the columns of all of them.
    """
    return int(READING * n_bytes) + min(CHUNKS, 6 * n_bytes) + COLUMN_READ * n_columns


def largest_partition(limit: int, n_readers: int = 1, n_columns: int = 0) -> int:
    """Bytes, as a pandas frame, of the largest partition that fits: `reading` solved for it.

    Parameters
    ----------
    limit : int
        Bytes that the process may take in all.
    n_readers : int
        Partitions that it reads at a time: one for each thread of a worker.
    n_columns : int
        Columns of a partition.

    Returns
    -------
    int
        0 where none fits.
    """
    free = limit - IMPORTS - COLUMN_READ * n_columns * n_readers
    return max(0, int(max((free - CHUNKS) / READING, free / (READING + 6)) / n_readers))


class PartitionLimits(NamedTuple):
    """Bytes that a partition may take as a pandas frame."""

    fits: int  #: where every thread reads one, by the formula
    max: int  #: what no measurement leaves room for, even if it is the only one

    @property
    def target(self) -> int:
        """Bytes to which files are cut."""
        return min(MAX_PARTITION, self.fits // 2)


def partition_limits(limit: int, n_readers: int) -> PartitionLimits:
    """Limits of the partitions of a process that may take so many bytes in all, and reads so many at a time."""
    fits = max(MIN_PARTITION, largest_partition(limit, n_readers))
    return PartitionLimits(fits, max(fits, int((limit - MIN_IMPORTS) / MIN_READING)))


def surely_too_large(n_bytes: int, limit: int) -> bool:
    """Whether a single partition of so many bytes as a pandas frame cannot be scanned within the limit, by any measurement."""
    return MIN_IMPORTS + MIN_READING * n_bytes > limit


def network(n_weights: int, n_dense: int, n_states: int, n_copies: int) -> int:
    """Bytes of weights and optimizer state.

    A weight takes 4 bytes, and 4 for each vector of state. Working copies hold a dense weight twice, now and at the
    last exchange, with their own state; the first copy's state is the network's. So, under ADADELTA, 12 bytes a
    weight, and for a dense one 4 + 16 per copy where there are copies.

    Parameters
    ----------
    n_weights : int
        Length of the flat vector of weights.
    n_dense : int
        Length of its dense part.
    n_states : int
        Vectors of optimizer state, 0 to 2.
    n_copies : int
        Working copies of the dense part.

    Returns
    -------
    int
    """
    own_states = max(0, n_copies - 1) * n_states
    return 4 * (n_weights * (1 + n_states) + n_dense * (2 * n_copies + own_states))


def estimate(
    *,
    n_rows: int,
    n_validation: int,
    n_scored: int,
    n_measured: int,
    n_samples: int = 0,
    bytes_per_row: int,
    n_weights: int,
    n_dense: int,
    n_buffer: int,
    n_states: int,
    n_threads: int,
    n_copies: int,
    n_kept: int,
    n_outputs: int,
    read_bytes: int,
    compiles: bool,
    storage: Storage = IN_MEMORY,
    largest_block: int = 0,
    batch: int = 1,
    visits_per_row: float = 1.0,
    n_columns: int = 0,
    n_levels: int = 0,
    read_columns: int = 0,
    planned_columns: int = 0,
    n_replicas: int = 1,
    group_bytes: int = 0,
) -> Memory:
    """Peak of a training in one process.

    Parameters
    ----------
    n_rows, n_validation : int
        Rows of the training and of the validation table.
    n_scored, n_measured : int
        Rows that are scored at an event, of the larger of both scoring samples, and those of them whose outputs are held at
        a time.
    n_samples : int
        Rows that are set aside to be scored on, and those of them that are, brought together, of both tables.
    bytes_per_row : int
        Of an encoded row with target, weight and offset.
    n_weights, n_dense, n_states : int
        Length of the flat vector of weights and of its dense part, and how many vectors of optimizer state there are.
    n_buffer : int
        float32 numbers of a thread's buffers.
    n_threads, n_copies : int
        Threads, and working copies of the dense part that they may make.
    n_kept : int
        Networks that are remembered: the one a diverging round goes back to, and the best one.
    n_outputs : int
        Outputs of the network.
    read_bytes, read_columns : int
        Bytes, as pandas frames, and columns of the source partitions that are read at a time.
    compiles : bool
        Whether the kernels have yet to be compiled.
    storage : Storage
        Where rows are.
    largest_block : int
        Rows of the largest block: what is read again is read whole.
    batch : int
        Rows of a mini-batch.
    visits_per_row : float
        Visits of an epoch to a row of the training table, on average.
    n_columns, n_levels : int
        Columns that are inputs, and levels of all of them.
    planned_columns : int
        Columns of Dask collections that were opened in this process.
    n_replicas : int
        Networks that learn, or keep an average, in this process.
    group_bytes : int
        Of the groups that are kept beside a row of the training table, wherever the row is.

    Returns
    -------
    Memory
    """
    per_row = visits_per_row * (ORDER_PER_ROW + (COPIES_PER_VISIT if visits_per_row != 1 else 0))
    n_bytes = n_rows * bytes_per_row
    slices = 2 * min(rows_of_slice(bytes_per_row, batch), n_rows) * bytes_per_row
    if storage.mode == "memory":
        blocks, order = n_bytes + n_validation * bytes_per_row, int(n_rows * per_row) + slices
    else:
        minimum = largest_block if storage.mode == "stream" else 0
        n_window = min(n_rows, max(storage.window // bytes_per_row, minimum))
        blocks = min(2 * n_window, n_rows) * bytes_per_row + (n_rows + n_validation) // 8
        order = int(n_window * (per_row + visits_per_row * ORDER_KEPT)) + slices
    return Memory(
        blocks=blocks + n_rows * group_bytes,
        order=order,
        network=n_replicas * network(n_weights, n_dense, n_states, n_copies),
        kept=n_kept * network(n_weights, n_dense, n_states, 0),
        threads=n_threads * (THREAD + 4 * n_replicas * n_buffer),
        reading=reading(read_bytes, read_columns),
        compiler=COMPILER if compiles else 0,
        columns=COLUMN * n_columns + COLUMN_PLANNED * planned_columns + LEVEL * n_levels,
        samples=n_samples * bytes_per_row,
        scoring=n_scored * (bytes_per_row + SCORING_PER_ROW) + n_measured * SCORING_PER_OUTPUT * n_outputs,
        mode=storage.mode,
    )
