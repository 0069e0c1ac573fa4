"""The first records of a CSV file: its encoding, the names of its columns, and a sample of its rows."""

from __future__ import annotations

import codecs
import functools
import io
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from dask_dl.errors import SchemaError, Warn
from dask_dl.frame.csv_blocks import CARRIAGE_RETURN, NEWLINE, record_ends

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dask_dl.frame.paths import File

#: The header must end within this many bytes.
MAX_HEADER = 2**26
SEPARATORS = {",": "','", ";": "';'", "\t": r"'\t'", "|": "'|'"}
#: Byte order marks and the encodings that they announce; UTF-32 first, whose mark begins with that of UTF-16.
MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
    codecs.BOM_UTF8: "utf-8-sig",
}
#: Share of zero bytes from which text without a mark counts as UTF-16; almost all of them are in even, or in odd places.
ZEROS, ONE_SIDE = 0.2, 0.95


@dataclass(frozen=True)
class CsvFormat:
    """How CSV files are written."""

    sep: str = ","
    encoding: str | None = None  #: None: UTF-8, or what the file says that it is
    decimal: str = "."
    has_header: bool = True
    names: Sequence[str] = ()  #: of the columns, instead of those in the header

    def __post_init__(self) -> None:
        if len(self.sep) != 1 or not self.sep.isascii() or self.sep in '"\r\n':
            raise SchemaError(
                rf"the separator {self.sep!r} is not a single ASCII character such as ';' or '\t' (--sep)."
            )
        if len(self.decimal) != 1 or not self.decimal.isascii() or self.decimal.isalnum() or self.decimal in '"\r\n+-':
            raise SchemaError(f"the decimal point {self.decimal!r} is not a character such as '.' or ',' (--decimal).")
        if self.decimal == self.sep:
            raise SchemaError(f"{self.sep!r} cannot be both separator and decimal point: change --sep or --decimal.")
        repeated = sorted({name for name in self.names if list(self.names).count(name) > 1})
        if repeated:
            raise SchemaError(f"names that repeat: {repeated} (--names).")
        if self.encoding is not None:
            try:
                codecs.lookup(self.encoding)
            except LookupError as error:
                raise SchemaError(
                    f"there is no encoding {self.encoding!r}. Name it as Python does, for example latin-1."
                ) from error


@dataclass(frozen=True)
class FileHead:
    """Head of a file, from its first bytes."""

    file: File
    encoding: str
    names: tuple[str, ...]  #: of all fields of a record
    n_columns: int  #: those with a name; further fields are empty, after a separator at the end of the lines
    start: int  #: offset of the first row: in the file, or in UTF-8 where the encoding is not based on ASCII
    newline: int  #: the last byte of a record
    header: tuple[str, ...]  #: as written; () without
    sample: bytes  #: whole records from `start` on
    ratio: float | None  #: bytes of content per stored byte; None where all of it is in the sample


