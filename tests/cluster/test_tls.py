"""Certificates of clients."""

from __future__ import annotations

import dask
import pytest

from dask_dl.cluster.tls import TlsFiles
from dask_dl.errors import ClusterError


def test_certificates_of_the_configuration_are_used():
    with (
        dask.config.set({"distributed.comm.tls.ca-file": "ca", "distributed.comm.tls.client.cert": "c"}),
        pytest.raises(ClusterError, match=r"distributed.comm.tls: these are not certificates"),
    ):
        TlsFiles().security("tls://host:8786")
    assert TlsFiles().security("tcp://host:8786") is None
