"""Datasets: tables that are read and encoded once, for any number of trainings."""

from __future__ import annotations

import gc
import pickle
from copy import deepcopy

import cloudpickle
import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from tables import UNSCORED, make_table

import dask_dl
from dask_dl import DeepLearningClassifier, DeepLearningRegressor
from dask_dl.cluster.local import LocalBackend
from dask_dl.errors import ParameterError, SchemaError

SMALL = {"hidden": (5,), "epochs": 2, "n_jobs": 1, "random_state": 3}


@pytest.fixture(scope="module")
def table():
    return make_table(600).drop(columns=["d", "e"]).rename(columns={"w": "weight"})


@pytest.mark.parametrize(
    ("storage", "kind", "target", "given"),
    [
        ("memory", DeepLearningRegressor, "y", {"distribution": "huber", "score_each_iteration": True}),
        ("disk", DeepLearningClassifier, "label", {"balance_classes": True}),
        ("stream", DeepLearningClassifier, "label", {"score_training_samples": 100, "standardize": False}),
    ],
)
def test_a_dataset_trains_to_the_bits_of_its_table(table, storage, kind, target, given):
    X = dd.from_pandas(table.drop(columns="label" if target == "y" else "y"), npartitions=3)
    parts = {} if "balance_classes" in given else {"sample_weight": "weight"}
    held = X.partitions[2]
    given = given | {"storage": storage}
    with dask_dl.prepare(X, target, eval_set=held, **parts, **SMALL, **given) as data:
        assert data.storage == storage and data.n_rows == 600
        for other in (
            {},
            {"hidden": (8, 4), "activation": "tanh"},
            {"mini_batch_size": 8},
            {"adaptive_rate": False},
            {},
        ):
            one = kind(**SMALL | given | other).fit(data)
            two = kind(**SMALL | given | other).fit(X, target, eval_set=held, **parts)
            np.testing.assert_array_equal(one.model_.network.flat, two.model_.network.flat)
            pd.testing.assert_frame_equal(one.metrics_.to_pandas(), two.metrics_.to_pandas())
            assert one.parameters_ == two.parameters_ and one.model_.record.table_rows == two.model_.record.table_rows
            np.testing.assert_array_equal(one.predict(table), two.predict(table))


def test_partitions_are_read_as_often_as_for_one_training(table):
    read = []

    @dask.delayed
    def opened(k):
        read.append(k)
        return table[["a", "b", "y"]].iloc[200 * k : 200 * k + 200]

    def frame():
        return dd.from_delayed([opened(k) for k in range(3)], meta=table[["a", "b", "y"]].iloc[:0], verify_meta=False)

    DeepLearningRegressor(**SMALL, **UNSCORED).fit(frame(), "y")
    n_once = len(read)
    read.clear()
    with dask_dl.prepare(frame(), "y") as data:
        for k in range(3):
            DeepLearningRegressor(**SMALL | UNSCORED | {"random_state": k}).fit(data)
    assert len(read) == n_once == 6  # a scan, and encoding


def test_seeds_of_trainings_are_their_own(table):
    with dask_dl.prepare(table[["a", "b", "y"]], "y", random_state=1) as data:
        flats = [DeepLearningRegressor(**SMALL | {"random_state": k}).fit(data).model_.network.flat for k in (1, 2, 1)]
    assert (flats[0] == flats[2]).all() and not (flats[0] == flats[1]).all()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"standardize": False}, "was prepared with standardize=True, and the estimator has False"),
        (
            {"storage": "disk", "sparse": True},
            'sparse=False, and the estimator has True; storage="auto", and .* has "disk"',
        ),
        ({"distribution": "laplace"}, 'distribution="auto", and the estimator has "laplace"'),
    ],
)
def test_estimators_with_other_parameters_for_rows_are_refused(table, given, message):
    with dask_dl.prepare(table[["a", "y"]], "y") as data, pytest.raises(ParameterError, match=message):
        DeepLearningRegressor(**given).fit(data)