def read_head(file: File, form: CsvFormat, n_bytes: int, known: dict[bytes, tuple[str, ...]]) -> FileHead | None:
    """The head of a file, of so many bytes or one record; None of an empty file.

    Parameters
    ----------
    file : File
    form : CsvFormat
    n_bytes : int
        Bytes to look at.
    known : dict
        Fields of records that were split already; files mostly share a header.

    Returns
    -------
    FileHead or None

    Raises
    ------
    SchemaError
        When it cannot be read, no record ends near its beginning, or header and first row have different numbers of columns.
    """
    while True:
        with file.unpacked() as (content, stored):
            raw = content.read(n_bytes)
            is_whole = len(raw) < n_bytes
            ratio = None if is_whole else len(raw) / max(1, stored.tell() if file.is_packed else len(raw))
        if not raw:
            return None
        encoding = _encoding(raw, form, file)
        data, encoding_of_data = as_ascii_bytes(raw, encoding, is_whole=is_whole)
        newline = CARRIAGE_RETURN if b"\n" not in data and b"\r" in data else NEWLINE
        ends = record_ends(data, ord(form.sep), newline=newline).tolist()
        if is_whole and (not ends or ends[-1] < len(data)):
            ends.append(len(data))
        bounds = zip([0, *ends], ends, strict=False)
        records = [
            pair for _, pair in zip(range(64), (p for p in bounds if data[slice(*p)].strip(b"\r\n")), strict=False)
        ]
        if len(records) > form.has_header or is_whole:
            break
        if n_bytes > MAX_HEADER:
            raise SchemaError(
                f"{file} has no end of a record in its first {len(data):,} bytes: an open quote, or no text?"
            )
        n_bytes *= 8
    if not records:
        return None
    rows = [_fields(data[slice(*pair)], encoding_of_data, form.sep, known) for pair in records[:2]]
    header = rows.pop(0) if form.has_header else ()
    start = records[0][1] if header else 0
    mark = len(raw) - len(data) if is_ascii_based(encoding) else 0
    names = _names(file, form, header, rows[0] if rows else ())
    n_fields = max(len(names), len(rows[0]) if rows else 0)
    spare = tuple(f"__field_{k}__" for k in range(len(names), n_fields))
    if any(rows[0][len(names) :] if rows else ()):
        if len(header) == 1:  # its row may hold decimal commas
            _check_separator(file, header[0], [form.sep.join(rows[0])], form.sep)
        raise SchemaError(
            f"{file} has {len(names)} columns in its header and {n_fields} in the first row after it. Are row names without a "
            f"header, or separators without quotes, in its rows?"
        )
    sample = data[start : ends[-1]]
    return FileHead(file, encoding, (*names, *spare), len(names), mark + start, newline, header, sample, ratio)


@functools.cache
def is_ascii_based(encoding: str) -> bool:
    """Whether ASCII characters are the same single bytes in it, so that lines can be found without decoding."""
    ascii_bytes = bytes(range(128))
    try:
        return ascii_bytes.decode(encoding) == ascii_bytes.decode("ascii")
    except UnicodeDecodeError:
        return False


def as_ascii_bytes(raw: bytes, encoding: str, *, is_whole: bool = True) -> tuple[bytes, str]:
    """(content without a byte order mark, its encoding): as it is where that is based on ASCII, else as UTF-8."""
    if is_ascii_based(encoding):
        is_utf8 = codecs.lookup(encoding).name in {"utf-8", "utf-8-sig"}
        return (raw.removeprefix(codecs.BOM_UTF8), "utf-8") if is_utf8 else (raw, encoding)
    text = codecs.getincrementaldecoder(encoding)().decode(raw, final=is_whole)
    return text.removeprefix("\ufeff").encode(), "utf-8"


def _encoding(raw: bytes, form: CsvFormat, file: File) -> str:
    """The encoding of a file, by its first bytes and by what is said of it."""
    found = _recognized(raw)
    given = form.encoding
    if found is None or given is None:
        return found or given or "utf-8"
    if _family(found) == _family(given):
        return found
    raise SchemaError(f"{file} looks like {found.removesuffix('-sig')}, and not like {given}. Add --encoding {found}.")


def _family(encoding: str) -> str:
    """The encoding without byte order and mark."""
    name = codecs.lookup(encoding).name
    return next((family for family in ("utf-8", "utf-16", "utf-32") if name.startswith(family)), name)


def _recognized(raw: bytes) -> str | None:
    for mark, encoding in MARKS.items():
        if raw.startswith(mark):
            return encoding
    beginning = raw[: 2**12]
    odd, even = beginning[1::2].count(0), beginning[::2].count(0)
    if odd + even > ZEROS * len(beginning):
        if odd > ONE_SIDE * (odd + even):
            return "utf-16-le"
        if even > ONE_SIDE * (odd + even):
            return "utf-16-be"
    return None


def _fields(record: bytes, encoding: str, sep: str, known: dict[bytes, tuple[str, ...]]) -> tuple[str, ...]:
    """The fields of a record."""
    if record not in known:
        row = pd.read_csv(
            io.BytesIO(record), header=None, sep=sep, encoding=encoding, dtype="str", keep_default_na=False, nrows=1
        )
        known[record] = tuple(row.iloc[0])
    return known[record]


