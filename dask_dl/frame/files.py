"""Tables in files: Parquet and CSV, one file, a folder or a glob, here or at a URL, as a lazy Dask frame."""

from __future__ import annotations

from typing import Any

from dask_dl.errors import SchemaError, Warn, warn
from dask_dl.frame.column_choice import ColumnChoice
from dask_dl.frame.csv import open_csv
from dask_dl.frame.csv_head import CsvFormat
from dask_dl.frame.parquet import open_parquet
from dask_dl.frame.paths import is_parquet, list_files
from dask_dl.memory import MAX_PARTITION, PartitionLimits

#: Where nothing is known of those who read.
UNLIMITED = PartitionLimits(2 * MAX_PARTITION, 2**62)


def open_table(
    path: str,
    choice: ColumnChoice | None = None,
    form: CsvFormat | None = None,
    limits: PartitionLimits = UNLIMITED,
    *,
    warn: Warn = warn,
) -> Any:
    """A Dask DataFrame of the files at a path.

    Before it returns, the headers of all files are compared; their columns may have any order, and are read by name.

    Parameters
    ----------
    path : str
        A Parquet or CSV file (.csv, .csv.gz, .tsv, .zip, ...), a folder of either, or a glob: of this machine, or a URL
        that fsspec knows, such as s3://bucket/folder/*.parquet, with what credentials it finds.
    choice : ColumnChoice, optional
        The columns to read; by default all.
    form : CsvFormat, optional
        How CSV files are written.
    limits : PartitionLimits
        Bytes that a partition may take as a frame. Files are cut to half of what fits, and at most 128 MiB.
    warn : callable
        Warns of what looks wrong.

    Returns
    -------
    dask.dataframe.DataFrame

    Raises
    ------
    FileNotFoundError
    SchemaError
        When files of both kinds or none are found, they differ in their columns, a column is missing, a URL is of no use, or
        what cannot be cut is surely too large.
    """
    import dask
    import dask.dataframe as dd

    choice = choice or ColumnChoice()
    files = list_files(path)
    reader, parts = (
        open_parquet(path, files, choice, limits)
        if is_parquet(files[0])
        else open_csv(path, files, form or CsvFormat(), choice, limits, warn)
    )
    meta = reader.meta
    if meta.columns.empty:
        raise SchemaError(f"{path} has none of the columns {[*choice.optional][:30]}, or all are left out.")
    with dask.config.set({"dataframe.convert-string": False}):  # it would make strings of decimals, too
        return dd.from_map(reader, parts, meta=meta, label="read-files")
