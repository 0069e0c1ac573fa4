"""Models in files."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from dask_dl import parameters
from dask_dl.checkpoint import read_archive, write_archive
from dask_dl.checkpoint.codec import opened
from dask_dl.checkpoint.plain import plain, unplain
from dask_dl.documents.history import events_of, measured_arrays, measured_of
from dask_dl.documents.measurement import number, to_document
from dask_dl.documents.model import FoldsDocument, ModelDocument
from dask_dl.documents.network import check_array, check_no_more, names_of, shapes_of, vectors_of
from dask_dl.metrics.history import History
from dask_dl.metrics.stopping import metric_of
from dask_dl.metrics.table import METRICS
from dask_dl.model.model import Model, TrainedNetwork
from dask_dl.model.record import FoldMetrics, TrainingRecord

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from dask_dl.kernels.layout import Topology


#: Beginning of the names of arrays of measurements.
MEASURED, FOLDS = "measured/", "cross_validation/"


def save_model(model: Model, path: str | os.PathLike[str]) -> None:
    """Write everything to one file; see `checkpoint.write_archive`."""
    network, record = model.network, model.record
    arrays: dict[str, NDArray[Any]] = {}
    for name, vector in zip(("network", "state/0", "state/1"), (network.flat, *network.states), strict=False):
        arrays |= network.topology.named(name, vector)
    for name in parameters.ARRAYS:
        arrays |= {
            f"{name}/{k}": np.asarray(a, np.float32)
            for k, a in enumerate(record.requested.get(name) or ())
            if a is not None
        }
    arrays |= measured_arrays(record.history.measured, MEASURED)
    if record.folds is not None:
        arrays |= measured_arrays({"combined": record.folds.combined}, FOLDS)
    document = {
        "task": model.task,
        "encoder": model.encoder.to_json(),
        "target": model.head.to_json(),
        "topology": plain(asdict(network.topology)),
        "requested": _plain_parameters(record.requested),
        "effective": _plain_parameters(record.effective),
        "history": plain(record.history.to_json()),
        "has_validation": record.history.has_validation,
        "n_earlier": record.history.n_earlier,
        "n_states": len(network.states),
        "n_seen": record.n_seen,
        "n_rounds": record.n_rounds,
        "n_rows": record.n_rows,
        "feature_names": list(record.feature_names),
        "is_named": record.is_named,
        "offset_name": record.offset_name,
        "target_name": record.target_name,
        "stopped_by": record.stopped_by,
        "measured": {table: plain(to_document(found)) for table, found in record.history.measured.items()},
        "folds": _folds_document(record.folds),
        "table_rows": plain(dict(record.table_rows)),
        "versions": dict(record.versions),
        "complete_columns": sorted(record.complete_columns),
    }
    write_archive(path, arrays, document, kind="model")


def _plain_parameters(given: Mapping[str, Any]) -> Any:
    """JSON of parameters: arrays are elsewhere, and of a user's own metric a file keeps the name, if that is what it is."""
    objects = {name: None for name in parameters.OBJECTS if not isinstance(given.get(name), str)}
    return plain(dict(given) | dict.fromkeys(parameters.ARRAYS) | objects)


def load_model(path: str | os.PathLike[str]) -> Model:
    """Read what `save_model` wrote. Raises ArchiveError, FileNotFoundError."""
    arrays, document = read_archive(path, kind="model", schema=ModelDocument)
    topology = document.topology.topology()
    names = names_of("", document.n_states)
    flat, *states = vectors_of(arrays, topology, names, str(path))
    start_values = _start_values(arrays, topology, str(path))
    known = [part for name in names for part in shapes_of(topology, name)]
    known += [f"{name}/{k}" for name in start_values for k in range(len(topology.units))]
    begins = (*(f"{MEASURED}{table}/" for table in document.measured), *([FOLDS] if document.folds else ()))
    check_no_more(arrays, [*known, *(name for name in arrays if name.startswith(begins))], str(path))
    head = document.target.head(document.task)
    measured = measured_of(document.measured, document.confusion, arrays, MEASURED, len(head.classes), str(path))
    requested, effective = (
        unplain(opened(value, f"{path}: {name}")) | dict.fromkeys(parameters.ARRAYS) | start_values
        for name, value in (("requested", document.requested), ("effective", document.effective))
    )
    events = events_of(document.history, head.kind, has_validation=document.has_validation, measured=measured)
    asked = effective.get("stopping_metric")
    metric = metric_of(asked if asked in METRICS else None, document.task)
    record = TrainingRecord(
        requested=requested,
        effective=effective,
        history=History(head.kind, document.has_validation, events, metric, document.n_earlier),
        n_seen=document.n_seen,
        n_rounds=document.n_rounds,
        n_rows=document.n_rows,
        feature_names=document.feature_names,
        is_named=document.is_named,
        stopped_by=document.stopped_by,
        offset_name=document.offset_name,
        target_name=document.target_name,
        folds=_folds(document.folds, arrays, len(head.classes), str(path)),
        table_rows=document.table_rows,
        versions=document.versions,
        complete_columns=frozenset(document.complete_columns),
    )
    network = TrainedNetwork(topology, flat, tuple(states))
    return Model(document.encoder.encoder(), network, head, record)


def _folds_document(folds: FoldMetrics | None) -> dict[str, Any] | None:
    """JSON of the measurements of a cross-validation."""
    if folds is None:
        return None
    metrics = plain({name: list(values) for name, values in folds.metrics.items()})
    return {"combined": plain(to_document(folds.combined)), "names": list(folds.names), "metrics": metrics}


def _folds(
    document: FoldsDocument | None, arrays: Mapping[str, NDArray[Any]], n_classes: int, where: str
) -> FoldMetrics | None:
    """Measurements of a cross-validation that a file holds.

    Parameters
    ----------
    document : FoldsDocument or None
    arrays : mapping of str to ndarray
        Arrays of the file.
    n_classes : int
        Classes of the problem, 0 for numbers.
    where : str
        Path of the file, for errors.

    Returns
    -------
    FoldMetrics or None

    Raises
    ------
    ArchiveError
        When arrays do not fit.
    """
    if document is None:
        return None
    found = measured_of({"combined": document.combined}, {}, arrays, FOLDS, n_classes, where)
    metrics = {name: [number(value) for value in values] for name, values in document.metrics.items()}
    return FoldMetrics(found["combined"], document.names, metrics)


def _start_values(
    arrays: Mapping[str, NDArray[np.float32]], topology: Topology, where: str
) -> dict[str, tuple[NDArray[np.float32] | None, ...]]:
    """Start values that a file holds, by parameter: an array for each layer, or None. Raises ArchiveError."""
    shapes: dict[str, list[tuple[int, ...]]] = {
        "initial_weights": [(n_in, n_out) for n_out, n_in in topology.shapes],
        "initial_biases": [(n_out,) for n_out, _ in topology.shapes],
    }
    return {
        name: tuple(
            check_array(arrays, f"{name}/{k}", shape, where) if f"{name}/{k}" in arrays else None
            for k, shape in enumerate(shapes[name])
        )
        for name in parameters.ARRAYS
        if any(key.startswith(f"{name}/") for key in arrays)
    }
