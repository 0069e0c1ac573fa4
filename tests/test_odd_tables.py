"""A catalogue of odd tables: what each becomes, or what is said of it. Every sound one is trained on and predicted."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import dask
import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.exceptions import DataConversionWarning
from tables import UNSCORED

from dask_dl import DeepLearningClassifier, DeepLearningRegressor, load
from dask_dl.errors import DaskDLError, DaskDLWarning

if TYPE_CHECKING:
    from collections.abc import Callable

N = 24
SMALL = UNSCORED | {"hidden": (4,), "epochs": 1, "random_state": 1}
RANDOM = np.random.default_rng(0)


def table(**columns):
    """A sound table with some columns added or replaced: a and y are numbers, t is a text of three levels."""
    frame = pd.DataFrame(
        {"a": np.sin(np.arange(N)), "t": np.resize(["u", "v", "w"], N), "y": np.cos(np.arange(N))},
    )
    return frame.assign(**columns)


def partitions(*parts, meta=None):
    """A Dask frame of exactly these partitions, of unknown divisions; objects stay objects, which Dask else makes texts."""
    with dask.config.set({"dataframe.convert-string": False}):
        meta = parts[0].iloc[:0] if meta is None else meta
        return dd.from_map(lambda k: parts[k], range(len(parts)), meta=meta, enforce_metadata=False)


def cut(frame, *edges):
    return [frame.iloc[lo:hi] for lo, hi in zip((0, *edges), (*edges, len(frame)), strict=True)]


def lazy(frame, n=3):
    return dd.from_pandas(frame, npartitions=n, sort=False)


def repeated(*values):
    """These values, as often as it takes."""
    return pd.Series(np.resize(np.array(values, dtype=object), N)).infer_objects()


def arrow(values, kind):
    return pd.array(values, dtype=pd.ArrowDtype(kind))


def objects(*values):
    return pd.Series((values * N)[:N], dtype=object)


@dataclass(frozen=True)
class Odd:
    """A table, and what must come of it."""

    X: Callable[[], Any]
    y: Any = "y"  #: or a function that makes it
    says: str = ""  #: what it is refused with
    warns: str = ""  #: what is warned of
    holds: Callable[[Any, Any], object] = lambda model, X: True  #: of the fitted model
    fit: dict[str, Any] = field(default_factory=dict)
    given: dict[str, Any] = field(default_factory=dict)  #: parameters
    category: type[Warning] = DaskDLWarning


def levels(model, name):
    """The levels of a column."""
    return list(next(c.levels for c in model.encoder_.categories if c.name == name))


def columns(model):
    return set(model.encoder_.columns)


def same(model, one, other):
    """Whether two tables are predicted alike."""
    predict = getattr(model, "predict_proba", model.predict)
    np.testing.assert_array_equal(*(dask.compute(predict(X))[0] for X in (one, other)))
    return True


TEXTS = [
    "a\nb",
    'say "so"',
    "it's",
    "\U0001f600",
    "NA",
    "nan",
    "",
    " ",
    "None",
    "a,b",
    "\t",
    "\x00",
    "\xdf",
    "\xe9",
    "e\u0301",
]

# ---- columns ------------------------------------------------------------------------------------------------------------

NUMBERS = {
    "all missing": Odd(lambda: table(gone=np.nan), warns="dropped 1 columns that are constant or empty: 'gone'"),
    "all missing objects": Odd(lambda: table(gone=None), warns="constant or empty: 'gone'"),
    "one value and gaps": Odd(
        lambda: table(b=np.resize([3.0, np.nan], N), c=np.resize(np.array(["x", None], object), N)),
        warns="dropped 2 columns that are constant or empty: 'b', 'c'",
    ),
    "one value and gaps, kept on request": Odd(
        lambda: table(b=np.resize([3.0, np.nan], N)),
        given={"ignore_const_cols": False},
        holds=lambda model, X: "b" in columns(model),
    ),
    "levels of every kind of text": Odd(
        lambda: table(t=repeated(*TEXTS)), holds=lambda model, X: levels(model, "t") == sorted(TEXTS)
    ),
    "an empty text is a level, None is none": Odd(
        lambda: table(t=objects("", None, "u")), holds=lambda model, X: levels(model, "t") == ["", "u"]
    ),
    "all that is missing is missing": Odd(
        lambda: table(t=objects("u", None, np.nan, pd.NA, pd.NaT, "v")),
        holds=lambda model, X: same(model, X.assign(a=0), X.assign(a=0, t=X["t"].where(X["t"].notna(), None))),
    ),
    "very long levels": Odd(
        lambda: table(t=repeated("x" * 100_000, "x" * 100_001)), holds=lambda model, X: len(levels(model, "t")) == 2
    ),
    "as many levels as rows": Odd(
        lambda: table(t=[f"row {k}" for k in range(N)]), holds=lambda model, X: len(levels(model, "t")) == N
    ),
    "a level in one partition only": Odd(
        lambda: partitions(*cut(table(t=["once", *["u", "v"] * 11, "last"]), 8, 16)),
        holds=lambda model, X: levels(model, "t") == ["last", "once", "u", "v"],
    ),
    "unlike categories in partitions": Odd(
        lambda: partitions(
            *(
                p.assign(t=p["t"].iloc[:].astype("category"))
                for p in cut(table(t=[*"uuuuuuuu", *"vvvvvvvv", *"wwwwwwww"]), 8, 16)
            )
        ),
        holds=lambda model, X: levels(model, "t") == ["u", "v", "w"],
    ),
    "unknown categoricals of Dask": Odd(
        lambda: lazy(table()).astype({"t": "category"}),
        holds=lambda model, X: not X["t"].cat.known and levels(model, "t") == ["u", "v", "w"],
    ),
    "categories without rows": Odd(
        lambda: table(t=pd.Categorical(np.resize(["u", "w"], N), categories=["never", "w", "u"])),
        holds=lambda model, X: levels(model, "t") == ["u", "w"],
    ),
    "ordered categories": Odd(
        lambda: table(t=pd.Categorical(np.resize(["low", "high"], N), categories=["low", "high"], ordered=True)),
        holds=lambda model, X: levels(model, "t") == ["high", "low"],
    ),
    "categories of integers": Odd(
        lambda: table(t=pd.Categorical(np.resize([10, 9, 100], N))),
        holds=lambda model, X: (
            levels(model, "t") == ["9", "10", "100"]
            and same(model, X, X.assign(t=X["t"].astype(int)))
            and same(model, X, X.assign(t=X["t"].astype(float)))
            and same(model, X, X.assign(t=X["t"].astype(str)))
        ),
    ),
    "intervals of cut": Odd(
        lambda: table(t=pd.cut(np.arange(N), 3)), holds=lambda model, X: len(levels(model, "t")) == 3
    ),
    "texts of pyarrow": Odd(
        lambda: table(t=arrow(np.resize(["u", "v", None], N), pa.large_string())),
        holds=lambda model, X: same(model, X, X.assign(t=X["t"].astype(object))),
    ),
    "dictionaries of pyarrow": Odd(
        lambda: table(t=arrow(["u", "v", None] * 8, pa.dictionary(pa.int8(), pa.string()))),
        holds=lambda model, X: levels(model, "t") == ["u", "v"],
    ),
    "booleans with gaps": Odd(
        lambda: table(b=objects(True, None, False), c=pd.array([True, None, False] * 8, "boolean")),
        holds=lambda model, X: same(model, X, X.assign(b=X["c"].astype("float64"), c=X["b"])),
    ),
    "nullable integers": Odd(
        lambda: table(b=pd.array([1, None, 3] * 8, "Int64"), c=arrow([1, None, 3] * 8, pa.int8())),
        holds=lambda model, X: same(model, X, X.assign(b=X["c"].astype("Float32"))),
    ),
    "decimals": Odd(
        lambda: table(
            b=objects(Decimal("1.5"), None, 2), c=arrow([Decimal("1.5"), None, Decimal(2)] * 8, pa.decimal128(9, 2))
        ),
        holds=lambda model, X: same(model, X, X.assign(b=X["c"].astype("float64"))),
    ),
    "floats of every width": Odd(
        lambda: table(**{k: np.arange(N).astype(k) for k in ("float16", "float32", "float64", "longdouble")}),
        holds=lambda model, X: len(columns(model)) == 6,
    ),
    "integers beyond float32": Odd(
        lambda: table(b=[*range(N - 1), 10**12]), warns="whole numbers that differ become one in float32.*in 'b'"
    ),
    "sparse columns of pandas": Odd(
        lambda: table(
            b=pd.arrays.SparseArray(np.resize([0.0, 0, 5, np.nan], N)), c=pd.arrays.SparseArray(np.resize([0, 1], N))
        ),
        holds=lambda model, X: same(model, X, X.assign(b=np.asarray(X["b"]), c=np.asarray(X["c"]))),
    ),
    "dates with and without a zone": Odd(
        lambda: table(b=pd.date_range("2020", periods=N, freq="h")),
        holds=lambda model, X: (
            same(model, X, X.assign(b=X["b"].dt.tz_localize("UTC").dt.tz_convert("Asia/Tokyo")))
            and same(model, X, X.assign(b=X["b"].astype("datetime64[s]")))
            and same(model, X, X.assign(b=X["b"].astype(object)))
        ),
    ),
    "days": Odd(
        lambda: table(b=[dt.date(2020, 1, 1 + k) for k in range(N)]),
        holds=lambda model, X: same(model, X, X.assign(b=pd.to_datetime(X["b"]))),
    ),
    "durations": Odd(
        lambda: table(b=pd.to_timedelta(np.arange(N), unit="s")),
        holds=lambda model, X: same(model, X, X.assign(b=1000 * np.arange(N))),
    ),
    "times of day": Odd(
        lambda: table(b=[dt.time(k) for k in range(N)]),
        holds=lambda model, X: same(model, X, X.assign(b=3_600_000 * np.arange(N))),
    ),
    "a tiny scale": Odd(
        lambda: table(b=1e-100 * np.arange(N)),
        holds=lambda model, X: model.encoder_.numbers[1].factor == pytest.approx(1e100 / np.std(np.arange(N), ddof=1)),
    ),
    "denormal numbers count as one value": Odd(
        lambda: table(b=5e-324 * np.arange(N), c=1e-300 * np.arange(N)), warns="constant or empty: 'b', 'c'"
    ),
    "a large scale": Odd(lambda: table(b=1e100 * np.arange(N)), holds=lambda model, X: "b" in columns(model)),
    "a huge scale": Odd(
        lambda: table(b=1e300 * np.arange(1, N + 1)), says="column 'b'.*2.4e\\+301.*too large for a mean"
    ),
    "minus zero": Odd(
        lambda: table(b=np.resize([0.0, -0.0, 1], N), t=pd.Categorical(np.resize([0.0, -0.0, 1.5], N))),
        holds=lambda model, X: levels(model, "t") == ["0", "1.5"] and same(model, X, X.assign(b=X["b"] + 0.0)),
    ),
    "infinite": Odd(
        lambda: table(a=np.resize([1, 2, -np.inf], N)), says="column 'a'.*8 infinite values in partition 0"
    ),
    "infinite decimals": Odd(lambda: table(a=objects(Decimal("Infinity"), Decimal(1))), says="column 'a'.*12 infinite"),
    "integers without end": Odd(lambda: table(a=objects(10**400, 1)), says="column 'a'.*12 infinite values"),
    "complex": Odd(lambda: table(b=1j), says="column 'b' of the training table holds complex128"),
    "periods": Odd(lambda: table(b=pd.period_range("2020", periods=N, freq="D")), says=r"column 'b'.*to_timestamp\(\)"),
    "intervals": Odd(lambda: table(b=pd.interval_range(0, N)), says="column 'b'.*Convert it to a category"),
    "lists": Odd(lambda: table(b=objects([1], [2])), says=r"column 'b'.*for example \[1\] of type list"),
    "dicts": Odd(lambda: table(b=objects({"k": 1})), says="column 'b'.*for example {'k': 1} of type dict"),
    "bytes": Odd(lambda: table(b=objects(b"x")), says="column 'b'.*for example b'x' of type bytes"),
    "texts beside numbers": Odd(
        lambda: table(b=objects("x", 1)), says="column 'b'.*for example 1 of type int, beside str"
    ),
    "texts beside booleans": Odd(lambda: table(b=objects(True, "x")), says="for example True of type bool, beside str"),
    "texts in one partition, numbers in the next": Odd(
        lambda: partitions(*cut(table(), 8, 16)[:2], table(a="x").iloc[16:]),
        says="column 'a'.*partition 2 holds a category, partition 0 a number",
    ),
}

# ---- names, rows and cuts -----------------------------------------------------------------------------------------------

SHAPES = {
    "names with dots, spaces and more": Odd(
        lambda: table().rename(columns={"a": "a.b c", "t": "t\n'é' [%]", "y": "y (€)"}),
        "y (€)",
        holds=lambda model, X: columns(model) == {"a.b c", "t\n'é' [%]"},
    ),
    "an empty name": Odd(lambda: table().rename(columns={"a": ""}), holds=lambda model, X: columns(model) == {"", "t"}),
    "names that are numbers": Odd(
        lambda: table().set_axis([0, 1, 2], axis=1), 2, holds=lambda model, X: columns(model) == {"0", "1"}
    ),
    "numbers and texts as names": Odd(
        lambda: table().set_axis([7, "t", "y"], axis=1), holds=lambda model, X: columns(model) == {"7", "t"}
    ),
    "a name that is missing": Odd(
        lambda: table().set_axis([None, "t", "y"], axis=1), holds=lambda model, X: columns(model) == {"nan", "t"}
    ),
    "names of several levels": Odd(
        lambda: table().set_axis(pd.MultiIndex.from_tuples([("n", "a"), ("n", "t"), ("y", "")]), axis=1),
        lambda: ("y", ""),
        holds=lambda model, X: columns(model) == {"('n', 'a')", "('n', 't')"},
    ),
    "names of several levels, with Dask": Odd(
        lambda: lazy(table().set_axis(pd.MultiIndex.from_tuples([("n", "a"), ("n", "t"), ("y", "")]), axis=1)),
        "('y', '')",
        holds=lambda model, X: columns(model) == {"('n', 'a')", "('n', 't')"},
    ),
    "a name twice": Odd(
        lambda: table().set_axis(["a", "a", "y"], axis=1), says="several columns named 'a'. Rename or drop"
    ),
    "a name twice, with Dask": Odd(
        lambda: dd.from_map(
            lambda _: table().set_axis(["a", "a", "y"], axis=1), [0], meta=table().set_axis(["a", "a", "y"], axis=1)
        ),
        says="several columns named 'a'",
    ),
    "a number and its text as names": Odd(
        lambda: table().set_axis([1, "1", "y"], axis=1), says="several columns named '1'"
    ),
    "names of other things": Odd(
        lambda: table(predict=1.0 * np.arange(N), missing=np.arange(N) % 5),
        holds=lambda model, X: {"predict", "missing"} < columns(model),
    ),
    "a reserved name beside values": Odd(
        lambda: table().rename(columns={"a": "__target__"}), lambda: np.arange(N), says="reserved"
    ),
    "a target of a reserved name": Odd(lambda: table().rename(columns={"y": "__target__"}), "__target__"),
    "no rows": Odd(lambda: table().iloc[:0], says="the training table has no rows"),
    "no columns": Odd(lambda: table()[[]], lambda: np.arange(N), says="no column to learn from.*its columns are none"),
    "nothing but the target": Odd(lambda: table()[["y"]], says="no column to learn from.*its columns are 'y'"),
    "one row": Odd(lambda: table(y=3.0).iloc[:1], says="no column is left to learn from.*'a', 't'.*n_samples=1"),
    "one row, columns kept on request": Odd(lambda: table(y=3.0).iloc[:1], given={"ignore_const_cols": False}),
    "two rows": Odd(lambda: table().iloc[:2]),
    "one column": Odd(lambda: table()[["a", "y"]], holds=lambda model, X: columns(model) == {"a"}),
    "more columns than rows": Odd(
        lambda: pd.DataFrame(np.random.default_rng(0).normal(size=(3, 50))),
        49,
        holds=lambda model, X: len(columns(model)) == 49,
    ),
    "an index that repeats": Odd(lambda: table().set_axis([0] * N, axis=0)),
    "an index that repeats, with Dask": Odd(lambda: lazy(table().set_axis([0] * N, axis=0))),
    "an index of several levels": Odd(
        lambda: table().set_axis(pd.MultiIndex.from_product([[1, 2], range(12)]), axis=0)
    ),
    "an index named as a column": Odd(lambda: table().set_axis(pd.Index(range(N), name="a"), axis=0)),
    "divisions that are unsorted": Odd(lambda: lazy(table().iloc[::-1])),
    "divisions that are unknown": Odd(lambda: lazy(table()).clear_divisions()),
    "empty partitions first and last": Odd(
        lambda: partitions(table().iloc[:0], *cut(table(), 5), table().iloc[:0]),
        holds=lambda model, X: model.model_.record.n_rows == N,
    ),
    "empty partitions of objects": Odd(
        lambda: partitions(table().iloc[:0].astype(object), table(), table().iloc[:0].astype(object)),
        holds=lambda model, X: model.model_.record.n_rows == N,
    ),
    "empty partitions of texts": Odd(
        lambda: partitions(table().iloc[:0].astype(str), table(), table().iloc[:0].astype(str)),
        holds=lambda model, X: columns(model) == {"a", "t"},
    ),
    "a column that one partition lacks": Odd(
        lambda: partitions(table(), table().drop(columns="a")),
        says="partition 1 of the training table lacks the column 'a'",
    ),
    "X and y of other partitions": Odd(lambda: lazy(table()[["a", "t"]]), lambda: lazy(table(), 5)["y"]),
    "X and y of other partitions, unknown": Odd(
        lambda: lazy(table()).clear_divisions()[["a", "t"]],
        lambda: lazy(table(), 5).clear_divisions()["y"],
        says="3 partitions and its target 5.*divisions are unknown.*pass its name",
    ),
    "a Dask Array cut in columns": Odd(
        lambda: da.from_array(np.eye(N), chunks=(5, 7)), lambda: da.arange(N, chunks=11) + 0.5
    ),
    "numbers of other machines": Odd(lambda: np.eye(N).astype(">f8"), lambda: np.arange(N).astype(">i2")),
    "an array in strides": Odd(
        lambda: np.asfortranarray(RANDOM.normal(size=(2 * N, 6)))[::-2, ::2], lambda: np.arange(2 * N)[::-2]
    ),
    "an array that is read-only": Odd(
        lambda: np.broadcast_to(np.arange(N, dtype=float)[:, None], (N, 2)), lambda: np.arange(N)
    ),
    "an array of objects": Odd(
        lambda: table().to_numpy(), 2, holds=lambda model, X: levels(model, "x1") == ["u", "v", "w"]
    ),
    "lists of numbers, texts and None": Odd(
        lambda: [[k, "u" if k % 2 else None] for k in range(N)],
        lambda: list(range(N)),
        warns="constant or empty: 'x1'",
    ),
    "a vector": Odd(lambda: np.arange(N), lambda: np.arange(N), says="two dimensions"),
    "records": Odd(lambda: np.zeros(N, [("a", float)]), lambda: np.arange(N), says="two dimensions"),
}

# ---- targets, weights, offsets ------------------------------------------------------------------------------------------

TARGETS = {
    "constant": Odd(lambda: table(y=3.0), says=r"target 'y' is constant \(3\)"),
    "infinite target": Odd(lambda: table(y=np.resize([1, 2, np.inf], N)), says="target 'y'.*infinite values"),
    "missing target": Odd(
        lambda: table(y=np.resize([1, 2, np.nan], N)), holds=lambda model, X: model.model_.record.n_rows == 16
    ),
    "missing everywhere": Odd(lambda: table(y=np.nan), says="target 'y'.*none of 24 rows has a value"),
    "a target of texts": Odd(lambda: table(y="x"), says="target 'y'.*not numbers: use DeepLearningClassifier"),
    "a target of decimals": Odd(lambda: table(y=[Decimal(k) for k in range(N)])),
    "a target of nullable integers": Odd(lambda: table(y=pd.array([1, 2, None] * 8, "Int64"))),
    "a target that is a predictor, too": Odd(table, lambda: table()["y"], holds=lambda model, X: "y" in columns(model)),
    "a target and weight in one": Odd(table, fit={"sample_weight": "y"}, says="must be different columns"),
    "a column of one frame": Odd(
        lambda: table()[["a"]], lambda: table()[["y"]], warns="column-vector y", category=DataConversionWarning
    ),
    "a column of one Dask frame": Odd(lambda: lazy(table()[["a"]]), lambda: lazy(table()[["y"]])),
    "two columns": Odd(
        lambda: table()[["a"]], lambda: table()[["y", "a"]], says=r"one dimension; found shape \(24, 2\)"
    ),
    "a target of 0 and 1": Odd(lambda: table(y=np.resize([0, 1], N)), warns="holds only 0 and 1"),
    "weights that are missing": Odd(
        lambda: table(w=np.resize([1, np.nan], N)),
        fit={"sample_weight": "w"},
        says="weight 'w'.*12 of 24 values.*missing",
    ),
    "weights that are negative": Odd(
        lambda: table(w=np.resize([1, -2], N)),
        fit={"sample_weight": "w"},
        says="weight 'w'.*negative weights, the least -2",
    ),
    "weights that are zero": Odd(
        lambda: table(w=0), fit={"sample_weight": "w"}, says="none of 24 rows.*a weight above zero"
    ),
    "weights that are texts": Odd(table, fit={"sample_weight": "t"}, says="weight 't'.*is not numeric"),
    "weights that are booleans": Odd(
        lambda: table(w=np.resize([True, False], N)),
        fit={"sample_weight": "w"},
        holds=lambda model, X: model.model_.record.n_rows == 12,
    ),
    "offsets that are missing": Odd(
        lambda: table(o=pd.array([1, None] * 12, "Int64")),
        fit={"offset": "o"},
        says="offset 'o'.*12 of 24 values.*missing",
    ),
    "weights that are durations": Odd(
        lambda: table(w=pd.to_timedelta(1, unit="s")),
        fit={"sample_weight": "w"},
        says="weight 'w'.*is not numeric: partition 0 holds timedelta64",
    ),
    "offsets that are dates": Odd(
        lambda: table(o=pd.Timestamp("2020-01-01", tz="UTC")),
        fit={"offset": "o"},
        says="offset 'o'.*is not numeric: partition 0 holds datetime64",
    ),
    "a target in a set": Odd(
        table, lambda: set(range(N)), says=r"the target is {0, 1,.*\.\.\.: give the name or position"
    ),
    "a target of bytes": Odd(table, lambda: np.array([b"u", b"v"] * 12), says="for example b'u' of type bytes"),
    "a target of bytes in a Dask Array": Odd(
        lambda: da.from_array(np.eye(N), chunks=(5, 7)),
        lambda: da.from_array(np.array([b"u", b"v"] * 12), chunks=4),
        says="for example b'u' of type bytes",
    ),
    "a position that is none": Odd(
        table, 3, says="has 3 columns, at the positions 0 to 2, and none at 3 for the target"
    ),
    "a column that is none": Odd(table, "z", says="no column 'z' for the target"),
    "values beside Dask": Odd(lambda: lazy(table()), lambda: np.arange(N), says="must be a Dask Series or the name"),
    "Dask beside values": Odd(table, lambda: da.arange(N), says=r"must be local too: pass target.compute\(\)"),
}

CLASSES = {
    "texts that look like numbers": Odd(
        lambda: table(y=np.resize(["1", "10", "2", "01"], N)),
        holds=lambda model, X: [*model.classes_] == ["01", "1", "10", "2"],
    ),
    "texts of every kind": Odd(
        lambda: table(y=repeated(*TEXTS)), holds=lambda model, X: set(model.classes_) == set(TEXTS)
    ),
    "booleans": Odd(lambda: table(y=np.resize([True, False], N)), holds=lambda model, X: model.classes_.dtype == bool),
    "booleans with gaps": Odd(
        lambda: table(y=pd.array([True, False, None] * 8, "boolean")),
        holds=lambda model, X: [*model.classes_] == [False, True] and model.model_.record.n_rows == 16,
    ),
    "floats": Odd(
        lambda: table(y=np.resize([1.0, -2.0], N)), holds=lambda model, X: model.classes_.tolist() == [-2.0, 1.0]
    ),
    "floats with fractions": Odd(lambda: table(y=np.resize([1.0, 2.5], N)), says="continuous, for example 2.5"),
    "categories without rows": Odd(
        lambda: table(y=pd.Categorical(np.resize(["u", "w"], N), categories=["w", "never", "u"])),
        holds=lambda model, X: [*model.classes_] == ["u", "w"],
    ),
    "texts of pyarrow": Odd(
        lambda: table(y=arrow(["u", "w"] * 12, pa.string())), holds=lambda model, X: [*model.classes_] == ["u", "w"]
    ),
    "a rare class": Odd(
        lambda: table(y=["rare", *["u"] * (N - 1)]), holds=lambda model, X: [*model.classes_] == ["rare", "u"]
    ),
    "a class in one partition only": Odd(
        lambda: partitions(*cut(table(y=["rare", *["u", "v"] * 11, "v"]), 4, 20)),
        holds=lambda model, X: [*model.classes_] == ["rare", "u", "v"],
    ),
    "a class that validation lacks": Odd(
        lambda: table(y=np.resize(["u", "v", "w"], N)),
        fit={"eval_set": table(y=np.resize(["u", "v"], N))},
        holds=lambda model, X: np.isfinite(model.history_["validation_logloss"].iloc[-1]),
    ),
    "a class that training lacks": Odd(
        lambda: table(y=np.resize(["u", "v"], N)),
        fit={"eval_set": table(y=np.resize(["u", "v", "w"], N))},
        warns="8 rows of the validation table have labels that training never saw",
    ),
    "as many classes as rows": Odd(
        lambda: table(y=[f"c{k}" for k in range(N)]), holds=lambda model, X: len(model.classes_) == N
    ),
    "one class": Odd(lambda: table(y="u"), says="one class only, 'u'"),
    "one class and gaps": Odd(lambda: table(y=objects("u", None)), says="one class only, 'u'"),
    "texts beside numbers": Odd(lambda: table(y=objects("u", 1)), says="target 'y'.*for example 1 of type int"),
    "texts in one partition, numbers in the next": Odd(
        lambda: partitions(*cut(table(y="u"), 8)[:1], table(y=1)),
        says="labels of different types, 'u' of type str and 1 of type int",
    ),
    "dates": Odd(lambda: table(y=pd.to_datetime(np.resize(["2020", "2021"], N))), says="labels of type Timestamp"),
    "offsets": Odd(lambda: table(y=np.resize(["u", "v"], N)), fit={"offset": "a"}, says="offsets are for regression"),
}

ALL = [
    *((DeepLearningRegressor, NUMBERS, name) for name in NUMBERS),
    *((DeepLearningRegressor, SHAPES, name) for name in SHAPES),
    *((DeepLearningRegressor, TARGETS, name) for name in TARGETS),
    *((DeepLearningClassifier, CLASSES, name) for name in CLASSES),
]


@pytest.mark.parametrize("kind, catalogue, name", ALL, ids=[f"{kind.__name__[12:]}: {name}" for kind, _, name in ALL])
def test_odd_tables(kind, catalogue, name):
    odd = catalogue[name]
    X, y = odd.X(), odd.y() if callable(odd.y) else odd.y
    model = kind(**SMALL | odd.given)
    if odd.says:
        with pytest.raises(DaskDLError, match=f"(?s){odd.says}") as caught:
            model.fit(X, y, **odd.fit)
        assert len(str(caught.value)) < 400
        return
    if odd.warns:
        with pytest.warns(odd.category, match=odd.warns) as told:
            model.fit(X, y, **odd.fit)
        assert len(told) == 1
    else:
        model.fit(X, y, **odd.fit)
    if getattr(X, "ndim", 0) == 2 and not hasattr(X, "columns") and isinstance(y, int):
        X = np.delete(X, y, axis=1)
    if model.model_.record.offset_name is None:
        assert_predicts(model, X)
    assert odd.holds(model, X)


def assert_predicts(model, X):
    """One finite answer for every row."""
    n = len(X) if not isinstance(X, da.Array) else X.shape[0]
    (answers,) = dask.compute(model.predict(X))
    assert len(answers) == n
    if isinstance(model, DeepLearningClassifier):
        (shares,) = dask.compute(model.predict_proba(X))
        assert shares.shape == (n, len(model.classes_))
        np.testing.assert_allclose(np.asarray(shares).sum(axis=1), 1, atol=1e-6)
        assert set(answers) <= set(model.classes_)
    else:
        assert np.isfinite(answers).all()


# ---- tables to predict --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fitted():
    """Trained on numbers, texts, categories of integers, dates and booleans."""
    frame = mixed()
    return DeepLearningClassifier(**SMALL).fit(frame, np.resize(["u", "v"], N))


def mixed(**columns):
    return table(
        c=pd.Categorical(np.resize([1, 2, 10], N)),
        d=pd.date_range("2020", periods=N, freq="h"),
        b=np.resize([True, False, False], N),
    ).assign(**columns)


#: name: (what replaces columns, what it is the same as)
SAME = {
    "reordered": (lambda X: X[X.columns[::-1]], lambda X: X),
    "more columns": (lambda X: X.assign(z=[object()] * N, zz=1j), lambda X: X),
    "levels never seen are missing": (lambda X: X.assign(t="never"), lambda X: X.assign(t=None)),
    "categories never seen are missing": (
        lambda X: X.assign(t=pd.Categorical(["never"] * N)),
        lambda X: X.assign(t=None),
    ),
    "a missing number is the mean": (lambda X: X.assign(a=np.nan), lambda X: X.assign(a=X["a"].mean())),
    "a column without values": (lambda X: X.assign(a=None, t=np.nan), lambda X: X.assign(a=np.nan, t=None)),
    "integers for categories of integers": (lambda X: X.assign(c=X["c"].astype("int8")), lambda X: X),
    "floats for categories of integers": (lambda X: X.assign(c=X["c"].astype("float")), lambda X: X),
    "texts for categories of integers": (lambda X: X.assign(c=X["c"].astype("str")), lambda X: X),
    "other codes of the same categories": (
        lambda X: X.assign(t=pd.Categorical(X["t"], ["w", "x", "v", "u"])),
        lambda X: X,
    ),
    "a zone for dates without one": (
        lambda X: X.assign(d=X["d"].dt.tz_localize("UTC").dt.tz_convert("Asia/Tokyo")),
        lambda X: X,
    ),
    "dates of another unit": (lambda X: X.assign(d=X["d"].astype("datetime64[s]")), lambda X: X),
    "numbers for booleans": (lambda X: X.assign(b=X["b"].astype(float)), lambda X: X),
    "objects for booleans": (lambda X: X.assign(b=X["b"].astype(object)), lambda X: X),
    "integers for numbers": (lambda X: X.assign(a=3), lambda X: X.assign(a=3.0)),
    "a number where there were levels": (lambda X: X.assign(t=3), lambda X: X.assign(t=None)),
    "one row": (lambda X: X.iloc[[3]], lambda X: X.iloc[[3]].copy()),
    "no rows": (lambda X: X.iloc[:0], lambda X: X.iloc[:0]),
    "an index that repeats": (lambda X: X.set_axis([0] * N, axis=0), lambda X: X),
}


@pytest.mark.parametrize("how", ["pandas", "Dask"])
@pytest.mark.parametrize("name", SAME)
def test_odd_tables_to_predict(fitted, name, how):
    one, other = (make(mixed()) for make in SAME[name])
    if how == "Dask":
        one = partitions(one, one)
        other = pd.concat([other, other])
    same(fitted, one, other)


#: name: (what replaces columns, what is said)
WRONG = {
    "texts where there were numbers": (
        lambda X: X.assign(a="x"),
        "column 'a'.*was a number in training and is now str",
    ),
    "numbers as texts": (lambda X: X.assign(a=X["a"].astype(str)), "column 'a'.*was a number in training"),
    "texts where there were dates": (lambda X: X.assign(d="2020-01-01"), "column 'd'.*was a number in training"),
    "infinite": (lambda X: X.assign(a=np.inf), "column 'a'.*24 infinite values"),
    "lists": (lambda X: X.assign(a=[[1]] * N), r"column 'a'.*for example \[1\] of type list"),
    "lists where there were levels": (lambda X: X.assign(t=[[1]] * N), "column 't'.*unhashable.*to texts"),
    "two faults": (lambda X: X.assign(a="x", t=[b"x"] * N), "column 't'.*column 'a'"),
    "no known column": (lambda X: X.add_prefix("new "), "none of the columns of training"),
    "a name twice": (lambda X: pd.concat([X, X[["a"]]], axis=1), "several columns named 'a'"),
}


@pytest.mark.parametrize("how", ["pandas", "Dask"])
@pytest.mark.parametrize("name", WRONG)
def test_tables_to_predict_that_are_refused(fitted, name, how):
    make, says = WRONG[name]
    X = make(mixed())
    with pytest.raises(DaskDLError, match=f"(?s)the table to predict.*{says}|{says}"):
        dask.compute(fitted.predict_proba(partitions(X) if how == "Dask" else X))


def test_a_missing_column_is_warned_of(fitted):
    X = mixed()
    with pytest.warns(DaskDLWarning, match=r"lacks 2 columns of training, taken as missing: \['t', 'a'\]"):
        same(fitted, X.drop(columns=["t", "a"]), X.assign(t=None, a=np.nan))


@pytest.mark.parametrize(
    "labels", [TEXTS, [True, False], [1.0, -2.0], [2**62, -1], ["x" * 10**5, ""]], ids=lambda v: str(type(v[0]))
)
def test_odd_levels_and_labels_survive_a_file(tmp_path, labels):
    frame = table(t=repeated(*TEXTS), y=np.resize(np.array(labels, dtype=object), N)).rename(
        columns={"a": "a\n\U0001f600"}
    )
    model = DeepLearningClassifier(**SMALL).fit(frame, "y")
    model.save(tmp_path / "model.zip")
    again = load(tmp_path / "model.zip")
    assert [*again.classes_] == [*model.classes_] == sorted(labels)
    assert again.encoder_ == model.encoder_
    np.testing.assert_array_equal(again.predict(frame), model.predict(frame))