def test_what_a_dataset_has_with_it_is_not_given_again(table):
    with dask_dl.prepare(table[["a", "y"]], "y") as data:
        with pytest.raises(ParameterError, match="a Dataset has its own y, eval_set: give them to prepare"):
            DeepLearningRegressor().fit(data, "y", eval_set=table)
        with pytest.raises(ParameterError, match=r"prepared for regression; .* prepare\(..., task='classification'\)"):
            DeepLearningClassifier().fit(data)

        def again(_):
            with pytest.raises(ParameterError, match="a training uses the Dataset: close it"):
                data.close()
            with pytest.raises(ParameterError, match="another training uses the rows of the Dataset"):
                DeepLearningRegressor(**SMALL).fit(data)
            return True

        assert DeepLearningRegressor(**SMALL).fit(data, callbacks=[again]).stopped_by_ == "callback"
        DeepLearningRegressor(**SMALL).fit(data)
    with pytest.raises(ParameterError, match="the Dataset is closed"):
        DeepLearningRegressor(**SMALL).fit(data)
    data.close()  # harmless


def test_it_says_what_it_is(table):
    with dask_dl.prepare(table[["a", "level", "y"]], "y") as data:
        assert repr(data).startswith("<dask_dl.Dataset: regression, 600 rows, 5 inputs, ") and "in memory>" in repr(
            data
        )
        assert data.nbytes > 600 * 4 and data.n_inputs == 5
    assert repr(data).endswith("closed>")


@pytest.fixture
def folders(tmp_path):
    """Lists the folders of encoded rows on the disk."""
    with dask.config.set({"temporary-directory": str(tmp_path)}):
        yield lambda: [path for path in tmp_path.rglob("blocks-*") if path.is_dir()]


def test_nothing_is_left_of_it(table, monkeypatch, folders):
    closed, inner = [], LocalBackend.__exit__

    def close(self, *given):
        closed.append(self)
        inner(self, *given)

    monkeypatch.setattr(LocalBackend, "__exit__", close)
    with dask_dl.prepare(table[["a", "y"]], "y", storage="disk") as data:
        DeepLearningRegressor(**SMALL, storage="disk").fit(data)
        assert len(folders()) == 1
    assert len(closed) == 1 and folders() == []
    with pytest.raises(SchemaError, match="constant"):
        dask_dl.prepare(table[["a"]].assign(y=1.0), "y", storage="disk")
    assert len(closed) == 2 and folders() == []  # a table of no use leaves nothing open


def test_a_forgotten_dataset_leaves_nothing_and_none_is_pickled(table, folders):
    data = dask_dl.prepare(table[["a", "y"]], "y", storage="disk")
    assert len(folders()) == 1
    for copy in (pickle.dumps, cloudpickle.dumps, deepcopy):
        with pytest.raises(TypeError, match="a Dataset cannot be pickled or copied"):
            copy(data)
    del data
    gc.collect()
    assert folders() == []


def test_a_checkpointed_training_on_a_dataset_goes_on(table, tmp_path):
    given = SMALL | {"checkpoint_dir": str(tmp_path), "checkpoint_interval": 0.0, "score_each_iteration": True}
    given |= {"train_samples_per_iteration": 300}
    plain = {name: value for name, value in given.items() if not name.startswith("checkpoint")}
    with dask_dl.prepare(table[["a", "b", "y"]], "y", random_state=3) as data:
        whole = DeepLearningRegressor(**plain).fit(data)
        DeepLearningRegressor(**given).fit(data, callbacks=[lambda record: record["samples"] >= 600])
        resumed = DeepLearningRegressor(**given).fit(data, resume=True)
    np.testing.assert_array_equal(resumed.model_.network.flat, whole.model_.network.flat)
    np.testing.assert_array_equal(
        DeepLearningRegressor(**plain).fit(table[["a", "b", "y"]], "y").model_.network.flat,
        whole.model_.network.flat,
    )


def test_checkpoints_need_the_seed_of_the_dataset(table, tmp_path):
    with dask_dl.prepare(table[["a", "y"]], "y", random_state=4) as data:
        with pytest.raises(ParameterError, match="random_state=3, but the Dataset was prepared with 4"):
            DeepLearningRegressor(**SMALL, checkpoint_dir=str(tmp_path)).fit(data)
        with pytest.raises(ParameterError, match="X is a Dataset already"):
            dask_dl.prepare(data, "y")


def test_what_a_training_on_a_dataset_takes_is_printed(table, capsys):
    with dask_dl.prepare(table[["a", "y"]], "y") as data:
        DeepLearningRegressor(**SMALL | {"hidden": (1000, 1000)}, verbose=True, **UNSCORED).fit(data)
    out = capsys.readouterr().out
    assert "storage: memory, as the Dataset was prepared" in out and "memory: at most" in out and "MB network" in out


OPENED = []


def opened(k):
    """A partition whose readings are counted; its name is that of this function and of k."""
    OPENED.append(k)
    return make_table(200, seed=k)[["a", "b", "level", "label"]]
