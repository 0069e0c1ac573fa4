"""The training and the validation table that the options name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dask_dl.cli.options import NO_TARGET, csv_format
from dask_dl.errors import ParameterError

if TYPE_CHECKING:
    import argparse

    from dask_dl.parameters import Task


def task_of(options: argparse.Namespace, table: Any) -> Task:
    """Task of a training: by the column of the target, or without any."""
    from dask_dl.frame.dtypes import is_label

    if options.target == NO_TARGET:
        return "autoencoder"
    return "classification" if is_label(table[options.target].dtype) else "regression"


def estimator_of(options: argparse.Namespace, table: Any) -> tuple[Any, str]:
    """Class of the estimator that learns the target, and what that is in words."""
    from dask_dl import DeepLearningAutoEncoder, DeepLearningClassifier, DeepLearningRegressor

    estimators: dict[str, tuple[Any, str]] = {
        "classification": (DeepLearningClassifier, f"classes of {options.target!r}"),
        "regression": (DeepLearningRegressor, f"numbers of {options.target!r}"),
        "autoencoder": (DeepLearningAutoEncoder, "all columns"),
    }
    return estimators[task_of(options, table)]


def open_tables(options: argparse.Namespace, client: Any) -> tuple[Any, Any]:
    """(the training table, the validation table or None)."""
    from dask_dl.cluster.worker_memory import partition_limits
    from dask_dl.frame.column_choice import ColumnChoice
    from dask_dl.frame.dtypes import is_category
    from dask_dl.frame.files import open_table

    used = [name for name in (options.target, options.weights, options.offset, options.folds) if name]
    if ignored := [name for name in used if name in options.ignore]:
        raise ParameterError(f"--ignore: {ignored} cannot be left out, as they are target, weights, offset or folds.")
    # One partition is read after the other here, and one by every thread of a worker.
    form, limits = csv_format(options), partition_limits(client, n_readers=1)
    choice = ColumnChoice(
        None if options.columns is None else [*options.columns, *used],
        ignore=options.ignore,
        categorical=options.categorical,
        target=options.target or None,
    )
    table = open_table(options.data, choice, form, limits)
    if options.target and options.target not in table.columns:
        raise ParameterError(
            f"--target: {options.data} has no column {options.target!r}; it has {list(table.columns)[:30]}."
        )
    if options.validation is None:
        return table, None
    optional = [name for name in (options.weights, options.folds) if name]
    columns = [name for name in table.columns if name not in optional]
    # What is a category here is one there, even if all of its values read as numbers.
    choice = ColumnChoice(columns, optional, categorical=[name for name in columns if is_category(table[name].dtype)])
    return table, open_table(options.validation, choice, form, limits)
