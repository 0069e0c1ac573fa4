"""Folder of a search: checkpoints of candidates that are trained, models of those that are finished, and what they are of."""

from __future__ import annotations

import hashlib
import os
import threading
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import msgspec

from dask_dl.checkpoint.codec import decode
from dask_dl.checkpoint.exports import path_in
from dask_dl.checkpoint.folder import CheckpointFolder
from dask_dl.checkpoint.plain import plain
from dask_dl.checkpoint.whole_file import opened, replaced
from dask_dl.documents.measurement import number
from dask_dl.documents.search import CandidateDocument, SearchDocument
from dask_dl.errors import ParameterError, SchemaError
from dask_dl.model.files import load_model, save_model
from dask_dl.parameters import show
from dask_dl.training.settings import identity_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dask_dl.checkpoint.codec import Document
    from dask_dl.model import Model
    from dask_dl.tuning.candidates import Candidate

D = TypeVar("D", bound="Document")

#: Names of the files of a search, and of each candidate.
SEARCH, RECORD, MODEL = "search.json", "candidate.json", "model.zip"
#: Bytes of such a file, at most.
MAX_BYTES = 2**26


class Finished(NamedTuple):
    """A candidate that was trained."""

    model: Model
    values: list[float]
    seconds: float


class SearchFolder:
    """A folder that a search goes on from.

    Parameters
    ----------
    place : str or os.PathLike
        Local path or URL.
    keeps_models : bool
        Whether finished models are kept; else only checkpoints, for as long as the search lasts.
    """

    def __init__(self, place: str | os.PathLike[str], *, keeps_models: bool = True) -> None:
        self._place, self.keeps_models, self._lock = os.fspath(place), keeps_models, threading.Lock()

    def begin(self, task: str, seed: int, metric: str) -> int:
        """Make the folder, or see that a search in it is this one; returns the seed of that search.

        Raises ParameterError when it is another.
        """
        CheckpointFolder(self._place, "recovery_dir").prepare()
        found = self._search()
        if found is None:
            _write(self._path(SEARCH), SearchDocument(task=task, seed=seed, metric=metric))
            return seed
        if (found.task, found.metric) != (task, metric):
            raise ParameterError(
                f"recovery_dir: {self._place} holds a search of a {found.task} by {found.metric}, and this is one of a {task} "
                f"by {metric}. Name another folder."
            )
        return found.seed

    def check_rows(self, key: str, prints: Mapping[str, Sequence[int]]) -> None:
        """Note the checksums of tables that are encoded in some way. Raises SchemaError when they were others before."""
        found, now = self._search(), {name: tuple(checksums) for name, checksums in prints.items()}
        if found is None:
            return
        name = _digest(key)
        if found.tables.setdefault(name, now) != now:
            raise SchemaError(
                f"recovery_dir: {self._place} is of a search on other rows, or on the same in another order. Search on the "
                f"same tables, or name another folder."
            )
        _write(self._path(SEARCH), found)

    def place_of(self, candidate: Candidate) -> str:
        """Folder of a candidate's checkpoints, and of its model."""
        return self._path(_digest(identity_of(candidate.requested)))

    def model_of(self, candidate: Candidate) -> str:
        """Path of a finished model."""
        return f"{self.place_of(candidate)}/{MODEL}"

    def finished(self, candidate: Candidate) -> Finished | None:
        """Read what a candidate came to in an earlier search; None: it did not come to an end."""
        record = _read(f"{self.place_of(candidate)}/{RECORD}", CandidateDocument)
        if record is None:
            return None
        model = load_model(self.model_of(candidate))
        return Finished(model, [number(value) for value in record.values], record.seconds)

    def keep(self, candidate: Candidate, model: Model, values: Sequence[float], seconds: float) -> str | None:
        """Keep what a candidate has come to.

        Parameters
        ----------
        candidate : Candidate
        model : Model
        values : sequence of float
            Of the metric, after each of its trainings.
        seconds : float
            That they took.

        Returns
        -------
        str or None
            Path of the model; None where models are not kept.

        Raises
        ------
        OSError
        """
        if not self.keeps_models:
            return None
        path = path_in(self.place_of(candidate), MODEL)
        save_model(model, path)
        shown = ", ".join(f"{name}={show(value)}" for name, value in candidate.chosen.items())
        record = CandidateDocument(values=tuple(plain(list(values))), seconds=seconds, chosen=shown)
        _write(f"{self.place_of(candidate)}/{RECORD}", record)  # last: without it the model does not count
        return path

    def forget_checkpoints(self, candidate: Candidate) -> None:
        """Remove what nothing goes on from any more."""
        CheckpointFolder(self.place_of(candidate)).clear()

    def _path(self, name: str) -> str:
        return f"{self._place.rstrip('/')}/{name}"

    def _search(self) -> SearchDocument | None:
        return _read(self._path(SEARCH), SearchDocument)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _write(path: str, document: Document) -> None:
    with replaced(path) as file:
        file.write(msgspec.json.format(msgspec.json.encode(document), indent=2))


def _read(path: str, schema: type[D]) -> D | None:
    """Document of a file; None where there is none. Raises ArchiveError."""
    try:
        with opened(path) as file:
            data = file.read(MAX_BYTES)
    except FileNotFoundError:
        return None
    return decode(data, schema, path)
