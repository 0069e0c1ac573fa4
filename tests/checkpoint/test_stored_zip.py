"""Zip files of any other form than the one that is written are refused."""

from __future__ import annotations

import json
import random
import struct
import tracemalloc
import warnings

import pytest
from forgery import build, entries_of, forged_archive, seal

from dask_dl import load
from dask_dl.errors import ArchiveError


def refusal(path):
    with pytest.raises(ArchiveError) as caught:
        load(path)
    return str(caught.value)


@pytest.mark.parametrize(
    ("method", "name"), [(8, "deflate"), (12, "bzip2"), (14, "lzma"), (9, "deflate64"), (93, "zstd"), (77, "method 77")]
)  # fmt: skip
def test_compression_is_refused_by_name(model_file, tmp_path, method, name):
    entries = entries_of(model_file.read_bytes())
    raw = bytearray(build(entries))
    place = raw.index(b"PK\x01\x02")
    raw[place + 10 : place + 12] = struct.pack("<H", method)
    (tmp_path / "packed.zip").write_bytes(seal(bytes(raw)))
    assert f"is compressed ({name})" in refusal(tmp_path / "packed.zip")


def change_at(raw, signature, offset, content):
    at = raw.index(signature) + offset
    return seal(raw[:at] + content + raw[at + len(content) :])


@pytest.mark.parametrize(
    ("signature", "offset", "content", "message"),
    [
        (b"PK\x01\x02", 8, b"\x01\x00", "is encrypted"),
        (b"PK\x01\x02", 8, b"\x08\x00", "never written"),  # sizes that stand behind the data
        (b"PK\x01\x02", 6, b"\x2d\x00", "never written"),  # a later version of zip
        (b"PK\x01\x02", 20, b"\x01", "never written"),  # another size in the archive than outside
        (b"PK\x01\x02", 42, b"\x01", "overlap"),
        (b"PK\x03\x04", 26, b"\x01", "overlap"),  # another length of the name than in the directory
        (b"PK\x03\x04", 28, b"\x01", "overlap"),  # an extra field that the directory does not know
        (b"PK\x03\x04", 18, b"\x01", "overlap"),
        (b"PK\x05\x06", 8, b"\xff\xff", "zip64"),
        (b"PK\x05\x06", 16, b"\xff\xff\xff\xff", "zip64"),
        (b"PK\x05\x06", 4, b"\x01", "does not lie where"),
        (b"PK\x05\x06", 8, b"\x01\x00\x01\x00", "no entry"),
        (b"PK\x05\x06", 8, b"\x00\x10\x00\x10", "shorter than"),
        (b"PK\x05\x06", 12, b"\x00\x00", "does not lie where"),
        (b"PK\x05\x06", 20, b"\x00", "does not lie where"),
    ],
)  # fmt: skip
def test_a_zip_of_another_form_is_refused(model_file, tmp_path, signature, offset, content, message):
    (tmp_path / "forged.zip").write_bytes(change_at(model_file.read_bytes(), signature, offset, content))
    assert message in refusal(tmp_path / "forged.zip")


def test_bytes_that_belong_to_no_entry_are_refused(model_file, tmp_path):
    path, raw = tmp_path / "forged.zip", model_file.read_bytes()
    start = raw.index(b"PK\x01\x02")
    end = raw.rindex(b"PK\x05\x06")
    for at in (start, end):
        path.write_bytes(seal(raw[:at] + b"hidden" + raw[at:]))
        refusal(path)
    # As far as the end record knows, too.
    moved = struct.pack("<I", start + 6)
    path.write_bytes(seal(raw[:start] + b"hidden" + raw[start : end + 16] + moved + raw[end + 20 :]))
    assert "belong to no entry" in refusal(path)


def test_a_directory_that_names_the_same_bytes_twice_is_refused(model_file, tmp_path):
    raw = model_file.read_bytes()
    start, end = raw.index(b"PK\x01\x02"), raw.rindex(b"PK\x05\x06")
    n = struct.unpack_from("<H", raw, end + 10)[0]
    record = raw[start : raw.index(b"PK\x01\x02", start + 4)]
    tail = struct.pack("<HHI", n + 1, n + 1, end - start + len(record))
    (tmp_path / "forged.zip").write_bytes(seal(raw[:end] + record + raw[end : end + 8] + tail + raw[end + 16 :]))
    assert "overlap" in refusal(tmp_path / "forged.zip")


@pytest.mark.parametrize(
    ("n", "message"), [(2000, "belong to nothing"), (17_000, "more than 16,384 are never written")]
)
def test_many_empty_arrays_are_refused(model_file, tmp_path, n, message):
    entries = entries_of(model_file.read_bytes())
    root = json.loads(entries["zarr.json"])
    metadata = json.loads(entries["network/biases/0/zarr.json"]) | {"shape": [0]}
    metadata["chunk_grid"]["configuration"]["chunk_shape"] = [1]
    for k in range(n):
        root["attributes"]["arrays"][f"e{k}"] = {"shape": [0], "dtype": "float32"}
        entries[f"e{k}/zarr.json"] = json.dumps(metadata).encode()
    (tmp_path / "many.zip").write_bytes(build(entries | {"zarr.json": json.dumps(root).encode()}))
    assert message in refusal(tmp_path / "many.zip")


def test_what_is_read_is_no_more_than_the_file(model_file, tmp_path):
    """Forgeries that say that they are large are refused before anything large is made of them."""
    load(model_file)
    path = tmp_path / "forged.zip"
    for seed in range(25):
        raw = forged_archive(model_file.read_bytes(), random.Random(seed))
        path.write_bytes(raw)
        tracemalloc.start()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                load(path)
        except ArchiveError:
            pass
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert peak < 16 * len(raw) + 2e6, seed
