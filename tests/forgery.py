"""How files are forged: JSON, arrays and zip structure changed at random under a digest that is right."""

from __future__ import annotations

import functools
import hashlib
import io
import json
import struct
import warnings
import zipfile
import zlib

import numpy as np

MARK = b"dask_dl sha256 "

#: Values that take the place of others; what JSON cannot say is written by a name that stands for its text.
VALUES = [
    None, True, False, 0, 1, -1, 2, 3, 7, 255, 2**31, 2**32, 2**53 + 1, 2**63, 2**64, 10**30, 0.5, -0.5, 1.5, -0.0,
    1e-300, 1e-45, 1e30, 1e39, 1e300, -1e300, "", "x", "infinity", "nan", "a", "\x00", "é" * 50, "../x",
    [], {}, [[]], [0], [1, 2],
    ["a"], [None], {"a": 1},
    "@nan@", "@inf@", "@big float@", "@digits@", "@deep@", "@deep object@", "@surrogate@",
]  # fmt: skip
TEXTS = {
    "@nan@": "NaN",
    "@inf@": "-Infinity",
    "@big float@": "1e999",
    "@digits@": "7" * 100_000,
    "@deep@": "[" * 50_000 + "]" * 50_000,
    "@deep object@": '{"a":' * 20_000 + "1" + "}" * 20_000,
    "@surrogate@": '"\\ud800"',
}
#: What stands for a value, a number of a list, or a line of a MOJO.
WORDS = [
    "null", "true", "false", "0", "1", "-1", "2", "3", "7", "2147483647", "2147483648", "99999999999999999999", "0.5",
    "-0.5", "NaN", "Infinity", "-Infinity", "1e999", "1e-300", "1e30", "3e38", "1e39", "1e300", "[]", "[", "[[]]", "", " ",
    "é", "../x", "\x00", "a", "#", "[info]", "[columns]", "[domains]", "0: 2 d000.txt", "0: 2147483647 d000.txt", "\\",
    "Binomial", "Multinomial", "Regression", "AutoEncoder", "Tanh", "Maxout", "poisson", "Binary", "LabelEncoder", "Eigen",
    "[1.0]", "[0]", "9" * 5000, "1_0", "\u0661",
]  # fmt: skip
NUMBERS = [float("nan"), float("inf"), -float("inf"), 3e38, -3e38, 1e30, 1e12, -1.0, 0.0, 1e-45, 1e6]


def forged_archive(raw, rng):
    """A file with a right digest, one or a few things of which are wrong; seldom nothing."""
    entries = entries_of(raw)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        way = rng.random()
        if way < 0.6:
            entries = _forge_json(entries, rng)
        elif way < 0.85:
            entries = _forge_arrays(entries, rng)
        else:
            return _forge_zip(entries, rng)
    return build(entries)


def forged_mojo(raw, rng):
    """A MOJO archive, a line or a few of whose texts are other ones; or bytes of it."""
    if rng.random() < 0.15:
        return forged_bytes(raw, rng)
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        texts = {name: archive.read(name).decode().split("\n") for name in archive.namelist()}
    for _ in range(rng.choice([1, 1, 2, 3])):
        lines = texts["model.ini" if rng.random() < 0.8 else rng.choice(sorted(texts))]
        at, way = rng.randrange(len(lines)), rng.random()
        if way < 0.6 and " = " in lines[at]:
            key, _, value = lines[at].partition(" = ")
            numbers = value.strip("[]").split(", ")
            numbers[rng.randrange(len(numbers))] = rng.choice(WORDS)
            lines[at] = f"{key} = [{', '.join(numbers)}]" if value.startswith("[") else f"{key} = {rng.choice(WORDS)}"
        elif way < 0.75:
            del lines[at : at + rng.choice([1, 1, 1, 5])]
            lines.append("")
        elif way < 0.9:
            lines.insert(rng.randrange(len(lines)), lines[at])
        else:
            lines[at] = rng.choice(WORDS)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, lines in texts.items():
            archive.writestr(name if rng.random() < 0.98 else f"../{name}", "\n".join(lines))
    return file.getvalue()


def forged_bytes(raw, rng):
    """Bytes of which some are others, gone, more, or zero."""
    content, way = bytearray(raw), rng.random()
    at = rng.randrange(len(content))
    if way < 0.4:
        content[at] ^= 1 << rng.randrange(8)
    elif way < 0.6:
        stop = min(len(content), at + rng.choice([4, 64, 4096]))
        content[at:stop] = bytes(stop - at)
    elif way < 0.75:
        del content[at:]
    elif way < 0.85:
        content += bytes(rng.randrange(1, 100))
    else:
        return rng.randbytes(len(raw))
    return bytes(content)


