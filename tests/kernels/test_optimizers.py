"""The table of optimizers: each kind takes its own step, and no other kind is known."""

from __future__ import annotations

import numpy as np
import pytest
from kernels.problems import NOTHING, problem, settings, start_values

from dask_dl.errors import ParameterError
from dask_dl.jit import entry
from dask_dl.kernels.losses import CROSS_ENTROPY, Objective
from dask_dl.kernels.optimizers import (
    ADADELTA,
    MOMENTUM,
    N_STATES,
    PLAIN,
    RULES,
    Penalty,
    StepSize,
    has_bias_rule,
    kind_of,
    n_states_of,
    update,
)
from dask_dl.kernels.weights import WeightBlock
from dask_dl.node.parallelism import choose
from dask_dl.node.replica import Replica

KINDS = ("plain", "momentum", "adadelta")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("l2", [0.0, 0.1])
def test_every_kind_takes_the_step_of_its_row(kind, l2):
    optimizer, _ = settings(kind)
    rule = RULES[optimizer.kind]
    step = StepSize(optimizer, np.float32(0.1), np.float32(0.5))
    found = []
    for take in (update, rule.step):
        random = np.random.default_rng(1)
        a, w, c, *states = (random.uniform(size=32).astype(np.float32) for _ in range(5))
        before = w.copy()
        block = WeightBlock(w, *[*states[: rule.n_states], NOTHING, NOTHING][:2], c)
        entry(take.py_func)(step, Penalty(np.float32(0), np.float32(l2), np.float32(0)), a, np.float32(0.3), block)
        assert (w != before).all()
        found.append(b"".join(array.tobytes() for array in block))
    assert found[0] == found[1]


def test_kernels_know_the_row_of_every_kind():
    assert {kind: entry(n_states_of.py_func)(kind) for kind in RULES} == N_STATES
    found = {kind: entry(has_bias_rule.py_func)(kind) for kind in RULES}
    assert found == {kind: rule.has_bias_rule for kind, rule in RULES.items()}


def test_parameters_tell_the_kind_or_are_refused():
    still = {"momentum_start": 0.0, "momentum_stable": 0.0}
    assert kind_of({"adaptive_rate": True}) == ADADELTA
    assert kind_of({"adaptive_rate": False} | still) == PLAIN
    assert kind_of({"adaptive_rate": False} | still | {"momentum_stable": 0.5}) == MOMENTUM
    for unknown in ({}, {"adaptive_rate": None} | still, {"adaptive_rate": "adam"} | still, {"adaptive_rate": False}):
        with pytest.raises(ParameterError, match="no optimizer"):
            kind_of(unknown)


def test_the_steps_of_all_kinds_differ():
    assert len({rule.step for rule in RULES.values()}) == len(RULES) == len(KINDS)


@pytest.mark.parametrize("kind", [-1, 3, None])
def test_an_unknown_kind_is_refused(kind):
    topology, _, _ = problem()
    optimizer = settings()[0]._replace(kind=kind)
    with pytest.raises(ParameterError, match="kind of optimizer"):
        Replica(topology, optimizer, Objective(CROSS_ENTROPY), topology.pack(*start_values(topology)))
    with pytest.raises(ParameterError, match="kind of optimizer"):
        choose(topology, optimizer, n_rows=10**6, n_jobs=2, parallelism="auto", available=(2, "2 cores"))
