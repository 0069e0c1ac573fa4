"""Folders of checkpoints: numbered files of which the newest that is whole is found, and the last few are kept."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dask_dl.checkpoint.folder import KEPT, CheckpointFolder
from dask_dl.errors import ArchiveError, ParameterError


def test_checkpoints_stay_in_their_folder_when_the_working_folder_changes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = CheckpointFolder("kept")
    monkeypatch.chdir("/")
    assert Path(folder.write({}, {})).parent == tmp_path / "kept"


def test_numbers_of_checkpoints_may_outgrow_their_digits(tmp_path):
    (tmp_path / "checkpoint-99999999.zip").touch()
    folder = CheckpointFolder(str(tmp_path))
    assert folder.write({}, {"n": 1}) == folder.path(10**8)
    assert folder.numbers()[-1] == 10**8 and folder.newest()[2] == {"n": 1}


def test_the_newest_that_is_whole_is_found_and_others_are_told_of(tmp_path):
    folder = CheckpointFolder(str(tmp_path))
    assert folder.newest() is None
    for n in range(KEPT + 2):
        folder.write({}, {"n": n})
    *_, older, last = folder.numbers()
    assert folder.numbers() == list(range(3, KEPT + 3))
    Path(folder.path(last)).write_bytes(b"cut")
    told = []
    assert folder.newest(warn=told.append)[2] == {"n": older - 1}
    assert len(told) == 1 and told[0].startswith(f"passed over: {folder.path(last)}") and folder.path(older) in told[0]
    for number in folder.numbers():
        Path(folder.path(number)).write_bytes(b"")
    with pytest.raises(ArchiveError, match=r"no checkpoint in .* can be read"):
        folder.newest()


def test_a_folder_is_made_and_one_that_cannot_be_is_refused(tmp_path):
    CheckpointFolder(str(tmp_path / "new" / "folder")).prepare()
    assert list((tmp_path / "new" / "folder").iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="checkpoint_dir: nothing can be written there"):
        CheckpointFolder(str(tmp_path / "file")).prepare()
    with pytest.raises(ParameterError, match="nothing can be written to strange://place"):
        CheckpointFolder("strange://place").prepare()


def test_half_a_file_of_a_process_that_was_killed_is_removed_when_it_is_old(tmp_path):
    old, new = (tmp_path / f".dask_dl-{name}.tmp" for name in ("old", "new"))
    for file in (old, new):
        file.touch()
    os.utime(old, (0, 0))
    CheckpointFolder(str(tmp_path)).prepare()
    assert not old.exists() and new.exists()


def test_a_checkpoint_that_does_not_fit_is_known_by_its_size(tmp_path):
    folder = CheckpointFolder(str(tmp_path))
    folder.check_room(1)
    with pytest.raises(OSError, match="bytes are free, and a checkpoint takes 1,000,000,000,000,000,000"):
        folder.check_room(10**18)
