"""Files of predictions: one CSV file, or a folder of Parquet files. Either appears under its name when it is complete."""

from __future__ import annotations

import contextlib
import gzip
import io
import re
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

from dask_dl.cli.outputs import check_file, exists, filesystem_of, is_local
from dask_dl.errors import ParameterError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import pandas as pd

    #: Takes the next partition.
    Write = Callable[[pd.DataFrame], None]

#: Names of the files in a folder of predictions; other writers of Parquet call theirs otherwise.
PART, IS_PART = "part.{:06}.parquet", re.compile(r"part\.\d{6,}\.parquet")
#: Suffixes of files that are not written: their names would lead to a folder of Parquet files.
OTHERS = {".tsv", ".txt", ".json", ".jsonl", ".xlsx", ".feather", ".zip", ".gz", ".bz2", ".xz", ".zst"}


def is_csv(path: str) -> bool:
    """Whether predictions go to one CSV file."""
    return path.lower().endswith((".csv", ".csv.gz"))


def check_predictions(path: str, option: str, *, overwrite: bool, read: Sequence[str]) -> None:
    """Whether predictions can be written to a path or URL.

    Parameters
    ----------
    path : str
    option : str
        What names it, for errors.
    overwrite : bool
        Whether what exists may be replaced: a file, or a folder of nothing but earlier predictions.
    read : sequence of str
        Paths, globs and URLs that the command reads.

    Raises
    ------
    ParameterError
    """
    if is_csv(path):
        check_file(path, option, overwrite=overwrite, others=read)
        return
    if PurePosixPath(path).suffix.lower() in OTHERS:
        raise ParameterError(f"{option}: {path} names neither a .csv or .csv.gz file nor a folder for Parquet.")
    there, place = filesystem_of(path, option)
    if not PurePosixPath(place).name:
        raise ParameterError(f"{option}: {path!r} is not the name of a folder.")
    if not exists(there, place, path, option):
        return
    if not overwrite:
        raise ParameterError(f"{option}: {path} exists; name another folder, or add --overwrite.")
    here = _full(there, place)
    for name in read:
        other, files = filesystem_of(name, option)
        source = _full(other, files)
        if type(there) is type(other) and (here == source or here in source.parents or source in here.parents):
            raise ParameterError(f"{option}: {path} holds or is part of {name}, which is read. Name another folder.")
    names = [PurePosixPath(file).name for file in there.ls(place, detail=False)]
    if not there.isdir(place) or not all(map(IS_PART.fullmatch, names)):
        raise ParameterError(f"{option}: {path} holds other things than predictions. Name another folder.")


def _full(there: Any, place: str) -> Path | PurePosixPath:
    return Path(place).resolve() if is_local(there) else PurePosixPath(place)


@contextlib.contextmanager
def predictions_file(path: str, option: str) -> Iterator[Write]:
    """A function that writes partitions; what they make replaces `path` when the body ends, and is gone if it fails."""
    writer = _csv_file(path) if is_csv(path) else _parquet_folder(path, option)
    with writer as write:
        yield write


@contextlib.contextmanager
def _csv_file(path: str) -> Iterator[Write]:
    from dask_dl.checkpoint.whole_file import replaced

    with contextlib.ExitStack() as stack:
        file: Any = stack.enter_context(replaced(path))
        if path.lower().endswith(".gz"):
            # Level 6 takes a third of the time of 9; without time and name, equal predictions make equal files.
            file = stack.enter_context(gzip.GzipFile("", "wb", 6, file, mtime=0))
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        stack.callback(text.detach)
        is_first = True

        def write(part: pd.DataFrame) -> None:
            nonlocal is_first
            part.to_csv(text, index=False, header=is_first, lineterminator="\n", quoting=_quoting(part))
            is_first = False

        yield write


def _quoting(part: pd.DataFrame) -> Literal[0, 2]:
    """Python's csv leaves a carriage return without quotes, and readers end a row there: all strings get some then."""
    texts = part.select_dtypes(exclude=["number", "bool", "datetime", "datetimetz"])
    has_return = any(texts[name].astype("str").str.contains("\r", regex=False, na=False).any() for name in texts)
    return 2 if has_return else 0  # csv.QUOTE_NONNUMERIC, QUOTE_MINIMAL


@contextlib.contextmanager
def _parquet_folder(path: str, option: str) -> Iterator[Write]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    there, place = filesystem_of(path, option)
    place = place.rstrip("/")
    parent, _, name = place.rpartition("/")
    unfinished = f"{parent}/.{name}.unfinished" if "/" in place else f".{name}.unfinished"
    schema, n = None, 0

    def write(part: pd.DataFrame) -> None:
        nonlocal schema, n
        if schema is None:
            schema = _schema(part)
        with there.open(f"{unfinished}/{PART.format(n)}", "wb") as file:
            pq.write_table(pa.Table.from_pandas(part, schema, preserve_index=False), file)
        n += 1

    def clear() -> None:
        if there.exists(unfinished):
            there.rm(unfinished, recursive=True)

    clear()
    there.makedirs(unfinished)
    try:
        yield write
        if there.exists(place):
            there.rm(place, recursive=True)
        there.mv(unfinished, place, recursive=True)
    finally:
        clear()


def _schema(part: pd.DataFrame) -> Any:
    """The schema of all files. A column of objects without any value has strings where it has some."""
    import pyarrow as pa

    found = pa.Schema.from_pandas(part, preserve_index=False)
    for k, field in enumerate(found):
        if pa.types.is_null(field.type):
            found = found.set(k, field.with_type(pa.string()))
    return found
