"""Archives: arrays and JSON come back whole, and every damage or forgery is refused."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import random
import subprocess
import sys
import tempfile
import textwrap
import time
import tracemalloc
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest

from dask_dl.checkpoint import archive as module
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


def entries_of(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def seal(path, entries, compression=zipfile.ZIP_STORED):
    """Zip these (name, bytes) pairs under a valid digest, as a forger would."""
    with path.open("w+b") as file:
        with zipfile.ZipFile(file, "w", compression) as archive:
            for name, content in entries:
                with warnings.catch_warnings(action="ignore"):  # duplicate names are one of the forgeries
                    archive.writestr(zipfile.ZipInfo(name), content, compression)
            archive.comment = b"dask_dl sha256 " + b"0" * 64
        n_sealed = file.seek(-64, os.SEEK_END)
        digest = module.digest_of(file, n_sealed)
        file.seek(n_sealed)
        file.write(digest)


def forge(path, **changes):
    """Replace fields of the header of a sound archive and seal it again."""
    entries = entries_of(path)
    root = json.loads(entries["zarr.json"])
    root["attributes"].update(changes)
    entries["zarr.json"] = json.dumps(root).encode()
    seal(path, entries.items())


def refusal(path, kind="model"):
    """Message of the refusal, which must survive pickling as it does on its way from a worker."""
    with pytest.raises(ArchiveError) as caught:
        read_archive(path, kind=kind)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


# What goes in comes out


@pytest.mark.parametrize("dtype", module.DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (1,), (5,), (2, 3), (2, 0, 4), (2, 1, 3, 2)])
def test_every_type_and_shape_comes_back(tmp_path, dtype, shape):
    array = np.random.default_rng(0).integers(0, 2, shape).astype(dtype)
    write_archive(tmp_path / "a", {"a": array}, {}, kind="k")
    arrays, document = read_archive(tmp_path / "a", kind="k")
    assert document == {}
    assert list(arrays) == ["a"]
    np.testing.assert_array_equal(arrays["a"], array, strict=True)
    assert arrays["a"].flags.c_contiguous
    assert arrays["a"].flags.writeable
    assert arrays["a"].dtype.isnative


@pytest.mark.parametrize(
    "array",
    [WEIGHTS.astype(">f4"), WEIGHTS.T, WEIGHTS[:, ::-2], np.asfortranarray(WEIGHTS), np.array(3, ">i8")],
    ids=["big-endian", "transposed", "strided", "fortran", "big-endian 0-d"],
)
def test_any_memory_layout_comes_back_native_and_contiguous(tmp_path, array):
    write_archive(tmp_path / "a", {"a": array}, {}, kind="k")
    (back,) = read_archive(tmp_path / "a", kind="k")[0].values()
    np.testing.assert_array_equal(back, array)
    assert back.dtype == array.dtype.newbyteorder("=")
    assert back.flags.c_contiguous
    assert back.flags.writeable


def test_special_floats_come_back_bit_for_bit(tmp_path):
    bits = np.array(
        [0x7FC00001, 0xFFC12345, 0x7F800000, 0x80000000, 1], np.uint32
    )  # NaNs with payload, inf, -0, denormal
    write_archive(tmp_path / "a", {"a": bits.view(np.float32), "zeros": np.zeros((4, 4))}, {}, kind="k")
    arrays, _ = read_archive(tmp_path / "a", kind="k")
    np.testing.assert_array_equal(arrays["a"].view(np.uint32), bits)
    np.testing.assert_array_equal(arrays["zeros"], np.zeros((4, 4)))


def test_document_comes_back(tmp_path):
    document = {
        "größe 漢字 🜁": ['\x00 \u2028 \\ "', "../x"],
        "numbers": [0, -1, 2**70, 0.1, 5e-324, 1.7976931348623157e308, -0.0],
        "deep": {"": [[], {}, None, True, False]},
        "numpy float": np.float64(0.1),
        "z before a": {"z": 1, "a": 2},
        "zarr_format": 2,
    }
    write_archive(tmp_path / "a", {}, document, kind="k")
    arrays, back = read_archive(tmp_path / "a", kind="k")
    assert arrays == {}
    assert back == document
    assert list(back) == list(document)
    assert list(back["z before a"]) == ["z", "a"]


def test_tuples_come_back_as_lists(tmp_path):
    write_archive(tmp_path / "a", {}, {"tuple": (1, (2,))}, kind="k")
    assert read_archive(tmp_path / "a", kind="k")[1] == {"tuple": [1, [2]]}


def test_order_of_arrays_comes_back(tmp_path):
    names = ["weights/10", "weights/9", "state/0/rate", "bias", "state/0/momentum"]
    write_archive(tmp_path / "a", dict.fromkeys(names, WEIGHTS), {}, kind="k")
    assert list(read_archive(tmp_path / "a", kind="k")[0]) == names


def test_zarr_opens_the_file_by_itself(path):
    import zarr

    store = zarr.storage.ZipStore(path, mode="r")
    group = zarr.open_group(store, mode="r")
    np.testing.assert_array_equal(group["weights/0"][...], WEIGHTS)
    assert group["weights/0"].compressors == ()
    assert group["weights"]["0"].chunks == WEIGHTS.shape
    assert dict(group.attrs)["format"] == "dask_dl"
    assert dict(group.attrs)["document"] == DOCUMENT
    store.close()


def test_entries_are_stored_not_compressed(path):
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
        assert archive.read("weights/0/c/0/0") == WEIGHTS.tobytes()


def test_equal_contents_give_equal_bytes(path, tmp_path, monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 2e9)
    arrays, document = read_archive(path, kind="model")
    write_archive(tmp_path / "again", arrays, document, kind="model")
    assert (tmp_path / "again").read_bytes() == path.read_bytes()


def test_nothing_heavy_is_imported():
    code = """
        import sys, dask_dl, numpy
        before = set(sys.modules)
        import dask_dl.checkpoint
        assert not {"zarr", "fsspec", "dask"} & (set(sys.modules) - before)
        dask_dl.checkpoint.write_archive(sys.argv[1], {"a": numpy.ones(3)}, {}, kind="k")
        dask_dl.checkpoint.read_archive(sys.argv[1], kind="k")
        assert not {"dask", "distributed"} & (set(sys.modules) - before)
    """
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-c", textwrap.dedent(code), f"{folder}/a"], check=True)


# What cannot be written


@pytest.mark.parametrize(
    ("document", "where"),
    [
        ({"rate": float("nan")}, r"document\['rate'\] is nan"),
        ({"a": [0, {"b": float("inf")}]}, r"document\['a'\]\[1\]\['b'\] is inf"),
        ({"a": (-np.inf,)}, r"document\['a'\]\[0\] is -inf"),
        ({1: 2}, "document has the key 1"),
        ({"a": {None: 2}}, r"document\['a'\] has the key None"),
        ({"a": np.float32(1)}, r"document\['a'\] is of type float32"),
        ({"a": b""}, "bytes"),
        ({"a": {1}}, "set"),
        ({"a": object()}, "object"),
    ],
)
def test_only_strict_json_is_written(tmp_path, document, where):
    with pytest.raises(ArchiveError, match=where):
        write_archive(tmp_path / "a", {}, document, kind="k")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "array",
    [
        np.array([{}], object),
        np.array(["a"]),
        np.array([b"a"]),
        np.array([1], "M8[s]"),
        np.array([1j]),
        np.ones(1, np.longdouble),
        np.zeros(1, [("a", "i4")]),
        np.zeros(1, "V4"),
    ],
    ids=lambda array: array.dtype.name,
)
def test_only_plain_numbers_are_written(tmp_path, array):
    with pytest.raises(ArchiveError, match="'a' is of type"):
        write_archive(tmp_path / "a", {"a": array}, {}, kind="k")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["", "/", "/a", "a/", "a//b", "../a", "a/..", ".", "a b", "zarr.json", "é", "a\n", "a/" * 200 + "a"]
)
def test_only_plain_names_are_written(tmp_path, name):
    with pytest.raises(ArchiveError, match="name"):
        write_archive(tmp_path / "a", {name: WEIGHTS}, {}, kind="k")


@pytest.mark.parametrize("names", [["a", "a/b"], ["a/c/0", "a"]])
def test_arrays_do_not_nest(tmp_path, names):
    with pytest.raises(ArchiveError, match="inside array 'a'"):
        write_archive(tmp_path / "a", dict.fromkeys(names, WEIGHTS), {}, kind="k")


# Accidents are refused


def test_not_found(tmp_path):
    with pytest.raises(FileNotFoundError, match="no"):
        read_archive(tmp_path / "no", kind="k")


def test_each_accident_has_its_message(path, tmp_path):
    sound = path.read_bytes()
    messages = {}
    for name, content in {
        "empty": b"",
        "foreign": b"PAR1" + bytes(1000) + b"PAR1",
        "pickle": pickle.dumps(DOCUMENT),
        "truncated": sound[: len(sound) // 2],
        "its end": sound[:-1],
        "its end ": sound + b"\n",
        "digest": sound.replace(b"weights", b"Weights", 1),
    }.items():
        (tmp_path / "file").write_bytes(content)
        messages[name] = refusal(tmp_path / "file")
    with zipfile.ZipFile(tmp_path / "file", "w") as archive:
        archive.writestr("model.ini", "")
    messages["another program"] = refusal(tmp_path / "file")
    messages["folder"] = refusal(tmp_path)
    messages["kind 'model', not a 'dask_dl' 'checkpoint'"] = refusal(path, kind="checkpoint")
    for name, message in messages.items():
        expected = {"foreign": "not a zip", "pickle": "not a zip"}.get(name, name.strip())
        assert expected in message
    assert len(set(messages.values())) == len(messages) - 2  # both ends, and both that are no zip


def test_newer_format_names_both_versions_and_the_remedy(path):
    forge(path, format_version=4, producer="dask_dl 9.0")
    message = refusal(path)
    assert "format 4, written by dask_dl 9.0" in message
    assert "up to format 3" in message
    assert "pip install --upgrade dask_dl" in message


def test_every_truncation_is_refused(path):
    for n_bytes in reversed(range(path.stat().st_size)):
        os.truncate(path, n_bytes)
        with pytest.raises(ArchiveError):
            read_archive(path, kind="model")


def test_every_flipped_bit_is_refused(path):
    sound = bytearray(path.read_bytes())
    with path.open("r+b", buffering=0) as file:
        for i, byte in enumerate(sound):
            for bit in range(8):
                os.pwrite(file.fileno(), bytes([byte ^ 1 << bit]), i)
                with pytest.raises(ArchiveError):
                    read_archive(path, kind="model")
            os.pwrite(file.fileno(), bytes([byte]), i)
    read_archive(path, kind="model")


@pytest.mark.parametrize("n_bytes", [1, 64, 79, 101, 5000])
def test_bytes_before_or_after_are_refused(path, n_bytes):
    sound = path.read_bytes()
    for content in (sound + bytes(n_bytes), sound + sound[-n_bytes:], bytes(n_bytes) + sound, sound[:n_bytes] + sound):
        path.write_bytes(content)
        refusal(path)


# Forgeries under a valid digest are refused


def test_forging_helper_makes_readable_files(path):
    forge(path, document={"forged": True})
    assert read_archive(path, kind="model")[1] == {"forged": True}


def test_missing_chunk_is_refused_not_read_as_zeros(path):
    entries = entries_of(path)
    del entries["weights/0/c/0/0"]
    seal(path, entries.items())
    assert "1 entries are missing, such as 'weights/0/c/0/0'" in refusal(path)


@pytest.mark.parametrize(
    "name", ["../../x", "/etc/x", "weights/0/c/0/1", "bias/c/0/zarr.json", "other/zarr.json", "C:\\x"]
)
def test_undeclared_entries_are_refused_and_never_extracted(path, name):
    seal(path, [*entries_of(path).items(), (name, b"{}")])
    assert "1 entries are not declared" in refusal(path)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("name", ["../../x", "/etc/x", "a/../b", "", "a/" * 200 + "a"])
def test_declared_hostile_names_are_refused(path, name):
    spec = {"shape": [2, 3], "dtype": "float32"}
    entries = {key.replace("weights/0", name): content for key, content in entries_of(path).items()}
    seal(path, entries.items())
    forge(path, arrays={name: spec, "bias": {"shape": [2], "dtype": "float32"}})
    refusal(path)


def test_a_name_of_many_groups_is_refused_before_they_are_listed(path):
    """Names of the groups that it lies in take the square of its length."""
    forge(path, arrays={"a/" * 4000 + "a": {"shape": [0], "dtype": "float32"}})
    tracemalloc.start()
    try:
        assert "letters, more than 255" in refusal(path)
        assert tracemalloc.get_traced_memory()[1] < 4e6  # they would take 32 MB
    finally:
        tracemalloc.stop()


def test_declared_and_stored_arrays_must_agree(path):
    bias = {"shape": [2], "dtype": "float32"}
    weights = {"shape": [2, 3], "dtype": "float32"}
    for arrays, message in [
        ({"bias": bias}, "not declared"),
        ({"bias": bias, "weights/0": weights, "weights/1": weights}, "missing"),
        ({"bias": bias, "weights/0": weights | {"shape": [3, 2]}}, "not stored as declared"),
        ({"bias": bias, "weights/0": weights | {"shape": [6]}}, "missing"),
        ({"bias": bias, "weights/0": weights | {"dtype": "int32"}}, "not stored as declared"),
        ({"bias": bias, "weights/0": weights | {"dtype": "float64"}}, "needs 48"),
        ({"bias": bias, "weights/0": weights | {"dtype": "object"}}, "never holds"),
        ({"bias": bias, "weights/0": weights | {"dtype": ["f4"]}}, "Expected `str`, got `array`"),
        ({"bias": bias, "weights/0": weights | {"shape": [-2, -3]}}, "Expected `int` >= 0"),
        ({"bias": bias, "weights/0": weights | {"shape": [2.0, 3.0]}}, "Expected `int`, got `float`"),
        ({"bias": bias, "weights/0": weights | {"shape": [True, 6]}}, "Expected `int`, got `bool`"),
        ({"bias": bias, "weights/0": weights | {"shape": [1] * 33}}, "length <= 32"),
        ({"bias": bias, "weights/0": weights | {"shape": [0, 1 << 31, 1 << 31]}}, "empty and yet too large"),
        ({"bias": bias, "weights/0": weights | {"order": "F"}}, "unknown field `order`"),
        ({"bias": bias, "weights/0": {}}, "missing required field `shape`"),
        ([], "Expected `object`, got `array`"),
        (None, "Expected `object`, got `null`"),
    ]:
        forge(path, arrays=arrays)
        assert message in refusal(path)


@pytest.mark.parametrize(
    "change",
    [
        {"shape": [3, 2]},
        {"shape": [1 << 40, 1 << 20]},
        {"data_type": "int32"},
        {"data_type": "variable_length_bytes"},
        {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [1, 3]}}},
        {"chunk_key_encoding": {"name": "v2", "configuration": {"separator": "."}}},  # another entry: read as zeros
        {"fill_value": 1.0},
        {"codecs": [{"name": "bytes", "configuration": {"endian": "big"}}]},
        {
            "codecs": [
                {"name": "bytes", "configuration": {"endian": "little"}},
                {"name": "gzip", "configuration": {"level": 1}},
            ]
        },
        {"codecs": [{"name": "numcodecs.pickle"}]},
        {"codecs": []},
        {"node_type": "group"},
        {"zarr_format": 2},
        {"attributes": {"a": 1}},
    ],
    ids=str,
)
@pytest.mark.filterwarnings("default")
def test_arrays_must_be_described_as_they_are_written(path, change):
    entries = entries_of(path)
    entries["weights/0/zarr.json"] = json.dumps(json.loads(entries["weights/0/zarr.json"]) | change).encode()
    seal(path, entries.items())
    message = refusal(path)
    assert "not stored as declared" in message


def peak_of_refusal(path):
    refusal(path)  # zarr is imported, its thread runs
    tracemalloc.start()
    try:
        message = refusal(path)
        return message, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("shape", "text"),
    [
        ([1 << 30, 3], "has 24 bytes; its array needs"),
        ([1 << 62, 3], "Expected `int` <= "),
        ([1 << 200, 3], "Expected `int` <= "),
    ],
    ids=str,
)
def test_huge_shape_is_refused_without_allocating(path, shape, text):
    entries = entries_of(path)
    entries["weights/0/zarr.json"] = entries["weights/0/zarr.json"].replace(b"2,", str(shape[0]).encode() + b",")
    seal(path, entries.items())
    forge(path, arrays={"bias": {"shape": [2], "dtype": "float32"}, "weights/0": {"shape": shape, "dtype": "float32"}})
    message, peak = peak_of_refusal(path)
    assert text in message
    assert peak < 1e6


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
def test_zip_bomb_is_refused_without_inflating(path, compression):
    n = 1 << 24
    seal(path, [*entries_of(path).items(), ("bomb/c/0", bytes(n))], compression)
    message, peak = peak_of_refusal(path)
    assert "compressed" in message
    assert peak < n / 8


def test_duplicate_entries_are_refused(path):
    entries = list(entries_of(path).items())
    seal(path, [*entries, entries[0]])
    assert "overlap" in refusal(path)


def test_garbage_of_any_kind_is_an_archive_error(path):
    sound = entries_of(path)
    for name in ("zarr.json", "weights/zarr.json", "weights/0/zarr.json"):
        for content in (b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000, b"{}", b'{"zarr_format": 3}'):
            seal(path, (sound | {name: content}).items())
            if name != "weights/zarr.json":  # the folder of a folder says nothing
                refusal(path)
    for change in ({"format_version": None}, {"format_version": "2"}, {"kind": []}, {"format": "other"}):
        seal(path, sound.items())
        forge(path, **change)
        refusal(path)


def test_random_edits_under_a_valid_digest_raise_nothing_else(path):
    """Whatever a forger does to the bytes: a refusal, or arrays and a document; never another error."""
    sound = path.read_bytes()
    rng = random.Random(0)
    for _ in range(1000):
        content = bytearray(sound)
        for _ in range(rng.randint(1, 3)):
            content[rng.randrange(len(content) - 79)] = rng.randrange(256)
        content[-64:] = module.digest_of(io.BytesIO(content), len(content) - 64)
        path.write_bytes(content)
        with contextlib.suppress(ArchiveError):
            read_archive(path, kind="model")


def test_no_pickle_is_loaded(path):
    class Bomb:
        def __reduce__(self):
            return (pytest.fail, ("code from the file was run",))

    entries = entries_of(path)
    entries["bias/c/0"] = pickle.dumps(Bomb())
    seal(path, entries.items())
    refusal(path)


def test_out_of_memory_is_not_called_damage(path, monkeypatch):
    def no_room(*_):
        raise MemoryError

    monkeypatch.setattr(module, "decode", no_room)
    with pytest.raises(MemoryError):
        read_archive(path, kind="model")


def n_handles():
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_handles_are_closed(path):
    write_archive(path, {}, {}, kind="model")  # zarr's thread has its own handles
    before = n_handles()
    for _ in range(3):
        write_archive(path, {"a": WEIGHTS}, {}, kind="model")
        read_archive(path, kind="model")
        refusal(path, kind="other")
    assert n_handles() == before
