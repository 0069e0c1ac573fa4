"""Files that are replaced whole or not at all, whatever ends the writer."""

from __future__ import annotations

import errno
import hashlib
import os
import pickle
import random
import resource
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import numpy as np
import pytest

from dask_dl.checkpoint import read_archive, write_archive
from dask_dl.errors import ArchiveError

WEIGHTS = np.arange(6, dtype=np.float32).reshape(2, 3)
DOCUMENT = {"hidden": [200, 200], "response": "größe", "rate": 0.005, "none": None}


@pytest.fixture
def path(tmp_path):
    """A small sound archive."""
    path = tmp_path / "model"
    write_archive(path, {"weights/0": WEIGHTS, "bias": np.ones(2, np.float32)}, DOCUMENT, kind="model")
    return path


def refusal(path, kind="model"):
    """Message of the refusal, which must survive pickling as it does on its way from a worker."""
    with pytest.raises(ArchiveError) as caught:
        read_archive(path, kind=kind)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


def assert_untouched(path, before):
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]


class Failure:
    """A function that does its work until its n-th call, which raises."""

    def __init__(self, function, n, error):
        self.function, self.n, self.error = function, n, error

    def __get__(self, instance, owner):
        return lambda *args, **kwargs: self(instance, *args, **kwargs)

    def __call__(self, *args, **kwargs):
        self.n -= 1
        if self.n < 0:
            raise self.error
        return self.function(*args, **kwargs)


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space"), KeyboardInterrupt(), RuntimeError("?")], ids=repr)
@pytest.mark.parametrize(
    ("owner", "name", "n"),
    [
        (zipfile.ZipFile, "writestr", 0),
        (zipfile.ZipFile, "writestr", 2),
        (hashlib, "sha256", 0),
        (os, "fsync", 0),
        (Path, "replace", 0),
    ],
    ids=["first entry", "last entry", "digest", "fsync", "replace"],
)
def test_failure_leaves_the_old_file_and_nothing_else(path, monkeypatch, owner, name, n, error):
    before = path.read_bytes()
    monkeypatch.setattr(owner, name, Failure(getattr(owner, name), n, error))
    with pytest.raises(type(error)):
        write_archive(path, {"new": np.zeros(1000)}, {}, kind="model")
    assert_untouched(path, before)


def test_full_disk(path):
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # Python ignores SIGXFSZ: writes fail with EFBIG
    try:
        with pytest.raises(OSError, match=r"free some space.*unchanged.*model") as caught:
            write_archive(path, {"new": np.zeros(1_000_000)}, {}, kind="model")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.errno == errno.EFBIG
    assert_untouched(path, before)


def test_missing_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"create the folder first.*no/model"):
        write_archive(tmp_path / "no" / "model", {}, {}, kind="k")


def test_a_file_for_a_folder(path):
    with pytest.raises(NotADirectoryError, match="save into a folder"):
        write_archive(path / "model", {}, {}, kind="k")


def test_a_folder_for_a_file(tmp_path):
    with pytest.raises(IsADirectoryError, match="name a file inside it"):
        write_archive(tmp_path, {}, {}, kind="k")


def test_devices_are_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(OSError, match="device"):
        write_archive(tmp_path / "fifo", {}, {}, kind="k")
    assert (tmp_path / "fifo").is_fifo()
    assert "device" in refusal(tmp_path / "fifo")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_no_permission(path):
    path.parent.chmod(0o500)
    try:
        with pytest.raises(PermissionError, match="save where you may write"):
            write_archive(path, {}, {}, kind="k")
    finally:
        path.parent.chmod(0o700)


def test_links_and_permissions_are_kept(path, tmp_path):
    (tmp_path / "latest").symlink_to("model")
    path.chmod(0o640)
    write_archive(tmp_path / "latest", {}, {"new": True}, kind="model")
    assert (tmp_path / "latest").is_symlink()
    assert read_archive(path, kind="model")[1] == {"new": True}
    assert path.stat().st_mode & 0o777 == 0o640


def test_relative_and_string_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_archive("m", {}, {"a": 1}, kind="k")
    assert read_archive("m", kind="k")[1] == {"a": 1}
    write_archive("~", {}, {"a": 2}, kind="k")  # as open() does
    assert (tmp_path / "~").is_file()


