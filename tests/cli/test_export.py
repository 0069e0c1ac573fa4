"""What `dask-dl export` writes."""

from __future__ import annotations

import pytest
from tables import UNSCORED, make_table

from dask_dl import DeepLearningRegressor, load
from dask_dl.cli import main
from dask_dl.cli.export import FORMATS


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.zip"
    table = make_table(200)[["a", "b", "level", "y"]]
    DeepLearningRegressor(**UNSCORED, hidden=(3,), epochs=1, random_state=1).fit(table, "y").save(path)
    return path


def export(*arguments):
    return main(["export", *map(str, arguments)])


def test_a_model_is_written_as_onnx(model, tmp_path, capsys):
    onnx = pytest.importorskip("onnx")
    out = tmp_path / "model.onnx"
    assert export(model, "--to", "onnx", "--output", out) == 0
    assert capsys.readouterr().out == f"onnx: {out}\n"
    assert [value.name for value in onnx.load(out).graph.input] == ["level", "a", "b"]
    assert export(model, "--to", "onnx", "--output", out) == 1
    assert "--overwrite" in capsys.readouterr().err


def test_a_model_is_written_as_mojo_and_a_mojo_is_read(model, tmp_path, capsys):
    out, again = tmp_path / "mojo.zip", tmp_path / "again.zip"
    assert export(model, "--to", "mojo", "--output", out) == 0
    assert capsys.readouterr().out == f"mojo: {out}\n"
    assert export(out, "--to", "mojo", "--output", again) == 0
    assert load(again).coefs_[0].tolist() == load(model).coefs_[0].tolist()


def test_a_model_is_written_as_java(model, tmp_path, capsys):
    out = tmp_path / "Model.java"
    assert export(model, "--to", "pojo", "--output", out, "--package", "com.example") == 0
    assert out.read_text().startswith("package com.example;\n") and "public final class Model {" in out.read_text()
    assert export(model, "--to", "mojo", "--output", tmp_path / "mojo.zip", "--package", "com.example") == 1
    assert "--package is of --to pojo only" in capsys.readouterr().err


def test_every_format_is_a_method(model):
    assert all(hasattr(DeepLearningRegressor, method) for method in FORMATS.values())


@pytest.mark.parametrize(("more", "message"), [([], "missing: --to FORMAT, --output OUT"), (["--to", "pdf"], "pdf")])
def test_mistakes_are_told(model, more, message, capsys):
    with pytest.raises(SystemExit):
        export(model, *more)
    assert message in capsys.readouterr().err
