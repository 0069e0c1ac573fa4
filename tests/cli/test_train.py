"""`dask-dl train`: on from a saved model, a folder of finished ones, a picture of the history."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from cli.tables import QUICK, run

from dask_dl import load
from dask_dl.cli import main


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder, random = tmp_path_factory.mktemp("tables"), np.random.default_rng(0)
    for name, n in (("t", 400), ("other", 150)):
        frame = pd.DataFrame({"a": random.normal(size=n), "c": random.choice(["x", "y"], n)})
        frame.assign(t=2 * frame["a"] + (frame["c"] == "x")).to_csv(folder / f"{name}.csv", index=False)
    assert main(arguments(folder, "t", "m", "--hidden", "4", "--epochs", "2", "--activation", "tanh")) == 0
    return folder


def arguments(folder, table, model, *more):
    out = ["train", str(folder / f"{table}.csv"), "--target", "t", "--model", str(folder / f"{model}.zip")]
    return [*out, "--n-jobs", "1", "--random-state", "1", "--quiet", *more]


def test_training_goes_on_and_parameters_need_not_be_given_again(files, capsys):
    place = str(files / "m.zip")
    assert main(arguments(files, "other", "more", "--checkpoint", place, "--epochs", "5")) == 0
    first, more = load(place), load(files / "more.zip")
    assert (more.hidden, more.activation, more.epochs) == ((4,), "tanh", 5.0)
    assert more.model_.record.n_epochs == 5 and more.encoder_ == first.encoder_
    assert more.model_.record.n_seen == 2 * 400 + 3 * 150
    assert main(arguments(files, "other", "no", "--checkpoint", place, "--epochs", "5", "--hidden", "7")) == 1
    assert "hidden=(7,): the model was trained with hidden=(4,), which cannot change" in capsys.readouterr().err
    assert main(arguments(files, "other", "no", "--checkpoint", place, "--epochs", "2")) == 1
    assert "epochs=2: the model has learned 2 already" in capsys.readouterr().err
    assert not (files / "no.zip").exists()


def test_the_model_is_not_overwritten_by_what_goes_on_from_it(files, capsys):
    place = str(files / "m.zip")
    assert main(arguments(files, "t", "m", "--checkpoint", place, "--epochs", "5", "--overwrite")) == 1
    assert "--model" in capsys.readouterr().err
    assert load(place).model_.record.n_epochs == 2


def test_finished_models_go_to_a_folder(files, tmp_path):
    assert main(arguments(files, "t", "n", "--epochs", "1", "--export-checkpoints-dir", str(tmp_path / "all"))) == 0
    (name,) = [entry.name for entry in (tmp_path / "all").iterdir()]
    np.testing.assert_array_equal(
        load(tmp_path / "all" / name).model_.network.flat, load(files / "n.zip").model_.network.flat
    )


def test_picture_of_the_history(folder, tmp_path):
    pytest.importorskip("matplotlib")
    arguments = ["--target", "label", *QUICK, "--model", tmp_path / "m", "--plot", tmp_path / "h.png", "--quiet"]
    assert run("train", folder / "all.csv", *arguments) == 0
    assert (tmp_path / "h.png").read_bytes().startswith(b"\x89PNG")
