"""Folders that take finished models."""

from __future__ import annotations

import fsspec
import pytest

from dask_dl.checkpoint.exports import check_exports, path_in
from dask_dl.errors import ParameterError


def test_a_folder_is_made_before_there_is_a_model(tmp_path):
    folder = tmp_path / "new" / "folder"
    check_exports(str(folder))
    assert list(folder.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ParameterError, match=r"export_checkpoints_dir: nothing can be written to .*file"):
        check_exports(str(tmp_path / "file"))


def test_paths_are_in_a_folder_that_is_there(tmp_path):
    assert path_in(f"{tmp_path}/new/", "a.zip") == f"{tmp_path}/new/a.zip" and (tmp_path / "new").is_dir()
    assert path_in("memory://exports-of-a-test", "a.zip") == "memory://exports-of-a-test/a.zip"
    assert fsspec.filesystem("memory").isdir("/exports-of-a-test")
