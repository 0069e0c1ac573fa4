"""Going on with a training that broke off: what its checkpoint holds, and whether it belongs to this table."""

from __future__ import annotations

import itertools
import math
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from dask_dl import parameters
from dask_dl.checkpoint import read_archive
from dask_dl.checkpoint.codec import opened
from dask_dl.checkpoint.folder import KIND, CheckpointFolder
from dask_dl.checkpoint.plain import plain
from dask_dl.documents.history import events_of, measured_arrays, measured_of
from dask_dl.documents.measurement import to_document
from dask_dl.documents.network import check_no_more, names_of, shapes_of, vectors_of
from dask_dl.documents.training import FingerprintDocument, TrainingDocument
from dask_dl.errors import ParameterError, SchemaError
from dask_dl.metrics.history import History
from dask_dl.state import AveragingState
from dask_dl.training_state import Snapshot, TrainingState

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from dask_dl.frame.encoder import Encoder
    from dask_dl.kernels.layout import Topology
    from dask_dl.metrics.measurement import Measurement
    from dask_dl.tasks.head import Head

#: Statistics of a column may differ by so much, relatively: the order of sums depends on how a table is cut.
CLOSE = 1e-9


@dataclass(frozen=True)
class TrainingFingerprint:
    """Fingerprint that a checkpoint and the training that goes on with it must have in common."""

    columns: tuple[str, ...]
    roles: dict[str, str]  #: columns of target, weight and offset
    n_rows: int
    n_used: int
    n_validation: int
    encoder: Encoder
    head: Head
    topology: Topology
    settings: dict[str, Any]  #: parameters that a restart must not change
    balance: tuple[float, ...] = ()  #: visits per row of every class, where classes are balanced

    @classmethod
    def settings_of(cls, requested: Mapping[str, Any]) -> dict[str, Any]:
        """Those of the requested parameters."""
        fixed = [
            name
            for name, row in parameters.TABLE.items()
            if row.scope == "constructor" and row.restart in {"no", "equal"}
        ]
        settings: dict[str, Any] = plain({name: requested[name] for name in fixed})
        return settings

    def to_json(self) -> dict[str, Any]:
        """Fingerprint as the document of a checkpoint has it."""
        return {
            "columns": list(self.columns),
            "roles": self.roles,
            "n_rows": self.n_rows,
            "n_used": self.n_used,
            "n_validation": self.n_validation,
            "encoder": plain(self.encoder.to_json()),
            "target": plain(self.head.to_json()),
            "topology": plain(unchanging(self.topology)),
            "settings": self.settings,
            "balance": list(self.balance),
        }

    def differences(self, checkpoint: FingerprintDocument, where: str) -> list[str]:
        """Differences in words: what the checkpoint has, and what there is now."""
        mine, settings = self.to_json(), opened(checkpoint.settings, f"{where}: settings")
        found = [
            f"{name}={settings.get(name)}, now {now}"
            for name, now in mine["settings"].items()
            if settings.get(name) != now
        ]
        names = {
            "columns": "columns",
            "roles": "target, weight and offset",
            "n_rows": "rows",
            "n_used": "rows with a target",
            "n_validation": "validation rows",
        }
        theirs = {key: plain(getattr(checkpoint, key)) for key in (*names, "balance")}
        for key, name in names.items():
            if mine[key] != theirs[key]:
                found.append(f"{name}: {_short(theirs[key])}, now {_short(mine[key])}")
        if not found:
            found += unlike("columns", _columns(checkpoint.encoder.encoder()), _columns(self.encoder))
            found += unlike("target", checkpoint.target.to_json(), mine["target"])
            found += unlike("network", plain(unchanging(checkpoint.topology.topology())), mine["topology"])
            found += unlike("visits per row of a class", theirs["balance"], mine["balance"])
        return found


def unchanging(topology: Topology) -> dict[str, Any]:
    """Topology as far as a restart must not change it; early files know nothing of sparse columns."""
    return {k: v for k, v in asdict(topology).items() if k != "dropout" and (k != "n_sparse" or v)}


def _columns(encoder: Encoder) -> Any:
    """An encoder column by column, for differences that name the column."""
    return plain(encoder.to_json() | {"numbers": [asdict(number) for number in encoder.numbers]})


def _short(value: Any) -> str:
    text = f"{value:,}" if isinstance(value, int) else str(value)
    return text if len(text) < 200 else text[:200] + " ..."


