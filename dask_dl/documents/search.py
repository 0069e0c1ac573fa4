"""The JSON of a search's folder."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, field

from dask_dl.checkpoint.codec import Count, Document, Figure, Remark
from dask_dl.documents.network import Task
from dask_dl.documents.training import Seconds

#: Checksums of the parts of a table.
Checksums = Annotated[tuple[int, ...], Meta(max_length=100)]


class SearchDocument(Document):
    """Identity of a search, which all of its candidates have in common."""

    task: Task
    seed: Count
    metric: Remark
    #: hash of an encoding -> checksums of every table's rows
    tables: dict[str, dict[Remark, Checksums]] = field(default_factory=dict)


class CandidateDocument(Document):
    """Record of a candidate, beside its model."""

    values: tuple[Figure, ...]  #: of the metric, after each of its trainings
    seconds: Seconds
    chosen: Remark  #: for people
