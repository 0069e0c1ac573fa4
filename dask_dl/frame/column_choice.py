"""Which columns of files are read, and whether all files have them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dask_dl.errors import SchemaError
from dask_dl.wording import and_more, listed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dask_dl.frame.paths import File

#: Prefix of the names of columns that are handed on as they are in the files.
KEPT = "__kept__"
#: Names and files listed in an error.
MAX_NAMES, MAX_FILES = 30, 5


@dataclass(frozen=True)
class ColumnChoice:
    """Columns to read, and how."""

    columns: Sequence[str] | None = None  #: the only columns to read; None: all
    optional: Sequence[str] = ()  #: columns to read beside them, unless no file has them
    ignore: Sequence[str] = ()  #: columns to leave out
    categorical: Sequence[str] = ()  #: columns whose values become strings
    target: str | None = None  #: becomes strings unless it is numeric
    keep: Sequence[str] = ()  #: columns to hand on as they are, under names that begin with KEPT
    keep_as_strings: Sequence[str] = ()  #: of these, those of CSV files that must not become numbers

    def resolve(self, path: str, layouts: Sequence[tuple[File, Sequence[str]]]) -> list[str]:
        """The columns to read, other than those that are kept, in order.

        Parameters
        ----------
        path : str
            What the files were found by, for errors.
        layouts : sequence of (File, sequence of str)
            The names of the columns of every file.

        Returns
        -------
        list of str

        Raises
        ------
        SchemaError
            When no file has a column that is asked for, or some files have a column to be read and others do not.
        """
        present = list(dict.fromkeys(name for _, names in layouts for name in names))
        known = set(present)
        wanted = [*(present if self.columns is None else self.columns), *(n for n in self.optional if n in known)]
        categorical = [name for name in self.categorical if name not in self.optional]
        unknown = [n for n in dict.fromkeys([*wanted, *self.keep, *categorical, *self.ignore]) if n not in known]
        if unknown:
            shown = f"{present[:MAX_NAMES]}{and_more(present, MAX_NAMES)}"
            raise SchemaError(f"{path} has no columns {unknown}; it has {shown}.")
        ignored = set(self.ignore)
        wanted = [name for name in dict.fromkeys(wanted) if name not in ignored]
        _check_alike(path, layouts, {*wanted, *self.keep})
        return wanted


def _check_alike(path: str, layouts: Sequence[tuple[File, Sequence[str]]], needed: set[str]) -> None:
    """Raise SchemaError if files differ in the columns that are needed; their order may differ."""
    sets = [needed.intersection(names) for _, names in layouts]
    (usual, _), *others = Counter(map(frozenset, sets)).most_common()
    if not others:
        return
    model, known = next(layout for layout, names in zip(layouts, sets, strict=True) if names == usual)
    different = []
    for (file, names), found in zip(layouts, sets, strict=True):
        if found != usual:
            lacks = sorted(usual - found)
            has = [name for name in names if name in needed - usual] or (
                [name for name in names if name not in {*needed, *known}] if lacks else []
            )
            parts = [f"lacks {listed(lacks, MAX_NAMES)}"] if lacks else []
            parts += [f"has {listed(has, MAX_NAMES)}{' instead' if lacks else ' besides'}"] if has else []
            different.append(f"{file} {' and '.join(parts)}")
    more = f"; so do {len(different) - MAX_FILES:,} more files" if len(different) > MAX_FILES else ""
    raise SchemaError(
        f"the files of {path} have different columns. Unlike {model}: {'; '.join(different[:MAX_FILES])}{more}. Give them "
        f"the same columns, in any order, name those to use with --columns, leave some out with --ignore, or name fewer files."
    )
