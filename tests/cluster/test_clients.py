"""Which client a training uses."""

from __future__ import annotations

import dask.dataframe as dd
import numpy as np
import pandas as pd
from distributed import Client, LocalCluster

from dask_dl import DeepLearningRegressor


def test_a_client_need_not_be_the_default_one():
    table = pd.DataFrame({"x": np.arange(60.0), "y": np.arange(60.0) % 7})
    one_worker = {"n_workers": 1, "threads_per_worker": 1, "processes": False, "dashboard_address": ":0"}
    with LocalCluster(**one_worker) as cluster, Client(cluster, set_as_default=False) as client:
        model = DeepLearningRegressor(hidden=(3,), epochs=2, random_state=1, client=client)
        model.fit(dd.from_pandas(table, npartitions=3), "y")
    assert model.predict(table).shape == (60,) and "1 workers" in str(model.parameters_["parallelism"])
