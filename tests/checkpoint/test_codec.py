"""JSON is taken for nothing until it has the form that its schema gives it: odd numbers, depth, keys that repeat."""

from __future__ import annotations

import json

import pytest
from forgery import build, entries_of

from dask_dl import load
from dask_dl.checkpoint.codec import Document, check_keys, decode
from dask_dl.errors import ArchiveError


class Small(Document):
    n: int
    figure: float = 0.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b'{"n": 1e999}', "n"),
        (b'{"n": NaN}', "malformed"),
        (b'{"n": 1, "figure": Infinity}', "malformed"),
        (b'{"n": 1, "figure": 1e999}', "out of range"),
        (b'{"n": %s}' % (b"9" * 100_000), "out of range"),
        (b"[" * 100_000, "Expected `object`"),
        (b'{"n": %s1%s}' % (b"[" * 100_000, b"]" * 100_000), "Expected `int`"),
        (b"{", "truncated"),
        (b"", "truncated"),
        (b"\xff", "malformed"),
        (b'{"n": 1} 2', "malformed"),
    ],
)  # fmt: skip
def test_odd_json_is_an_archive_error(text, message):
    with pytest.raises(ArchiveError, match=message):
        decode(text, Small, "here")


def test_depth_without_a_schema_is_an_archive_error():
    for text in (b"[" * 100_000, b'{"a":' * 100_000):
        with pytest.raises(ArchiveError):
            decode(text, dict, "here")
        with pytest.raises(ArchiveError):
            check_keys(text, "here")


def test_a_key_that_stands_twice_is_refused(model_file, tmp_path):
    assert decode(b'{"n": 1, "n": 2}', Small, "here").n == 2  # which is why it is looked for
    entries = entries_of(model_file.read_bytes())
    text = entries["zarr.json"].decode()
    for key, value in (("n_states", 1), ("is_sparse", False), ("rho", 0), ("dtype", "int8")):
        assert f'"{key}":' in text
        twice = text.replace(f'"{key}":', f'"{key}": {json.dumps(value)}, "{key}":', 1)
        (tmp_path / "twice.zip").write_bytes(build(entries | {"zarr.json": twice.encode()}))
        with pytest.raises(ArchiveError, match=f"the key '{key}' stands twice"):
            load(tmp_path / "twice.zip")