def generations(path, first):
    """Write ever new models; in each, array and document tell the same generation."""
    for generation in range(first, sys.maxsize):
        write_archive(path, {"a": np.full(500_000, generation)}, {"generation": generation}, kind="k")
        yield generation


def read_generation(path):
    arrays, document = read_archive(path, kind="k")
    assert (arrays["a"] == document["generation"]).all()
    return document["generation"]


def test_readers_see_whole_files_while_one_writes(tmp_path):
    writer = generations(tmp_path / "a", 0)
    next(writer)
    done = threading.Event()

    def read_on():
        seen = [read_generation(tmp_path / "a")]
        while not done.is_set():
            seen.append(read_generation(tmp_path / "a"))
        return seen

    with ThreadPoolExecutor(3) as pool:
        readers = [pool.submit(read_on) for _ in range(3)]
        for _ in range(20):
            next(writer)
        done.set()
        for reader in readers:
            assert reader.result() == sorted(reader.result())
    assert read_generation(tmp_path / "a") == 20


def test_sigkill_leaves_the_old_file_or_the_new(tmp_path):
    code = f"""
        import sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from test_whole_file import generations
        for generation in generations(sys.argv[1], int(sys.argv[2])):
            print(generation, flush=True)
    """
    rng = random.Random(0)
    reached = -1
    for _ in range(6):
        child = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(code), str(tmp_path / "a"), str(reached + 1)], stdout=subprocess.PIPE
        )
        child.stdout.readline()  # imports are over: from here it only writes
        time.sleep(rng.uniform(0, 0.1))
        child.send_signal(signal.SIGKILL)
        told = [int(line) for line in child.communicate()[0].split()] or [reached + 1]
        reached = read_generation(tmp_path / "a")
        assert reached in (told[-1], told[-1] + 1)
    leftovers = {p.name for p in tmp_path.iterdir()} - {"a"}
    assert all(name.startswith(".dask_dl-") and name.endswith(".tmp") for name in leftovers)


# URLs


@pytest.fixture
def memory():
    filesystem = fsspec.filesystem("memory")
    yield filesystem
    filesystem.store.clear()
    filesystem.pseudo_dirs[:] = [""]


def test_url_is_one_put(path, memory, monkeypatch):
    puts = []
    put = type(memory).put_file
    monkeypatch.setattr(type(memory), "put_file", lambda *args, **kw: (puts.append(args[2]), put(*args, **kw)))
    write_archive("memory://folder/model", {"weights/0": WEIGHTS, "bias": np.ones(2, "f4")}, DOCUMENT, kind="model")
    assert puts == ["/folder/model"]
    assert memory.cat_file("/folder/model") == path.read_bytes()
    arrays, document = read_archive("memory://folder/model", kind="model")
    np.testing.assert_array_equal(arrays["weights/0"], WEIGHTS)
    assert document == DOCUMENT


def test_failed_put_leaves_the_old_object_and_no_temporary(tmp_path, memory, monkeypatch):
    write_archive("memory://model", {}, {"a": 1}, kind="k")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(type(memory), "put_file", Failure(None, 0, PermissionError("Forbidden")))
    with pytest.raises(PermissionError, match="Forbidden"):
        write_archive("memory://model", {}, {"a": 2}, kind="k")
    assert read_archive("memory://model", kind="k")[1] == {"a": 1}
    assert list(tmp_path.iterdir()) == []


def test_url_refusals(memory):
    with pytest.raises(FileNotFoundError):
        read_archive("memory://no", kind="k")
    memory.pipe_file("/empty", b"")
    assert "empty" in refusal("memory://empty")


def test_file_url_is_replaced_whole_too(path, monkeypatch):
    before = path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", Failure(None, 0, PermissionError(errno.EACCES, "Permission denied")))
        with pytest.raises(PermissionError):
            write_archive(f"file://{path}", {}, {}, kind="model")
    assert_untouched(path, before)
    write_archive(f"file://{path}", {}, {"new": 1}, kind="model")
    assert read_archive(f"file://{path}", kind="model")[1] == read_archive(path, kind="model")[1] == {"new": 1}
