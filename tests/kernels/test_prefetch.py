"""Levels that are asked for in advance, which changes no result."""

from __future__ import annotations

import pytest
from kernels.problems import KINDS, assert_equals_oracle, problem, settings

from dask_dl.kernels.prefetch import FAR


@pytest.mark.parametrize("kind", KINDS)
def test_a_table_whose_levels_are_asked_for_in_advance_equals_the_oracle(kind):
    topology, rows, X = problem(n=12, levels=(9_000,), n_dense=1, hidden=(4,))
    assert topology.onehot_size >= FAR and (rows.active < 0).any()
    assert_equals_oracle(topology, rows, X, *settings(kind))
