"""Archives from anywhere: what they unpack to is bounded, and damage is told as such."""

from __future__ import annotations

import tracemalloc
import zipfile

import numpy as np
import pytest

import dask_dl
from dask_dl.errors import ArchiveError
from dask_dl.export.mojo_archive import INI, is_mojo, java, read_mojo_archive, write_mojo_archive

LEVELS = ["plain", "back\\slash", "line\nfeed", "carriage\rreturn", "\\n", "[x]", "#y", "a = b", "ü\u2028", ""]


def written(path, parts):
    """An archive of these files."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts:
            archive.writestr(name, content)
    return path


def test_everything_comes_back(tmp_path):
    info = {
        "a": True,
        "n": 3,
        "none": None,
        "x": np.array([1.0, 1e-30, -2.5e17]),
        "w": np.float32([0.1, 1e-9]),
        "k": [1, 2],
    }
    write_mojo_archive(
        tmp_path / "m", info | {"escape_domain_values": True}, ["x = y", "z"], {1: LEVELS}, {"_orig_names": LEVELS}
    )
    found = read_mojo_archive(tmp_path / "m")
    assert is_mojo(tmp_path / "m")
    assert found.columns == ("x = y", "z")
    assert found.domains == {1: tuple(LEVELS)}
    assert found.lines["_orig_names"] == tuple(LEVELS)
    assert found.flag("a")
    assert found.count("n") == 3
    assert not found.has("none")
    assert found.reals("x").tolist() == [1.0, 1e-30, -2.5e17]
    assert (found.reals("w").astype(np.float32) == info["w"]).all()
    assert found.counts("k") == [1, 2]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"), (True, "true"), (7, "7"), ("word", "word"), ([1, 2], "[1, 2]"), ([1.0, 1e22], "[1.0, 1e+22]"),
        (np.float32([0.1, 3]), "[0.1, 3.0]"), (np.zeros(0), "[]"),
    ],
)  # fmt: skip
def test_values_are_written_as_java_has_them(value, text):
    assert java(value) == text


def test_an_archive_that_unpacks_to_far_more_than_its_size_is_refused_in_little_memory(tmp_path):
    path = written(tmp_path / "m", [(INI, b"[info]\n" + b" " * 200_000_000)])
    tracemalloc.start()
    try:
        with pytest.raises(ArchiveError, match="unpacks to more than"):
            read_mojo_archive(path)
        assert tracemalloc.get_traced_memory()[1] < 60_000_000
    finally:
        tracemalloc.stop()


def test_names_that_leave_the_folder_are_not_read_and_nothing_is_written(tmp_path):
    ini = "[info]\nx = 1\n[columns]\na\n[domains]\n0: 1 ../../secret.txt\n"
    path = written(tmp_path / "m", [(INI, ini), ("domains/../../secret.txt", "a\n"), ("/etc/passwd", "b")])
    with pytest.raises(ArchiveError, match="domains"):
        dask_dl.load(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["m"]


@pytest.mark.parametrize(
    ("ini", "said"),
    [
        ("[info]\nx = 1\nx = 2\n", "'x' twice"),
        ("[info]\n[columns]\na\n[domains]\n0: 2 d000.txt\n", "has 1 levels"),
        ("[info]\n[columns]\na\n[domains]\n1: 1 d000.txt\n", "no such column"),
        ("[info]\n[columns]\na\n[domains]\n0: 1 d001.txt\n", "no such file"),
        ("[info]\n[columns]\na\n[domains]\n0: 1 d000.txt\n0: 1 d000.txt\n", "no such"),
        ("[info]\n[columns]\na\n[domains]\n0: 99999999999 d000.txt\n", "and not the number"),
        ("[info]\n", "no algorithm"),
        ("", "no algorithm"),
        ("\x00\xff", "no algorithm"),
    ],
)
def test_ini_files_that_contradict_themselves_are_refused(ini, said, tmp_path):
    path = written(tmp_path / "m", [(INI, ini), ("domains/d000.txt", "level\n")])
    with pytest.raises(ArchiveError, match=said):
        dask_dl.load(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_entries_that_are_there_twice_are_refused(tmp_path):
    path = written(tmp_path / "m", [(INI, "[info]\n"), (INI, "[info]\n")])
    with pytest.raises(ArchiveError, match="twice"):
        dask_dl.load(path)


def test_damaged_archives_are_refused(tmp_path):
    whole = written(tmp_path / "m", [(INI, "[info]\n" + "x" * 50), ("domains/d000.txt", b"\xff\xfe")]).read_bytes()
    rng = np.random.default_rng(0)
    for k in range(300):
        place, path = int(rng.integers(len(whole))), tmp_path / "bad"
        path.write_bytes(
            whole[:place] + bytes([int(rng.integers(256))]) + whole[place + 1 :] if k % 3 else whole[:place]
        )
        with pytest.raises(ArchiveError):
            dask_dl.load(path)
