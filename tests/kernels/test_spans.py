"""Parts of vectors that are named without a copy."""

from __future__ import annotations

import numpy as np
import pytest

from dask_dl.jit import entry
from dask_dl.kernels.spans import span


@entry
def fill(array, start, n, value):
    part = span(array, start, n)
    for i in range(part.shape[0]):
        part[i] = value


@pytest.mark.parametrize("dtype", [np.float32, np.int64])
@pytest.mark.parametrize(("start", "n"), [(0, 10), (3, 4), (9, 1), (10, 0)])
def test_a_span_is_that_part_of_the_array_itself(dtype, start, n):
    array = np.arange(10, dtype=dtype)
    expected = array.copy()
    expected[start : start + n] = 77
    fill(array, start, n, dtype(77))
    np.testing.assert_array_equal(array, expected)