def unlike(place: str, checkpoint: Any, now: Any) -> list[str]:
    """Where two JSON documents differ, numbers up to CLOSE."""
    if isinstance(checkpoint, dict) and isinstance(now, dict):
        name = checkpoint.get("name", "")
        where = f"{place} {name}".strip()
        return [
            text
            for key in sorted(checkpoint.keys() | now.keys())
            if checkpoint.get(key, 0) is not None  # what an early checkpoint does not know
            for text in unlike(f"{where}, {key}", checkpoint.get(key), now.get(key))
        ]
    if isinstance(checkpoint, list) and isinstance(now, list) and len(checkpoint) == len(now):
        return [text for a, b in zip(checkpoint, now, strict=True) for text in unlike(place, a, b)]
    numbers = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in (checkpoint, now))
    same = math.isclose(checkpoint, now, rel_tol=CLOSE, abs_tol=CLOSE) if numbers else checkpoint == now
    return [] if same else [f"{place}: {_short(checkpoint)}, now {_short(now)}"]


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was read."""

    path: str
    document: TrainingDocument
    flat: NDArray[np.float32]  #: weights and biases
    states: list[NDArray[np.float32]]  #: optimizer state
    best: Snapshot | None  #: of the history's best event
    averaging: AveragingState | None  #: of several replicas
    measured: Mapping[str, Measurement]  #: of the newest event, by table
    best_measured: Mapping[str, Measurement]  #: of the best event

    @classmethod
    def read(cls, path: str) -> Checkpoint:
        """Read a file that `CheckpointWriter` wrote. Raises ArchiveError, FileNotFoundError."""
        arrays, document = read_archive(path, kind=KIND, schema=TrainingDocument)
        topology = document.identity.topology.topology()
        names = names_of("", document.n_states)
        of_best = names_of("best/", document.n_states) if document.state.best else []
        averages = document.averaging
        velocity = ["velocity"] if averages and averages.has_velocity else []
        of_replicas = (
            {name: names_of(f"replicas/{name}/", document.n_states) for name in averages.replicas} if averages else {}
        )
        known = itertools.chain(names, of_best, velocity, *of_replicas.values())
        parts = [part for name in known for part in shapes_of(topology, name)]
        n_classes, state = len(document.identity.target.classes), document.state
        events = (
            ("measured/", state.measured, state.confusion), ("best_measured/", state.best_measured, state.best_confusion)
        )  # fmt: skip
        begins = tuple(f"{prefix}{table}/" for prefix, documents, _ in events for table in documents)
        check_no_more(arrays, [*parts, *(name for name in arrays if name.startswith(begins))], path)
        measured = [
            measured_of(documents, confusion, arrays, prefix, n_classes, path)
            for prefix, documents, confusion in events
        ]
        flat, *states = vectors_of(arrays, topology, names, path)
        best = None
        if document.state.best:
            of_best_flat, *of_best_states = vectors_of(arrays, topology, of_best, path)
            best = Snapshot(of_best_flat, tuple(of_best_states), *document.state.best, delta=document.state.delta)
        averaging = None
        if averages:
            averaging = AveragingState(
                averages.n_averages,
                vectors_of(arrays, topology, velocity, path)[0] if velocity else None,
                {name: tuple(vectors_of(arrays, topology, of, path)) for name, of in of_replicas.items()},
            )
        return cls(path, document, flat, states, best, averaging, *measured)

    @property
    def seed(self) -> int:
        """Seed of the training that it belongs to."""
        return self.document.seed

    def check(self, fingerprint: TrainingFingerprint) -> None:
        """Refuse to go on with another table or another network. Raises SchemaError."""
        found = fingerprint.differences(self.document.identity, self.path)
        if found:
            raise SchemaError(
                f"resume: {self.path} is of another training: {'; '.join(found[:6])}. Train on the same table with the same "
                f"parameters, or start anew in another checkpoint_dir."
            )

    def check_rows(self, prints: Mapping[str, Sequence[int]]) -> None:
        """Refuse to go on with other rows, or the same in another order. Raises SchemaError."""
        for table, now in prints.items():
            wrong = unlike_parts(self.document.fingerprints.get(table, ()), now)
            if wrong:
                raise SchemaError(
                    f"resume: {self.path} is of another {table} table: its {', '.join(wrong)} differ, or their order does. "
                    f"Train on the same tables, or start anew in another checkpoint_dir."
                )

    @property
    def n_shards(self) -> int | None:
        """Fixed number of shards of the training that broke off."""
        return self.document.n_shards

    def check_shards(self, asked: int | None) -> None:
        """Refuse to go on with another number of shards, which gives other bits. Raises ParameterError."""
        if asked not in {None, self.n_shards}:
            raise ParameterError(
                f"n_shards={asked}, but {self.path} is of a reproducible training with {self.n_shards}. Leave n_shards out."
            )

    @property
    def is_continued(self) -> bool:
        """Whether the training that broke off went on from a model."""
        return self.document.state.n_earlier > 0

    @property
    def encoder(self) -> Encoder:
        """Encoder as the training that broke off fitted it, to the last bit."""
        return self.document.identity.encoder.encoder()

    @property
    def head(self) -> Head:
        """Head as the training that broke off fitted it, to the last bit."""
        return self.document.identity.target.head(self.document.task)

    def state(self, metric: str) -> TrainingState:
        """Counters, history and best model."""
        d, kind = self.document.state, self.head.kind
        events = events_of(d.history, kind, has_validation=d.has_validation, measured=self.measured)
        history, best = History(kind, d.has_validation, events, metric, d.n_earlier), self.best
        history.set_best_measured(self.best_measured)
        best = best and best._replace(event=history.best)
        if d.metric != metric:  # what was best by another metric
            best, history.best = None, None
        counters = (d.n_seen, d.n_rounds, d.training_seconds, d.seconds, d.n_halvings)
        return TrainingState(history, *counters, best, d.stopped_by, delta=d.delta, shift=d.shift)


def unlike_parts(before: Sequence[int], now: Sequence[int]) -> list[str]:
    """Parts of a table whose checksums differ."""
    parts = ("numbers", "categories", "targets", "weights", "offsets", "sparse inputs")
    both = itertools.zip_longest(before, now, fillvalue=0)  # without sparse inputs there is no checksum of them
    return [part for part, (a, b) in zip(parts, both, strict=False) if a != b]


@dataclass
class CheckpointWriter:
    """Writes the checkpoints of a training."""

    folder: CheckpointFolder
    fingerprint: TrainingFingerprint
    task: str
    seed: int
    began: float  #: of `time.monotonic`
    prints: dict[str, list[int]]  #: `fingerprint` of every table's rows
    n_shards: int | None = None  #: fixed number of shards

    def save(self, state: TrainingState, network: Snapshot) -> str:
        """Write one; returns its path."""
        topology = self.fingerprint.topology
        arrays = _named(topology, "", network.flat, network.states)
        if state.best is not None:
            arrays |= _named(topology, "best/", state.best.flat, state.best.states)
        averaging = network.averaging
        if averaging is not None:
            if averaging.velocity is not None:
                arrays |= topology.named("velocity", averaging.velocity)
            for name, (flat, *states) in averaging.replicas.items():
                arrays |= _named(topology, f"replicas/{name}/", flat, states)
        of_events = {"measured": state.history.measured, "best_measured": state.history.best_measured}
        for name, found in of_events.items():
            arrays |= measured_arrays(found, f"{name}/")
        measured = {name: {t: to_document(m) for t, m in found.items()} for name, found in of_events.items()}
        seconds = state.seconds + time.monotonic() - self.began
        document = {
            "task": self.task,
            "seed": self.seed,
            "n_states": len(network.states),
            "fingerprints": self.prints,
            "identity": self.fingerprint.to_json(),
            "course": state.to_json() | {"seconds": seconds} | measured,
            "n_shards": self.n_shards,
            "averaging": None
            if averaging is None
            else {
                "n_averages": averaging.n_averages,
                "has_velocity": averaging.velocity is not None,
                "replicas": list(averaging.replicas),
            },
        }
        return self.folder.write(arrays, plain(document))


def _named(
    topology: Topology, prefix: str, flat: NDArray[np.float32], states: Sequence[NDArray[np.float32]]
) -> dict[str, NDArray[np.float32]]:
    arrays = topology.named(f"{prefix}network", flat)
    for k, state in enumerate(states):
        arrays |= topology.named(f"{prefix}state/{k}", state)
    return arrays


def open_folder(
    place: str | None, *, resume: bool, warn: Callable[[str], None]
) -> tuple[CheckpointFolder | None, Checkpoint | None]:
    """The folder of checkpoints, ready to be written, and the newest one if the training is to go on."""
    if place is None:
        return None, None
    folder = CheckpointFolder(place)
    folder.prepare()
    if not resume:
        if folder.numbers():
            raise ParameterError(
                f"checkpoint_dir: {place} holds checkpoints of an earlier training. Use resume=True (--resume) to go on with "
                f"it, or name another folder."
            )
        return folder, None
    return folder, folder.newest(Checkpoint.read, warn)
