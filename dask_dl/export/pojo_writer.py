"""Models as one class of plain Java (POJO), whose answers are those of `predict` and `predict_proba`."""

from __future__ import annotations

import base64
import re
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dask_dl.checkpoint.whole_file import replaced
from dask_dl.errors import ParameterError
from dask_dl.tasks import Classes, Numbers

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Sequence

    from numpy.typing import ArrayLike

    from dask_dl.model import Model

#: Bytes of an array in a constant text: a class file holds texts of 65,535 bytes, and four of Base64 are three.
PART = 48_000
#: Such texts in an initializer, whose code may have 65,535 bytes.
PARTS = 4000
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TEMPLATE = Path(__file__).with_name("pojo.java")


def write_pojo(model: Model, path: str | os.PathLike[str], package: str | None = None) -> None:
    """Write a model as Java.

    Parameters
    ----------
    model : Model
    path : str or os.PathLike
        Local path or URL of a file `Name.java`; the class has that name.
    package : str, optional
        Package of the class, such as "com.example".

    Raises
    ------
    ParameterError
        When the file or the package has a name that Java has not.
    OSError
    """
    name, dot, suffix = str(path).replace("\\", "/").rsplit("/", 1)[-1].rpartition(".")
    if suffix != "java" or not dot or not _is_name(name):
        raise ParameterError(f"{path} is no name of a class of Java. Name a file such as Delayed.java.")
    if package is not None and not all(map(_is_name, package.split("."))):
        raise ParameterError(f"package={package!r} is no name of a package of Java. Write one such as com.example.")
    text = java(model, name, package)
    with replaced(path) as file:
        file.write(text.encode())


def java(model: Model, name: str, package: str | None = None) -> str:
    """Java of a model, as the class of a name in a package."""
    encoder, head, topology = model.encoder, model.head, model.network.topology
    weights, biases = topology.unpack(model.network.flat)
    classes = _Classes()
    layers = "".join(
        f"        case {2 * k + part}:\n          return {classes.joined(_floats(array))};\n"
        for k, pair in enumerate(zip(weights, biases, strict=True))
        for part, array in enumerate(pair)
    )
    levels = "".join(
        f"        case {k}:\n          return {classes.level(names, inputs)};\n"
        for k, (names, inputs) in enumerate(_levels(model))
    )
    is_classes, is_number = isinstance(head, Classes), isinstance(head, Numbers)
    link = "classes" if is_classes else head.link if isinstance(head, Numbers) else "inputs"
    threshold = getattr(head, "threshold", None)
    again = [] if is_classes or is_number else _again(model)
    edges = [] if encoder.hashing or not encoder.categories else encoder.starts.tolist()
    arrays = {
        "COLUMNS": _texts(encoder.columns),
        "CLASSES": _texts([str(label) for label in getattr(head, "classes", ())]),
        "INPUTS": _texts([] if is_classes or is_number else encoder.input_names),
        "UNITS": _ints(topology.units),
        "KEPT": _doubles([1 - ratio for ratio in topology.dropout]),
        "FILLS": _doubles([n.fill for n in encoder.numbers]),
        "SHIFTS": _doubles([n.shift for n in encoder.numbers]),
        "FACTORS": _doubles([n.factor for n in encoder.numbers]),
        "TARGET": _doubles([head.shift, head.factor] if isinstance(head, Numbers) else []),
        "CORRECTION": _doubles(getattr(head, "correction", ())),
        "AGAIN_SHIFTS": _doubles([shift for _, shift in again]),
        "AGAIN_SCALES": _doubles([scale for scale, _ in again]),
        "EDGES": _ints(edges),
    }
    values = {
        "PACKAGE": f"package {package};\n\n" if package else "",
        "NAME": name,
        "DESCRIPTION": f"A model that learned a {model.task}",
        "N_LEVELS": encoder.n_level_inputs,
        "CHANNELS": topology.channels[0] if topology.hidden else 1,
        "ACTIVATION": topology.activation,
        "OUTPUT": topology.activation if topology.output == "activated" else topology.output,
        "LINK": link,
        "THRESHOLD": "Double.NaN" if threshold is None else repr(float(threshold)),
        "HAS_OFFSET": "1" if model.record.offset_name is not None else "0",
        "N_CATEGORIES": len(encoder.categories),
        "N_NUMBERS": len(encoder.numbers),
        "N_CODES": len(encoder.codes),
        "LAYERS": layers,
        "LEVELS": levels,
        "ARRAYS": "".join(f"    static final String[] {key} = {_initializer(data)};\n" for key, data in arrays.items()),
        "CHUNKS": classes.text,
    }
    template = _TEMPLATE.read_text("utf-8")
    return re.sub(r"@([A-Z_]+)@", lambda match: str(values[match[1]]), template)


