"""Reasons of the answers of classifiers and regressors: by row, by column, by level."""

from __future__ import annotations

from dask_dl.estimators.contributing import Contributing
from dask_dl.estimators.dependence import Dependence


class Explaining(Contributing, Dependence):
    """Methods by which classifiers and regressors explain their answers to tables."""
