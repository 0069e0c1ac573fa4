"""The JSON of an encoder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from msgspec import Meta
from msgspec.structs import asdict

from dask_dl.checkpoint.codec import Deviation, Document, Factor, Statistic
from dask_dl.frame.categorical import CodedColumn, OneHotColumn
from dask_dl.frame.encoder import Encoder, Number
from dask_dl.frame.hashing import Hashing

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Inputs are numbered in 32 bits.
MAX_INPUTS = 2**31 - 1
FLOAT32_MAX = float(np.finfo(np.float32).max)
#: A factor is 1 / deviation up to rounding ...
ROUNDING = 1e-12
#: ... or, of an autoencoder, 1 / range: no deviation is more than the range over the square root of 2, that of two numbers.
MAX_OF_RANGE = 0.5**0.5 + ROUNDING


def check_different(what: str, values: Sequence[object]) -> None:
    """Refuse values that repeat. Raises ValueError."""
    if len(set(values)) < len(values):
        raise ValueError(f"{what} repeat")


#: Deviations between the value of missing numbers, which is the mean of a table, and the mean of a part of it.
MAX_DISTANCE = 1e3


class NumberDocument(Document):
    """A numeric column, as early files have it."""

    name: str
    fill: Statistic
    shift: Statistic
    factor: Factor
    deviation: Deviation | None = None

    def __post_init__(self) -> None:
        # The model of a fold has its own means, and missing values are where they were stored.
        is_near = abs(self.shift - self.fill) * self.factor <= MAX_DISTANCE
        if self.shift != 0.0 and not is_near:
            raise ValueError(f"column {self.name!r} is centred at {self.shift}, which is not its mean")
        scale = 1 / (self.deviation or 1.0)
        is_ranged = self.factor <= scale * MAX_OF_RANGE
        if (
            not (self.deviation is None or self.factor == 1 or is_ranged)
            and abs(self.factor - scale) > ROUNDING * scale
        ):
            raise ValueError(
                f"column {self.name!r} is multiplied by {self.factor}, and its deviation is {self.deviation}"
            )
        if abs((self.fill - self.shift) * self.factor) > FLOAT32_MAX:
            raise ValueError(f"the mean of column {self.name!r} is too large for the network")


class NumbersDocument(Document):
    """All numeric columns, figure by figure."""

    name: tuple[str, ...]
    fill: tuple[Statistic, ...]
    shift: tuple[Statistic, ...]
    factor: tuple[Factor, ...]
    deviation: tuple[Deviation | None, ...]

    def one_by_one(self) -> tuple[NumberDocument, ...]:
        """Return the columns. Raises ValueError."""
        columns = asdict(self)
        if len({len(figures) for figures in columns.values()}) > 1:
            raise ValueError("numeric columns have different numbers of names and figures")
        return tuple(
            NumberDocument(**dict(zip(columns, figures, strict=True)))
            for figures in zip(*columns.values(), strict=True)
        )


class CategoryDocument(Document):
    """A categorical column with an input for each level."""

    name: str
    levels: tuple[str, ...]
    keeps_first: bool
    has_others: bool = False

    def __post_init__(self) -> None:
        check_different(f"levels of column {self.name!r}", self.levels)


class CodeDocument(Document):
    """A categorical column as numbers."""

    name: str
    levels: Annotated[tuple[str, ...], Meta(min_length=1)]
    scheme: Literal["label_encoder", "binary", "eigen"]
    means: tuple[Statistic, ...]
    deviations: tuple[Deviation, ...]
    is_standardized: bool
    vector: tuple[Statistic, ...] = ()

    def __post_init__(self) -> None:
        check_different(f"levels of column {self.name!r}", self.levels)
        width = len(self.levels).bit_length() if self.scheme == "binary" else 1
        n_numbers = len(self.levels) if self.scheme == "eigen" else 0
        if (len(self.means), len(self.deviations), len(self.vector)) != (width, width, n_numbers):
            raise ValueError(f"column {self.name!r} does not have a mean and a deviation for each of its inputs")
        ends = {"binary": (0, 1), "label_encoder": (0, len(self.levels) - 1), "eigen": self.vector}[self.scheme]
        for mean, deviation in zip(self.means, self.deviations, strict=True):
            shift, scale = (mean, deviation or 1.0) if self.is_standardized else (0.0, 1.0)
            if any(abs(number - shift) > FLOAT32_MAX * scale for number in (min(ends), max(ends), mean)):
                raise ValueError(f"numbers for the levels of column {self.name!r} are too large for the network")


class HashingDocument(Document):
    """Levels that share inputs."""

    n_inputs: Annotated[int, Meta(ge=1, le=MAX_INPUTS)]
    seed: Annotated[int, Meta(ge=0, lt=2**32)]


class EncoderDocument(Document):
    """Columns and their inputs. What early files do not know was not used then."""

    categories: tuple[CategoryDocument, ...]
    numbers: NumbersDocument | tuple[NumberDocument, ...]
    codes: tuple[CodeDocument, ...] = ()
    hashing: HashingDocument | None = None
    is_sparse: bool = False

    def __post_init__(self) -> None:
        encoder = self.encoder()
        check_different("names of columns", encoder.columns)
        n_levels = sum(category.width for category in encoder.categories)
        if max(n_levels, encoder.n_onehot + encoder.n_dense) > MAX_INPUTS:
            raise ValueError("columns have more inputs than can be numbered")
        if encoder.hashing and encoder.hashing.n_inputs >= n_levels:
            raise ValueError("levels are hashed to more inputs than they have")

    def encoder(self) -> Encoder:
        """Return the encoder."""
        numbers = self.numbers.one_by_one() if isinstance(self.numbers, NumbersDocument) else self.numbers
        return Encoder(
            tuple(OneHotColumn(**asdict(category)) for category in self.categories),
            tuple(Number(**asdict(number)) for number in numbers),
            tuple(CodedColumn(**asdict(code)) for code in self.codes),
            Hashing(**asdict(self.hashing)) if self.hashing else None,
            self.is_sparse,
        )


def check_columns(encoder: EncoderDocument, columns: Sequence[str]) -> None:
    """Refuse an encoder of other columns than those of the training table. Raises ValueError."""
    check_different("names of columns", columns)
    if strange := set(encoder.encoder().columns) - set(columns):
        raise ValueError(f"column {min(strange)[:60]!r} is not among those of the table")
