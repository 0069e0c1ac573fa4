"""Trial training on a sample, which tells how fast rows are learned."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from dask_dl.cluster.setup import RoundSettings
from dask_dl.show.progress import duration
from dask_dl.training.loading import load
from dask_dl.training.start import Start

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from dask_dl.cluster.backend import Backend
    from dask_dl.events import Listeners
    from dask_dl.frame.scan import Scan
    from dask_dl.frame.source import Source
    from dask_dl.training.problem import Problem

#: Seconds of the rounds that are measured, about; those before them take half of that.
SECONDS = 1.0
#: So many times as long a trial may take in all, compiling aside.
MAX_TRIAL_FACTOR = 10
#: Rows, bytes and partitions of the sample, at most.
MAX_ROWS, MAX_BYTES, MAX_PARTITIONS = 2**15, 2**25, 8


class Trial(NamedTuple):
    """Outcome of a trial."""

    n_sample: int  #: rows that were trained on, again and again
    n_rows: int  #: trained in the rounds that were measured
    seconds: float

    @property
    def rows_per_second(self) -> float:
        """Speed of all processes together."""
        return self.n_rows / self.seconds


def sample_rows(found: Scan) -> dict[int, int]:
    """How many rows of which partitions are the sample: the first ones, of partitions from all over the table."""
    with_target = [k for k, n in enumerate(found.rows) if n > (found.unlabelled[k] if found.unlabelled else 0)]
    step = max(1, len(with_target) // MAX_PARTITIONS)
    chosen = with_target[::step][:MAX_PARTITIONS]
    bytes_per_row = max(1, sum(found.sizes) // max(1, found.n_rows))
    n = max(1, min(MAX_ROWS, MAX_BYTES // bytes_per_row) // max(1, len(chosen)))
    return {k: min(n, found.rows[k]) for k in chosen}


def train_on_sample(problem: Problem, parts: Sequence[Any], here: Backend, tell: Listeners) -> Trial:
    """Train for about a second on the first rows of some partitions, in memory, as the training itself would.

    Parameters
    ----------
    problem : Problem
        The training.
    parts : sequence of pandas.DataFrame or SparsePart
        First rows of some partitions.
    here : Backend
    tell : Listeners
        Warned as by a training.

    Returns
    -------
    Trial

    Raises
    ------
    Exception
        What a training raises.
    """
    source, found = problem.tables["training"]
    sample: Source = replace(source, n_partitions=len(parts), read=parts.__getitem__, lazy=None)
    scan = replace(found, rows=tuple(map(len, parts)), sizes=())
    small = replace(
        problem,
        tables={"training": (sample, scan)},
        run=problem.run._replace(storage="memory", checkpoint_dir=""),
    )
    load(small, tell, here, has_checksums=False)
    trainer = Start.fresh(small).begin(small, here, lambda _: None)
    trainer.compile()
    # Rounds of a training are long beside what it takes to begin and end them, so short ones say nothing of its speed.
    n, n_rows, total, deadline = (
        trainer.n_threads * problem.optimizer.batch,
        0,
        0.0,
        time.monotonic() + MAX_TRIAL_FACTOR * SECONDS,
    )
    while total < SECONDS:
        began = time.monotonic()
        trainer.train(n, RoundSettings())
        trainer.average()
        now, busy = time.monotonic(), max(trainer.busy_seconds, 1e-6)
        if busy > SECONDS / 4 or now > deadline:
            n_rows, total = n_rows + n, total + now - began
        if now > deadline:
            break
        n = max(n + 1, min(4 * n, int(n * SECONDS / 2 / busy)))
    return Trial(scan.n_rows, n_rows, total)


def expected_time(problem: Problem, trial: Trial, scan_seconds: float, storage: str) -> str:
    """The time that the training is expected to take, and what that rests on, in words.

    Parameters
    ----------
    problem : Problem
        The training.
    trial : Trial
        Outcome of its trial.
    scan_seconds : float
        Time that the scan of the training table took.
    storage : str
        Where the rows of the training will be.

    Returns
    -------
    str
    """
    n_epoch = problem.balance.n_visits(problem.class_counts) if problem.balance else problem.found.n_used
    seconds = problem.run.epochs * n_epoch / trial.rows_per_second
    limit = problem.run.max_seconds
    ends = f", but max_runtime_secs ends it after {duration(limit)}" if 0 < limit < seconds else ""
    where = "" if storage == "memory" else f" The trial had its rows in memory; storage={storage!r} may be slower."
    return (
        f"the training takes {_about(seconds)}{ends}: {problem.run.epochs:g} epochs of {n_epoch:,.0f} rows at "
        f"{trial.rows_per_second:,.0f} rows/s, as measured in {trial.seconds:.1f} s of training on a sample of "
        f"{trial.n_sample:,} rows. That leaves out reading (the scan took {_about(scan_seconds)}), encoding and scoring, and "
        f"that early stopping may end it sooner.{where}"
    )


def _about(seconds: float) -> str:
    return f"about {duration(seconds)}" if seconds >= 1 else "less than a second"
