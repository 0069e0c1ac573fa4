"""The fitted value: encoder, network, history. Everything that prediction, saving and going on need, and nothing else."""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from dask_dl import parameters
from dask_dl.checkpoint import read_archive, write_archive
from dask_dl.checkpoint.plain import plain, records_of, unplain
from dask_dl.errors import ArchiveError, DaskDLWarning
from dask_dl.frame.encoder import Encoder
from dask_dl.frame.target import Target
from dask_dl.kernels.layout import Topology
from dask_dl.predictor import Predictor
from dask_dl.score.history import History
from dask_dl.score.stopping import metric_of
from dask_dl.show.report import fragment

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from dask_dl.frame.levels import Category, Code


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

    # ---- prediction -------------------------------------------------------------------------------------------------

    @property
    def predictor(self) -> Predictor:
        """What a prediction needs of it."""
        return Predictor(self.encoder, self.target, self.topology, self.flat)

    def missing_columns(self, names: Sequence[str], label: str) -> list[str]:
        """Columns of training that a table lacks: warned of, and filled with missing values (section 2.3)."""
        missing = self.encoder.match(names, label)
        if missing:
            text = f"{label} lacks {len(missing)} columns of training, taken as missing: {missing[:20]}."
            warnings.warn(DaskDLWarning(text), stacklevel=4)
        return missing

    # ---- showing ----------------------------------------------------------------------------------------------------

    def html(self) -> str:
        """What there is to know of the model, as a fragment of HTML."""
        best = self.history.best
        facts = {
            "task": f"{self.task}, {self.effective['distribution']}",
            "rows of an epoch": self.n_rows,
            "network": f"{self.topology.n_inputs:,} inputs, hidden {list(self.topology.hidden)} "
            f"{self.effective['activation']}, {self.topology.n_outputs:,} outputs: "
            f"{self.topology.n_parameters:,} weights and biases",
            "trained": f"{self.n_seen / self.n_rows:.2f} epochs in {self.n_rounds:,} rounds",
            "ended by": self.stopped_by or "",
        }
        if best is not None:
            facts[f"best {self.history.metric}"] = (
                f"{self.history.score_of(best):.6g} on {self.history.table} rows, round {best['iterations']:,}"
            )
        levelled: tuple[Category | Code, ...] = (*self.encoder.categories, *self.encoder.codes)
        columns = [
            *((c.name, "category", f"{len(c.levels):,} levels: {', '.join(c.levels[:6])}") for c in levelled),
            *(
                (n.name, "number", f"mean {n.fill:.6g}" + (f", deviation {1 / n.factor:.6g}" if n.factor != 1 else ""))
                for n in self.encoder.numbers
            ),
        ]
        settings = {name: value for name, value in self.effective.items() if name not in _START_VALUES}
        title = f"dask_dl {self.task} model"
        return fragment(title, facts, self.history, columns, settings, self.target.classes, self.confusion)

    # ---- saving -----------------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything to one file; see `checkpoint.write_archive`."""
        arrays: dict[str, NDArray[Any]] = {}
        for name, vector in zip(("network", "state/0", "state/1"), (self.flat, *self.states), strict=False):
            arrays |= self.topology.named(name, vector)
        for name in _START_VALUES:
            arrays |= {
                f"{name}/{k}": np.asarray(a, np.float32)
                for k, a in enumerate(self.requested[name] or ())
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
            "stopped_by": self.stopped_by,
            "confusion": self.confusion,
        }
        write_archive(path, arrays, document, kind="model")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Model:
        """Read what `save` wrote."""
        arrays, d = read_archive(path, kind="model")
        try:
            return cls._from_parts(arrays, d)
        except Exception as error:
            raise ArchiveError(f"{path} is a model file whose content does not fit together: {error!r}.") from error

    @classmethod
    def _from_parts(cls, arrays: Mapping[str, NDArray[Any]], d: Mapping[str, Any]) -> Model:
        lists = {name: tuple(d["topology"].get(name, ())) for name in ("hidden", "dropout")}
        topology = Topology(**{**d["topology"], **lists})
        encoder = Encoder.from_json(d["encoder"])
        if (encoder.n_onehot, encoder.n_dense, encoder.n_sparse) != (
            topology.n_onehot, topology.n_dense, topology.n_sparse,
        ):  # fmt: skip
            raise ArchiveError("the encoder's inputs are not the network's")
        target = Target.from_json(d["target"])
        if (d["task"], topology.output, topology.n_outputs) not in {
            ("classification", "softmax", len(target.classes)),
            ("regression", "linear", 1),
        }:
            raise ArchiveError("task, target and outputs do not belong together")
        if d["n_states"] not in {0, 1, 2}:
            raise ArchiveError("there are 0 to 2 vectors of optimizer state")
        if not all(array.dtype == np.float32 and np.isfinite(array).all() for array in arrays.values()):
            raise ArchiveError("weights and state must be finite float32 numbers")
        vectors = [topology.vector(name, arrays) for name in ("network", "state/0", "state/1")[: 1 + d["n_states"]]]
        requested = parameters.validate(unplain(d["requested"]), task=d["task"])
        start_values = {
            name: tuple(arrays.get(f"{name}/{k}") for k in range(len(topology.units)))
            for name in _START_VALUES
            if any(key.startswith(f"{name}/") for key in arrays)
        }
        records = records_of(d["history"])
        return cls(
            task=d["task"],
            encoder=encoder,
            target=target,
            topology=topology,
            flat=vectors[0],
            states=tuple(vectors[1:]),
            requested=requested | start_values,
            effective=unplain(d["effective"]) | start_values,
            history=History(
                d["task"], d["has_validation"], records, metric_of(d["effective"]["stopping_metric"], d["task"])
            ),
            n_seen=d["n_seen"],
            n_rounds=d["n_rounds"],
            n_rows=d["n_rows"],
            feature_names=tuple(d["feature_names"]),
            is_named=d["is_named"],
            offset_name=d["offset_name"],
            stopped_by=d.get("stopped_by"),  # early files know neither
            confusion=d.get("confusion", {}),
        )


#: Parameters that hold arrays: saved as such.
_START_VALUES = ("initial_weights", "initial_biases")