def _levels(model: Model) -> Iterable[tuple[Sequence[str], np.ndarray[Any, np.dtype[np.float64]]]]:
    """(levels; inputs of each, of a missing value and of a level never seen) of every column of categories."""
    encoder = model.encoder
    for column, start in zip(encoder.categories, encoder.starts.tolist(), strict=False):
        missing = column.width - 1
        other = missing - 1 if column.has_others else missing
        slots = np.array([*(np.arange(len(column.levels)) - (not column.keeps_first)), missing, other])
        places = slots + start
        if encoder.hashing is not None:
            places = encoder.hashing.inputs(np.maximum(places, 0))
        yield column.levels, np.where(slots < 0, -1, places).astype(np.float64)[:, None]
    for code in encoder.codes:
        table = code.table.astype(np.float64)
        strange = table[-1:]
        if code.scheme == "label_encoder":  # as where the row is alone in its table
            deviation = (code.deviations[0] or 1.0) if code.is_standardized else 1.0
            mean = code.means[0] if code.is_standardized else 0.0
            strange = np.array([[np.float32((len(code.levels) - mean) / deviation)]], np.float64)
        yield code.levels, np.concatenate([table, strange])


def _again(model: Model) -> list[tuple[float, float]]:
    """Scale and shift by which inputs of numbers and codes become values of the table again."""
    encoder = model.encoder
    found = [(1 / number.factor, number.shift) for number in encoder.numbers]
    for code in encoder.codes:
        pairs = zip(code.deviations, code.means, strict=True)
        found += [(deviation or 1.0, mean) if code.is_standardized else (1.0, 0.0) for deviation, mean in pairs]
    return found


class _Classes:
    """Nested classes that hold arrays as texts."""

    def __init__(self) -> None:
        self._parts: list[str] = []

    @property
    def text(self) -> str:
        """All of them."""
        return "".join(self._parts)

    def joined(self, data: bytes) -> str:
        """Expression of an array's texts."""
        texts = _cut(data)
        names = [self._add("String[]", _listed(texts[k : k + PARTS])) for k in range(0, max(1, len(texts)), PARTS)]
        return f"joined({', '.join(names)})"

    def level(self, names: Sequence[str], inputs: np.ndarray[Any, np.dtype[np.float64]]) -> str:
        """Expression of the levels of a column."""
        arrays = _texts(names), _doubles(inputs.ravel()), _ints([inputs.shape[1]])
        return self._add("String[][]", f"{{{', '.join(_initializer(data) for data in arrays)}}}")

    def _add(self, kind: str, initializer: str) -> str:
        name = f"Part{len(self._parts)}"
        self._parts.append(
            f"  private static final class {name} {{\n    static final {kind} VALUE = {initializer};\n  }}\n\n"
        )
        return f"{name}.VALUE"


def _cut(data: bytes) -> list[str]:
    """Texts of Base64."""
    return [base64.b64encode(data[k : k + PART]).decode() for k in range(0, len(data), PART)]


def _listed(texts: Sequence[str]) -> str:
    return "{" + ", ".join(f'"{text}"' for text in texts) + "}"


def _initializer(data: bytes) -> str:
    return _listed(_cut(data))


def _floats(values: ArrayLike) -> bytes:
    return np.asarray(values, ">f4").tobytes()


def _doubles(values: ArrayLike) -> bytes:
    return np.asarray(values, ">f8").tobytes()


def _ints(values: ArrayLike) -> bytes:
    return np.asarray(values, ">i4").tobytes()


def _texts(values: Sequence[str]) -> bytes:
    encoded = [value.encode("utf-8", "surrogatepass") for value in values]
    return struct.pack(">i", len(encoded)) + b"".join(struct.pack(">i", len(text)) + text for text in encoded)


#: Words that are no names in Java.
_WORDS = frozenset(
    re.findall(
        r"\S+",
        """abstract assert boolean break byte case catch char class const continue default do double else enum extends
        final finally float for goto if implements import instanceof int interface long native new package private
        protected public return short static strictfp super switch synchronized this throw throws transient try void
        volatile while true false null _ String Object Map Math Double Number Integer List Arrays""",
    )
)


def _is_name(text: str) -> bool:
    return bool(_NAME.fullmatch(text)) and text not in _WORDS
