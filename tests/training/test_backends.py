"""The backend that parameters ask for."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from dask_dl.cluster import LocalBackend
from dask_dl.cluster.dask_backend import DaskBackend
from dask_dl.events import Listeners
from dask_dl.parameters import validate
from dask_dl.training.backends import backend_for


def asked(client, **given):
    return backend_for(validate(given, task="regression"), client, Listeners(), lambda: False)


@pytest.mark.parametrize(
    ("given", "n_shards"),
    [({}, None), ({"reproducible": True}, 1), ({"reproducible": True, "n_shards": 3}, 3)],
)
def test_without_a_client_this_process_trains(given, n_shards):
    backend = asked(None, **given)
    assert isinstance(backend, LocalBackend) and backend.is_local and backend.n_shards == n_shards


def test_with_a_client_its_workers_train():
    client = SimpleNamespace(loop=None)  # nothing is asked of it before the backend is opened
    for given, n_shards in (({}, None), ({"reproducible": True, "n_shards": 3}, 3)):
        backend = asked(client, **given)
        assert isinstance(backend, DaskBackend) and not backend.is_local and backend.n_shards == n_shards
