"""Cross-validation: a training on all but each fold, side by side, and one on all rows (algorithm.md#cross-validation)."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dask_dl.events import Listeners, Warned
from dask_dl.metrics.measurement import merged
from dask_dl.metrics.table import figures_of
from dask_dl.model.record import FoldMetrics
from dask_dl.training.engine import Request, encode, train
from dask_dl.training.settings import FoldSettings
from dask_dl.validation.folds import fold_data, make_folds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from dask_dl.cluster.backend import Backend
    from dask_dl.events import Event, Listener
    from dask_dl.metrics.measurement import Measurement
    from dask_dl.model import Model
    from dask_dl.training.engine import Outcome
    from dask_dl.training.loading import EncodedTables
    from dask_dl.validation.folds import Folds


#: Share of a worker's memory that the rows of folds side by side may take.
SHARE_OF_MEMORY = 0.4


class CrossValidated(NamedTuple):
    """Outcome of a cross-validation."""

    outcome: Outcome  #: of the training on all rows
    models: list[Model]  #: each trained on all but one fold
    folds: Folds
    n_rows: list[int]  #: of each partition of the training table


def cross_validate(
    request: Request,
    backend: Backend,
    listeners: Sequence[Listener] = (),
    *,
    cancelled: Callable[[], bool] = lambda: False,
) -> CrossValidated:
    """Train on all but each fold of a table, and then on all rows.

    The table is scanned and encoded once. Folds are trained side by side, as far as there are threads or workers.

    Parameters
    ----------
    request : Request
        Training on all rows, with the parameters of the folds.
    backend : Backend
        Where; it is opened and closed here, unless it keeps the tables already.
    listeners : sequence of Listener
        Told of what happens.
    cancelled : callable
        True ends the trainings.

    Returns
    -------
    CrossValidated

    Raises
    ------
    ParameterError, SchemaError
        Parameters, tables or folds that nothing can be learned with.
    DaskDLError
        What ended the training of a fold.
    """
    tell, settings = Listeners(listeners), FoldSettings.of(request.parameters)
    began = time.monotonic() if request.began is None else request.began
    with contextlib.nullcontext(backend) if request.encoded else backend as here:
        encoded = request.encoded or encode(request, here, tell)
        folds = make_folds(encoded.data, settings, here)
        tell.say(f"{len(folds.names)} folds of {min(folds.sizes):,} to {max(folds.sizes):,} rows")
        outcomes = _train_folds(request, encoded, folds, settings, here, tell, cancelled)
        epochs = [best_epoch(outcome.model) for outcome in outcomes]
        mean = float(np.mean(epochs))
        if settings.stops:
            tell.say(f"training on all rows for {mean:.4g} epochs, the mean of the folds' best ones")
        asked = request._replace(parameters=settings.main(request.parameters, mean), encoded=encoded, began=began)
        outcome = train(asked, here, listeners, cancelled=cancelled)
        # A model knows what it was asked for; what became of it is in the effective parameters.
        holdouts = [fold.holdout for fold in outcomes if fold.holdout is not None]
        record = replace(
            outcome.model.record,
            requested=dict(request.parameters) | {"client": None},
            folds=fold_metrics(folds, holdouts, outcome.model.head.kind),
        )
        outcome = outcome._replace(model=replace(outcome.model, record=record))
        rows = list(encoded.data.found.rows)
    return CrossValidated(outcome, [fold.model for fold in outcomes], folds, rows)


def best_epoch(model: Model) -> float:
    """Epochs that the best network of a training had learned, by the rows that judged it; all, where nothing judged."""
    history = model.record.history
    return model.record.n_epochs if history.best is None or not history.has_validation else history.best.epochs


def _train_folds(
    request: Request,
    encoded: EncodedTables,
    folds: Folds,
    settings: FoldSettings,
    here: Backend,
    tell: Listeners,
    cancelled: Callable[[], bool],
) -> list[Outcome]:
    """Train on all but each fold, as many at a time as the backend can be divided into.

    Parameters
    ----------
    request : Request
        Training on all rows.
    encoded : EncodedTables
        Rows that the backend keeps.
    folds : Folds
    settings : FoldSettings
    here : Backend
        Is divided.
    tell : Listeners
        Told of every fold's end, and of warnings.
    cancelled : callable
        True ends the trainings.

    Returns
    -------
    list of Outcome
        In the order of the folds.
    """
    n = len(folds.names)
    n_parts = _n_parts(n, encoded, settings, here)
    ended, lock = threading.Event(), threading.Lock()
    todo: queue.SimpleQueue[int] = queue.SimpleQueue()
    found: dict[int, Outcome] = {}

    def listen(event: Event) -> object:
        if isinstance(event, Warned):
            with lock:
                tell(event)
        return None

    def work(part: Backend, n_beside: int) -> None:
        parameters = settings.fold(request.parameters, n, n_parts)
        if here.is_local and settings.n_jobs:
            parameters["n_jobs"] = max(1, settings.n_jobs // n_beside)
        with part:
            while not ended.is_set():
                try:
                    k = todo.get_nowait()
                except queue.Empty:
                    return
                data = fold_data(encoded.data, folds, k, settings)
                own = encoded._replace(data=data)
                asked = request._replace(parameters=parameters, encoded=own, began=None, resume=False)
                outcome = train(asked, part, [listen], cancelled=ended.is_set)
                if outcome.failure is not None:
                    raise outcome.failure
                if ended.is_set():  # it is a part of a training
                    return
                found[k] = outcome
                with lock:
                    tell.say(_line(folds, k, outcome))

    def run(numbers: Iterable[int], n_beside: int) -> None:
        for k in numbers:
            todo.put(k)
        parts = here.split(n_beside)
        with ThreadPoolExecutor(n_beside, "fold") as pool:
            running = {pool.submit(work, part, n_beside) for part in parts}
            try:
                while running:
                    done, running = wait(running, timeout=0.1, return_when=FIRST_EXCEPTION)
                    for future in done:
                        future.result()
                    if cancelled():
                        raise KeyboardInterrupt  # the other way to be interrupted
            finally:
                ended.set()  # the others end within a round
        ended.clear()

    n_last = _n_last(n, n_parts)
    try:
        for numbers, n_beside in ((range(n - n_last), n_parts), (range(n - n_last, n), n_last)):
            if numbers:
                run(numbers, n_beside)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"the cross-validation was interrupted after {len(found)} of {n} folds; nothing is kept of them."
        ) from None
    return [found[k] for k in range(n)]


def _n_last(n: int, n_parts: int) -> int:
    """Folds that are left when all parts have trained equally many, where each of them can have several parts' threads."""
    n_left = n % n_parts
    return n_left if 0 < 2 * n_left <= n_parts else 0