def entries_of(raw):
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        return {info.filename: archive.read(info) for info in archive.infolist()}


def build(entries, change=lambda archive, name: None):
    """A sealed archive of (name, bytes), a mapping or pairs."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # names that stand twice
        for name, content in entries.items() if isinstance(entries, dict) else entries:
            info = zipfile.ZipInfo(name)
            change(info, name)
            archive.writestr(info, content)
        archive.comment = MARK + b"0" * 64
    return seal(file.getvalue())


def seal(raw):
    return raw[:-64] + hashlib.sha256(raw[:-64]).hexdigest().encode()


# ---- JSON -----------------------------------------------------------------------------------------------------------


def _forge_json(entries, rng):
    name = "zarr.json" if rng.random() < 0.95 else rng.choice([name for name in entries if name.endswith("zarr.json")])
    try:
        root = json.loads(entries[name])
    except (ValueError, RecursionError):  # forged before
        return entries
    attributes = root.get("attributes", root)
    top = attributes.get("document", attributes) if isinstance(attributes, dict) and rng.random() < 0.9 else root
    places = list(_places(top))
    if not places:
        return entries
    # As often from a short part as from a long one, such as the history.
    parts = {}
    for place in places:
        parts.setdefault(place[2], []).append(place)
    holder, key, _ = rng.choice(parts[rng.choice(sorted(parts))])
    _change(holder, key, rng, places)
    text = json.dumps(root)
    for word, meaning in TEXTS.items():
        text = text.replace(f'"{word}"', meaning)
    text = text.replace('"@again@', '"')
    return entries | {name: text.encode("utf-8", "surrogatepass")}


def _places(value, part="", depth=0):
    """(container, key, part of the document) of every value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in list(items):
        where = f"{part}/{key}" if depth < 2 and part not in OPAQUE else part
        yield value, key, where
        yield from _places(item, where, depth + 1)


def _change(holder, key, rng, places):
    old, way = holder[key], rng.random()
    if way < 0.35:
        holder[key] = rng.choice(VALUES)
    elif way < 0.5 and isinstance(old, (int, float)) and not isinstance(old, bool):
        holder[key] = rng.choice([old + 1, old - 1, -old, old * 10, old * 1e9, old / 7, float(old), int(old), str(old)])
    elif way < 0.6:
        other, name, _ = rng.choice(places)
        holder[key] = json.loads(json.dumps(other[name]))
    elif isinstance(holder, dict):
        if way < 0.75:
            del holder[key]
        elif way < 0.9:
            holder[rng.choice([f"{key}_", "", "extra", f"@again@{key}"])] = rng.choice([old, *VALUES])
        else:
            holder[f"{key}s"] = holder.pop(key)
    elif way < 0.7:
        holder.pop(key)
    elif way < 0.85:
        holder.insert(key, old)
    elif way < 0.95:
        holder.reverse()
    else:
        holder.extend(holder * 20)


# ---- arrays ---------------------------------------------------------------------------------------------------------


def _forge_arrays(entries, rng):
    try:
        root = json.loads(entries["zarr.json"])
        specs = root["attributes"]["arrays"]
        name = rng.choice(sorted(specs))
        spec = specs[name]
        key = _chunk(name, spec["shape"])
        array = np.frombuffer(entries[key], np.dtype(spec["dtype"]).newbyteorder("<")).reshape(spec["shape"]).copy()
    except Exception:  # noqa: BLE001  # forged before
        return entries
    entries, way = dict(entries), rng.random()
    if way < 0.45:
        some = rng.sample(range(array.size), min(array.size, rng.choice([1, 3, array.size])))
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            array.reshape(-1)[some] = np.float64(rng.choice(NUMBERS)).astype(array.dtype)
        return entries | {key: array.tobytes()}
    if way < 0.55:
        del specs[name], entries[key], entries[f"{name}/zarr.json"]
        array = None
    elif way < 0.65:
        name = rng.choice([f"{name}0", "extra", "best/network/weights/0", "state/2/weights/0", "initial_weights/0"])
    elif way < 0.75:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            array = array.astype(rng.choice(["float64", "float16", "int32", "bool", "uint8"]))
    elif way < 0.9:
        array = rng.choice(
            [array.T, array[:-1], array[None], np.concatenate([array, array]), array.reshape(-1), array[:0]]
        )
    else:
        shape = rng.choice([(0,), (0, 2**40), (0, 2**31, 2**31), (2**62, 0)])
        for k in range(rng.choice([1, 50, 3000])):
            _store(entries, specs, f"empty/{k}", np.zeros(0, np.float32), shape)
        array = None
    if array is not None:
        for old in [entry for entry in entries if entry.startswith(f"{name}/")]:
            del entries[old]
        _store(entries, specs, name, array, array.shape)
    return entries | {"zarr.json": json.dumps(root).encode()}


