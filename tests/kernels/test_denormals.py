"""Numbers below float32's normal range cost a hundredfold: they are zero while kernels run, and only then."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from dask_dl.jit import entry
from dask_dl.kernels.denormals import FLUSH, flushed, read_mode

TINY = np.float32(1e-30)


@entry
def times(a, b):
    return a * b


pytestmark = pytest.mark.skipif(not FLUSH, reason="this processor's control word is not known")


def test_products_below_the_normal_range_are_zero_inside_only():
    assert times(TINY, np.float32(1e-10)) > 0
    with flushed():
        assert times(TINY, np.float32(1e-10)) == 0
        assert times(TINY, np.float32(1e-5)) == pytest.approx(1e-35)
    assert times(TINY, np.float32(1e-10)) > 0


def test_the_mode_is_put_back_after_an_error():
    before = read_mode() & FLUSH
    with pytest.raises(KeyError), flushed():
        raise KeyError
    assert read_mode() & FLUSH == before == 0


def test_other_threads_keep_theirs():
    entered, seen = threading.Event(), []

    def look():
        entered.wait(timeout=30)
        seen.append(read_mode() & FLUSH)

    thread = threading.Thread(target=look)
    thread.start()
    with flushed():
        entered.set()
        thread.join()
        assert read_mode() & FLUSH == FLUSH
    assert seen == [0]