def _n_parts(n: int, encoded: EncodedTables, settings: FoldSettings, here: Backend) -> int:
    """Folds to train at a time: as many as there are threads, or workers that can each hold more rows than their share."""
    n = min(n, here.n_parts)
    if here.is_local:
        return min(n, settings.n_jobs or n)
    if encoded.storage.mode != "memory":
        return 1
    # Each part has all rows on its own workers, which are fewer.
    room = here.budget(encoded.data.tables["training"][0]).memory * SHARE_OF_MEMORY
    return max(1, min(n, int(room / max(encoded.n_bytes, 1))))


def _line(folds: Folds, k: int, outcome: Outcome) -> str:
    """Line on a fold that is trained."""
    assert outcome.holdout is not None
    history = outcome.model.record.history
    value = outcome.holdout.metric(history.loss)
    return (
        f"fold {folds.names[k]}: {outcome.model.record.n_epochs:.2f} epochs, {history.loss} {value:.6g} of its "
        f"{folds.sizes[k]:,} rows"
    )


def fold_metrics(folds: Folds, holdouts: Sequence[Measurement], kind: str) -> FoldMetrics:
    """Metrics of every fold, and of all of them together; `holdouts` are in the order of the folds."""
    combined = merged(holdouts)
    assert combined is not None, "each fold has rows"
    names = [name for name in figures_of(kind) if combined.has(name)]
    metrics = {name: [holdout.metric(name) for holdout in holdouts] for name in names}
    known = {name: values for name, values in metrics.items() if not np.isnan(values).all()}
    return FoldMetrics(combined, folds.names, known)
