"""Finished models in a folder, each under a name of its own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tables import make_table
from training.continued import assert_same, fit

from dask_dl import load
from dask_dl.errors import DaskDLWarning, ParameterError
from dask_dl.model.exports import export_model
from dask_dl.model.files import load_model


def test_equal_models_have_one_file_and_others_have_another(model_file, tmp_path):
    model = load_model(model_file)
    network = model.network._replace(flat=model.network.flat * np.float32(0.5))
    others = (replace(model, network=network), replace(model, record=replace(model.record, n_rounds=99)))
    path = export_model(model, str(tmp_path / "new"))
    assert path == export_model(load_model(model_file), str(tmp_path / "new"))
    paths = {path, *(export_model(other, str(tmp_path / "new")) for other in others)}
    assert len(paths) == 3 == len(list((tmp_path / "new").iterdir()))
    assert all(name.startswith(f"{tmp_path}/new/classification-") and name.endswith(".zip") for name in paths)
    np.testing.assert_array_equal(load_model(path).network.flat, model.network.flat)


@pytest.fixture(scope="module")
def table():
    return make_table(500, 0, noise=1.0)


@pytest.fixture(scope="module")
def first(table):
    return fit(table, epochs=3)


@pytest.mark.parametrize("place", ["folder", "memory://exported"])
def test_finished_models_are_written_under_names_of_their_own(table, first, tmp_path, place):
    from fsspec.core import url_to_fs

    folder = place if "://" in place else str(tmp_path / place)
    models = [fit(table, first, epochs=n, export_checkpoints_dir=folder) for n in (4, 5, 5)]
    filesystem, path = url_to_fs(folder)
    names = sorted(name.rpartition("/")[2] for name in filesystem.ls(path, detail=False))
    assert len(names) == 2 and all(name.startswith("regression-") for name in names)
    found = {load(f"{folder}/{name}").model_.record.n_epochs: load(f"{folder}/{name}") for name in names}
    for model in models:
        assert_same(found[model.model_.record.n_epochs], model)


def test_models_of_folds_are_written_too(table, tmp_path):
    model = fit(table, epochs=1, nfolds=2, export_checkpoints_dir=str(tmp_path))
    written = [load(entry).model_.network.flat for entry in tmp_path.iterdir()]
    wanted = [m.model_.network.flat for m in (model, *model.cross_validation_models_)]
    assert len(written) == len(wanted) == 3
    assert all(any(np.array_equal(one, other) for other in written) for one in wanted)


def test_a_folder_that_cannot_take_models_is_said_before_training(table, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(ParameterError, match="export_checkpoints_dir: nothing can be written to"):
        fit(table, epochs=1, export_checkpoints_dir=str(tmp_path / "file"))
    monkeypatch.setattr("dask_dl.model.exports.save_model", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.warns(DaskDLWarning, match="could not be written to .*: full"):
        model = fit(table, epochs=1, export_checkpoints_dir=str(tmp_path))
    assert model.model_.record.n_epochs == 1
