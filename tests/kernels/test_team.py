"""Teams: who owns which units, and what the threads of one share."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from dask_dl.jit import entry
from dask_dl.kernels.atomics import LINE
from dask_dl.kernels.layout import Topology
from dask_dl.kernels.team import team_of, unit_range


@pytest.mark.parametrize("n", [0, 16, 32, 96, 208, 1024])
@pytest.mark.parametrize("size", [1, 2, 3, 5, 16])
def test_shares_cover_all_units_once_in_whole_lanes(n, size):
    parts = [entry(unit_range.py_func)(n, rank, size) for rank in range(size)]
    assert parts[0][0] == 0 and parts[-1][1] == n
    assert all(stop == start for (_, stop), (start, _) in itertools.pairwise(parts))
    assert all(edge % 16 == 0 for part in parts for edge in part)


def test_a_team_has_lines_of_its_own():
    team = team_of(Topology(0, 20, (40, 50), 3, "rectifier", "softmax"), 3, np.zeros(4 * LINE, np.int64))
    assert [c.rank for c in team] == [0, 1, 2]
    assert all(c.arrived is team[0].arrived for c in team) and len(team[0].arrived) == 3 * LINE
