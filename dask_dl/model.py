"""The fitted value: encoder, network, history. Everything that prediction, saving and going on need, and nothing else."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from dask_dl import parameters
from dask_dl.checkpoint import read_archive, write_archive
from dask_dl.checkpoint.codec import opened
from dask_dl.checkpoint.plain import plain, unplain
from dask_dl.documents.history import records_of
from dask_dl.documents.model import ModelDocument
from dask_dl.documents.network import check_array, check_no_more, names_of, shapes_of, vectors_of
from dask_dl.errors import warn
from dask_dl.metrics.history import History
from dask_dl.metrics.stopping import metric_of
from dask_dl.metrics.table import METRICS
from dask_dl.predictor import Predictor
from dask_dl.show.progress import duration
from dask_dl.show.report import fragment

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from dask_dl.frame.categorical import CodedColumn, OneHotColumn
    from dask_dl.frame.encoder import Encoder
    from dask_dl.frame.target import Target
    from dask_dl.kernels.layout import Topology


@dataclass(frozen=True, eq=False)
class Model:
    """A trained network and what is known of its training. Read-only to everybody."""

    task: str  #: "classification" or "regression"
    encoder: Encoder
    target: Target
    topology: Topology
    flat: NDArray[np.float32]  #: weights and biases, as `topology` lays them out
    states: tuple[NDArray[np.float32], ...]  #: optimizer state, each like `flat`
    requested: Mapping[str, Any]  #: constructor parameters as given
    effective: Mapping[str, Any]  #: the same, automatic choices resolved
    history: History
    n_seen: int  #: rows learned
    n_rounds: int  #: rounds trained
    n_rows: int  #: rows of an epoch
    feature_names: tuple[str, ...]  #: predictors of the training table in its order, dropped ones included
    is_named: bool  #: whether the table had names; an array's columns are x0, x1, ...
    stopped_by: str | None = None  #: why training ended, in words
    confusion: Mapping[str, Any] = field(default_factory=dict)  #: (K, K) rows by class and answer, of each scored table
    offset_name: str | None = None  #: column of offsets, "" when they came beside the table, None when there were none
    # Early files know none of these.
    table_rows: Mapping[str, tuple[int, int]] = field(default_factory=dict)  #: in each table; trained on or scored
    versions: Mapping[str, str] = field(default_factory=dict)  #: of the packages that trained it
    target_name: str | None = None  #: column of the target, None when it came beside the table

    # ---- prediction -------------------------------------------------------------------------------------------------

    @cached_property
    def predictor(self) -> Predictor:
        """Predictor of the model."""
        return Predictor(self.encoder, self.target, self.topology, self.flat)

    def missing_columns(self, names: Sequence[str], label: str) -> list[str]:
        """Columns of training that a table lacks: warned of, and filled with missing values.

        The rule: algorithm.md#columns-of-other-tables.
        """
        missing = self.encoder.match(names, label)
        if missing:
            text = f"{label} lacks {len(missing)} columns of training, taken as missing: {missing[:20]}."
            warn(text)
        return missing

    def confusion_matrix(self) -> pd.DataFrame | None:
        """(K, K) rows by class and prediction, of the table that is watched; None where it was not kept."""
        found = self.confusion.get(self.history.table)
        if found is None:
            return None
        counts, labels = np.asarray(found, np.float64), self.target.labels
        whole = counts.astype(np.int64)
        return pd.DataFrame(
            whole if (whole == counts).all() else counts,
            index=pd.Index(labels, name=f"actual ({self.history.table})"),
            columns=pd.Index(labels, name="predicted"),
        )

    # ---- showing ----------------------------------------------------------------------------------------------------

    def html(self) -> str:
        """Facts about the model, as a fragment of HTML."""
        levelled: tuple[OneHotColumn | CodedColumn, ...] = (*self.encoder.categories, *self.encoder.codes)
        columns = [
            *((c.name, "category", f"{len(c.levels):,} levels: {', '.join(c.levels[:6])}") for c in levelled),
            *(
                (n.name, "number", f"mean {n.fill:.6g}" + (f", deviation {1 / n.factor:.6g}" if n.factor != 1 else ""))
                for n in self.encoder.numbers
            ),
        ]
        title, defaults = f"dask_dl {self.task} model", self._defaults_of_changed()
        settings = [
            (name, value, parameters.show(defaults[name]) if name in defaults else "")
            for name, value in self.effective.items()
            if name not in _START_VALUES
        ]
        return fragment(title, self._facts(), self.history, columns, settings, self.target.classes, self.confusion)

    def _defaults_of_changed(self) -> dict[str, Any]:
        """Defaults of the parameters for which another value was asked."""
        return {
            name: parameters.TABLE[name].default
            for name, value in self.requested.items()
            if name in parameters.TABLE and not parameters.TABLE[name].is_default(value)
        }

    def _facts(self) -> dict[str, str]:
        """Lines on the network and its training, without what an early file does not know."""
        best, last = self.history.best, self.history.records[-1]
        changed = [
            f"{name}={'<arrays>' if name in _START_VALUES else parameters.show(self.requested[name])}"
            for name in self._defaults_of_changed()
        ]
        facts = {"task": f"{self.task}, {self.effective.get('distribution')}"}
        for table, (n_rows, n_used) in self.table_rows.items():
            use = "trained on" if table == "training" else "scored"
            facts[f"{table} table"] = f"{n_rows:,} rows" + (f", {n_used:,} of them {use}" if n_used < n_rows else "")
        facts |= {
            "rows of an epoch": f"{self.n_rows:,}",
            "network": f"{self.topology.n_inputs:,} inputs, hidden {list(self.topology.hidden)} "
            f"{self.topology.activation}, {self.topology.n_outputs:,} outputs: "
            f"{self.topology.n_parameters:,} weights and biases",
            "changed parameters": ", ".join(changed) or "none",
            "trained": f"{self.n_seen / self.n_rows:.2f} epochs in {self.n_rounds:,} rounds",
            "ended by": self.stopped_by or "",
            "date": str(last["timestamp"]),
        }
        if math.isfinite(last["duration"]):
            facts["duration"] = duration(last["duration"])
        if best is not None:
            facts[f"best {self.history.metric}"] = (
                f"{self.history.score_of(best):.6g} on {self.history.table} rows, round {best['iterations']:,}"
            )
        if self.versions:
            facts["versions"] = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        return facts

    # ---- saving -----------------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything to one file; see `checkpoint.write_archive`."""
        arrays: dict[str, NDArray[Any]] = {}
        for name, vector in zip(("network", "state/0", "state/1"), (self.flat, *self.states), strict=False):
            arrays |= self.topology.named(name, vector)
        for name in _START_VALUES:
            arrays |= {
                f"{name}/{k}": np.asarray(a, np.float32)
                for k, a in enumerate(self.requested.get(name) or ())
                if a is not None
            }
        document = {
            "task": self.task,
            "encoder": self.encoder.to_json(),
            "target": self.target.to_json(),
            "topology": plain(asdict(self.topology)),
            "requested": plain(dict(self.requested) | dict.fromkeys(_START_VALUES)),
            "effective": plain(dict(self.effective) | dict.fromkeys(_START_VALUES)),
            "history": plain(self.history.records),
            "has_validation": self.history.has_validation,
            "n_states": len(self.states),
            "n_seen": self.n_seen,
            "n_rounds": self.n_rounds,
            "n_rows": self.n_rows,
            "feature_names": list(self.feature_names),
            "is_named": self.is_named,
            "offset_name": self.offset_name,
            "target_name": self.target_name,
            "stopped_by": self.stopped_by,
            "confusion": self.confusion,
            "table_rows": plain(dict(self.table_rows)),
            "versions": dict(self.versions),
        }
        write_archive(path, arrays, document, kind="model")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Model:
        """Read what `save` wrote."""
        arrays, document = read_archive(path, kind="model", schema=ModelDocument)
        topology = document.topology.topology()
        names = names_of("", document.n_states)
        flat, *states = vectors_of(arrays, topology, names, str(path))
        start_values = _start_values(arrays, topology, str(path))
        known = [part for name in names for part in shapes_of(topology, name)]
        known += [f"{name}/{k}" for name in start_values for k in range(len(topology.units))]
        check_no_more(arrays, known, str(path))
        requested, effective = (
            unplain(opened(value, f"{path}: {name}")) | dict.fromkeys(_START_VALUES) | start_values
            for name, value in (("requested", document.requested), ("effective", document.effective))
        )
        records = records_of(document.history, document.task, has_validation=document.has_validation)
        asked = effective.get("stopping_metric")
        metric = metric_of(asked if asked in METRICS else None, document.task)
        return cls(
            task=document.task,
            encoder=document.encoder.encoder(),
            target=document.target.target(),
            topology=topology,
            flat=flat,
            states=tuple(states),
            requested=requested,
            effective=effective,
            history=History(document.task, document.has_validation, records, metric),
            n_seen=document.n_seen,
            n_rounds=document.n_rounds,
            n_rows=document.n_rows,
            feature_names=document.feature_names,
            is_named=document.is_named,
            offset_name=document.offset_name,
            target_name=document.target_name,
            stopped_by=document.stopped_by,
            confusion=document.confusion,
            table_rows=document.table_rows,
            versions=document.versions,
        )


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
        for name in _START_VALUES
        if any(key.startswith(f"{name}/") for key in arrays)
    }


#: Parameters that hold arrays: saved as such.
_START_VALUES = ("initial_weights", "initial_biases")
