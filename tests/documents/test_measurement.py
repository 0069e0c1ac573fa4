"""Measurements in files: all figures come back, and arrays that do not fit are refused."""

from __future__ import annotations

import math
from dataclasses import astuple, is_dataclass

import msgspec
import numpy as np
import pytest

from dask_dl.checkpoint.plain import plain
from dask_dl.distribution import Distribution
from dask_dl.documents.measurement import MeasurementDocument, arrays_of, measurement_of, number, to_document
from dask_dl.errors import ArchiveError
from dask_dl.metrics.measurement import MetricSettings, measure_classes, measure_numbers
from dask_dl.metrics.table import AVERAGES


def settings(name):
    return MetricSettings(Distribution(name), AVERAGES[0], None)


def of_classes(k):
    random = np.random.default_rng(0)
    p = random.dirichlet(np.ones(k), size=200).astype(np.float32)
    return measure_classes(
        random.integers(k, size=200), p, random.random(200).astype(np.float32), settings("multinomial")
    )


def of_numbers(name):
    random = np.random.default_rng(1)
    return measure_numbers(random.normal(size=200), random.normal(size=200), None, settings(name))


def again(measured, k, **changes):
    document = msgspec.convert(plain(to_document(measured)), MeasurementDocument)
    return measurement_of(document, arrays_of(measured) | changes, k, "the file")


def assert_same(one, other):
    """To the last bit, however deep tuples and dataclasses are nested."""
    if is_dataclass(one):
        one, other = astuple(one), astuple(other)
    if isinstance(one, tuple):
        for mine, theirs in zip(one, other, strict=True):
            assert_same(mine, theirs)
    else:
        np.testing.assert_equal(one, other)


@pytest.mark.parametrize(
    ("measured", "k"),
    [(of_classes(2), 2), (of_classes(4), 4), (of_numbers("gaussian"), 0), (of_numbers("huber"), 0)],
    ids=["two classes", "four classes", "numbers", "huber"],
)
def test_a_measurement_comes_back_to_the_last_bit(measured, k):
    found = again(measured, k)
    assert_same(found, measured)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"confusion": np.ones((3, 3))}, r"'confusion' is float64 of shape \(3, 3\)"),
        ({"confusion": np.full((2, 2), np.nan)}, "or holds NaN"),
        ({"errors": np.full((2, 2), -1.0)}, "what cannot be weights"),
        ({"ranks": np.ones(7)}, "'ranks' does not suit 2 classes"),
        ({"sample": np.zeros((2, 2001))}, "more than 2,000 rows"),
        ({"scores/codes": np.zeros(3)}, "'scores' are missing, or do not fit together"),
        ({"more": np.zeros(1)}, "1 arrays belong to nothing, such as 'more'"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(ArchiveError, match=message):
        again(of_classes(2), 2, **changes)


def test_figures_that_json_does_not_know_are_null_and_a_word():
    assert math.isnan(number(None)) and number("infinity") == math.inf and number(1) == 1.0
