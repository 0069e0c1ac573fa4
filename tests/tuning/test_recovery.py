"""The folder of a search."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tables import make_table

from dask_dl import DeepLearningClassifier, parameters
from dask_dl.checkpoint.folder import CheckpointFolder
from dask_dl.errors import ArchiveError, ParameterError, SchemaError
from dask_dl.tuning.candidates import Candidate
from dask_dl.tuning.recovery import RECORD, SEARCH, SearchFolder

TABLE = make_table(200)[["a", "label"]]


def candidate(**chosen):
    requested = parameters.validate(parameters.constructor_defaults() | chosen, task="classification")
    return Candidate(0, chosen, requested)


@pytest.fixture(scope="module")
def model():
    return DeepLearningClassifier(hidden=(3,), epochs=1, random_state=1).fit(TABLE, "label").model_


@pytest.fixture
def folder(tmp_path):
    found = SearchFolder(tmp_path / "search")
    assert found.begin("classification", 7, "logloss") == 7
    return found


def test_a_model_comes_back_with_what_it_took(folder, model):
    one = candidate(l1=0.5)
    assert folder.finished(one) is None
    path = folder.keep(one, model, [0.5, np.nan, np.inf], 2.5)
    assert path == folder.model_of(one) and Path(path).is_file()
    found = folder.finished(one)
    np.testing.assert_array_equal(found.values, [0.5, np.nan, np.inf])
    np.testing.assert_array_equal(found.model.network.flat, model.network.flat)
    assert found.seconds == 2.5


def test_what_changes_no_model_changes_no_candidate(folder):
    places = {
        folder.place_of(candidate(**given))
        for given in ({}, {"n_jobs": 3}, {"verbose": False}, {"max_runtime_secs": 5.0}, {"checkpoint_dir": "x"})
    }
    assert len(places) == 1
    assert folder.place_of(candidate(rho=0.5)) not in places


def test_the_seed_is_that_of_the_first_time(tmp_path):
    assert SearchFolder(tmp_path).begin("regression", 3, "deviance") == 3
    assert SearchFolder(str(tmp_path)).begin("regression", 4, "deviance") == 3
    with pytest.raises(
        ParameterError, match="a search of a regression by deviance, and this is one of a regression by mae"
    ):
        SearchFolder(tmp_path).begin("regression", 3, "mae")


def test_other_rows_are_refused(folder):
    folder.check_rows("one", {"training": [1, 2]})
    folder.check_rows("other", {"training": [3, 4]})
    folder.check_rows("one", {"training": np.array([1, 2]).tolist()})
    with pytest.raises(SchemaError, match="a search on other rows"):
        folder.check_rows("one", {"training": [1, 3]})


def test_checkpoints_are_removed_and_the_model_stays(folder, model):
    one = candidate()
    folder.keep(one, model, [0.5], 1.0)
    checkpoints = CheckpointFolder(folder.place_of(one))
    checkpoints.write({"a": np.zeros(3)}, {})
    assert checkpoints.numbers() == [1]
    folder.forget_checkpoints(one)
    assert checkpoints.numbers() == [] and folder.finished(one) is not None


def test_a_folder_without_models_keeps_none(tmp_path, model):
    folder = SearchFolder(tmp_path, keeps_models=False)
    assert folder.keep(candidate(), model, [0.5], 1.0) is None and folder.finished(candidate()) is None


@pytest.mark.parametrize("text", ["{}", "no JSON", '{"task": "x", "seed": 1, "metric": "a"}', "[" * 100_000])
def test_forged_files_are_refused(folder, model, text):
    place = Path(folder.place_of(candidate()))
    folder.keep(candidate(), model, [0.5], 1.0)
    (place / RECORD).write_text(text)
    with pytest.raises(ArchiveError, match=RECORD):
        folder.finished(candidate())
    (place.parent / SEARCH).write_text(text)
    with pytest.raises(ArchiveError, match=SEARCH):
        folder.begin("classification", 1, "logloss")


def test_urls_are_folders_too(model):
    folder = SearchFolder("memory://searches/one")
    folder.begin("classification", 7, "logloss")
    folder.keep(candidate(), model, [0.5], 1.0)
    assert SearchFolder("memory://searches/one/").finished(candidate()).values == [0.5]
