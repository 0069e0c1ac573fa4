"""Networks with which a training begins."""

from __future__ import annotations

import pytest
from training.fifty import fitted

from dask_dl.errors import DivergedError


def test_weights_that_start_out_of_this_world_are_refused(table):
    with pytest.raises(
        DivergedError, match=r"weights of layer 1 have exploded: mean .* before the first row.*lower initial"
    ):
        fitted(table, initial_weight_distribution="uniform", initial_weight_scale=1e20)