def _chunk(name, shape):
    return "/".join([name, "c", *("0" for _ in shape)])


def _store(entries, specs, name, array, shape):
    specs[name] = {"shape": list(shape), "dtype": array.dtype.name}
    endian = {"configuration": {"endian": "little"}} if array.itemsize > 1 else {}
    metadata = {
        "shape": list(shape),
        "data_type": array.dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [max(1, n) for n in shape]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": False if array.dtype == bool else 0,
        "codecs": [{"name": "bytes"} | endian],
        "attributes": {},
        "zarr_format": 3,
        "node_type": "array",
        "storage_transformers": [],
    }
    entries[f"{name}/zarr.json"] = json.dumps(metadata).encode()
    if array.size:
        entries[_chunk(name, shape)] = np.ascontiguousarray(array).tobytes()


# ---- zip ------------------------------------------------------------------------------------------------------------


def _forge_zip(entries, rng):
    name = rng.choice(sorted(entries))
    way = rng.choice(WAYS)
    if way == "twice":
        return build([*entries.items(), (name, entries[name])])
    if way == "more":
        return build(entries | {rng.choice(["../x", "/etc/x", "x", f"{name}/zarr.json", f"{name}\x00", "é"]): b"{}"})
    if way == "many":
        return build(entries | {f"e{k}/zarr.json": b"{}" for k in range(rng.choice([10, 2000]))})
    if way == "order":
        return build(dict(rng.sample(sorted(entries.items()), len(entries))))
    if way == "packed":
        return build(entries, lambda info, _: setattr(info, "compress_type", zipfile.ZIP_DEFLATED))
    if way == "extra":
        return build(
            entries, lambda info, _: setattr(info, "extra", struct.pack("<HH8s", rng.choice([1, 99]), 8, bytes(8)))
        )
    if way == "comment":
        return build(entries, lambda info, _: setattr(info, "comment", b"x" * rng.choice([1, 60_000])))
    if way == "none":
        return build({})
    raw = bytearray(build(entries))
    if way == "flip":
        for _ in range(rng.choice([1, 2, 8])):
            raw[rng.randrange(len(raw) - 79)] = rng.randrange(256)
    elif way == "gap":
        raw[:0] = bytes(rng.randrange(1, 50))
    elif way == "bomb":
        raw = _bomb(entries, name)
    else:
        start, width = rng.choice([(b"PK\x01\x02", 46), (b"PK\x03\x04", 30), (b"PK\x05\x06", 22)])
        places = [at for at in range(len(raw)) if raw.startswith(start, at)]
        at = rng.choice(places) + rng.randrange(4, width - 1)
        size = rng.choice([1, 2, 4])
        raw[at : at + size] = rng.choice([b"\xff" * size, bytes(size), rng.randbytes(size)])
    return seal(bytes(raw))


def _bomb(entries, name):
    """An archive of which an entry says it is as large as ever, and unpacks to 300 million bytes."""
    size = len(entries[name])
    raw = bytearray(build(entries | {name: _packed_zeros(300)}))
    word = name.encode()
    for start, width, at in ((b"PK\x01\x02", 46, 10), (b"PK\x03\x04", 30, 8)):
        place = next(i for i in range(len(raw)) if raw.startswith(start, i) and raw.startswith(word, i + width))
        raw[place + at : place + at + 2] = struct.pack("<H", zipfile.ZIP_DEFLATED)
        raw[place + at + 6 : place + at + 10] = struct.pack("<I", zlib.crc32(bytes(size)))
        raw[place + at + 14 : place + at + 18] = struct.pack("<I", size)
    return raw


@functools.cache
def _packed_zeros(n_million):
    packer = zlib.compressobj(9, 8, -15)
    return b"".join([*(packer.compress(bytes(10**6)) for _ in range(n_million)), packer.flush()])


#: Parts of a document with a hundred values each, which nothing looks at: they count as one.
OPAQUE = {"/requested", "/effective"}
WAYS = (
    ["flip"] * 3
    + ["field"] * 2
    + ["twice", "more", "bomb", "packed", "extra", "comment", "gap", "none", "many", "order"]
)