def _names(file: File, form: CsvFormat, header: Sequence[str], row: Sequence[str]) -> tuple[str, ...]:
    """Names of the columns: those given, those of the header, or x0, x1, ..."""
    fields = header or row
    if len(fields) == 1 != len(form.names):
        _check_separator(file, fields[0], row, form.sep)
    if form.names:
        n = len(fields)
        if len(form.names) != n and len(form.names) != len(row):
            raise SchemaError(
                f"{len(form.names)} names are given (--names), and {file} has {n} columns: {[*fields][:12]}."
            )
        return tuple(form.names)
    if not form.has_header:
        return tuple(f"x{k}" for k in range(len(row)))
    names: dict[str, None] = {}
    for k, field in enumerate(header):  # as pandas names them
        name, n = field or f"Unnamed: {k}", 0
        unique = name
        while unique in names:
            n += 1
            unique = f"{name}.{n}"
        names[unique] = None
    return tuple(names)


def _check_separator(file: File, field: str, row: Sequence[str], sep: str) -> None:
    """Raise SchemaError if a single column looks like several under another separator."""
    for other, shown in SEPARATORS.items():
        n = field.count(other)
        if other != sep and n and all(cell.count(other) == n for cell in row):
            raise SchemaError(f"{file} has one column, {field!r}. Is its separator another one? Add --sep {shown}.")


_NUMBER = re.compile(r"\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*")


def warn_of_data_in_header(head: FileHead, sample: pd.DataFrame, warn: Warn) -> None:
    """Warn if the header looks like a row of the table.

    Parameters
    ----------
    head : FileHead
    sample : pandas.DataFrame
        Rows of the file, in the names of the head.
    warn : callable
    """
    cells = dict(zip(head.names, head.header, strict=False))
    if not cells:
        return
    numeric = {name for name in cells if pd.api.types.is_numeric_dtype(sample[name].dtype)}
    is_number = {name: bool(_NUMBER.fullmatch(cell)) for name, cell in cells.items()}

    def is_like_its_column(name: str) -> bool:
        return is_number[name] if name in numeric else bool((sample[name] == cells[name]).any())

    has_fraction = any(is_number[name] and not cells[name].strip().isdigit() for name in numeric)
    if all(is_number.values()) or has_fraction or all(map(is_like_its_column, cells)):
        warn(
            f"the header of {head.file} looks like data: {[*cells.values()][:8]}. If the file has no header, add "
            f"--no-header, and --names A,B,... to name its columns."
        )


#: With and without separators of thousands.
_WHOLE = r"\s*[-+]?(?:\d+|\d{1,3}(?P<thousands>[.' ])\d{3}(?:(?P=thousands)\d{3})*)"
_DECIMAL_COMMA = rf"{_WHOLE}(?P<fraction>,\d+)?\s*"


def warn_of_decimal_commas(file: File, sample: pd.DataFrame, texts: Sequence[str], warn: Warn) -> None:
    """Warn of columns of strings that look like numbers with a decimal comma.

    Parameters
    ----------
    file : File
    sample : pandas.DataFrame
    texts : sequence of str
        The columns of strings that were not declared categorical.
    warn : callable
    """
    found, examples, has_thousands = [], [], False
    for name in texts:
        values = sample[name].dropna().iloc[:10_000].astype("str")
        matches = [match for match in map(re.compile(_DECIMAL_COMMA).fullmatch, values) if match]
        fractions = [match for match in matches if match["fraction"]]
        if fractions and 2 * len(matches) > len(values):
            found.append(name)
            examples.append(fractions[0][0])
            has_thousands |= any(match["thousands"] for match in matches)
    if found:
        warn(
            f"columns of {file} look like numbers with a decimal comma, for example {examples[0]!r} in {found[0]!r}: "
            f"{', '.join(map(repr, found[:8]))}. They are read as strings; if they are numbers, "
            f"{'write them without separators of thousands and ' if has_thousands else ''}add --decimal ,"
        )
