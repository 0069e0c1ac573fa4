"""Affine map of encoded values: from the units in which rows are stored to those of another encoder (algorithm.md#views)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from dask_dl.state import padded

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from dask_dl.frame.encoder import Encoder
    from dask_dl.state import Rows


class Standardized(Protocol):
    """Numbers that are encoded as (x - shift) * factor: a head of numbers, as far as it concerns targets."""

    @property
    def shift(self) -> float:
        """Number that is encoded as 0."""

    @property
    def factor(self) -> float:
        """Units of the network in one of the target."""


class Line(NamedTuple):
    """z becomes scale * z + shift: of float64 numbers, or of arrays of them."""

    scale: Any = 1.0
    shift: Any = 0.0

    @classmethod
    def between(cls, stored: Iterable[Any], own: Iterable[Any]) -> Line:
        """Map from (x - shift) * factor with a stored shift and factor to that of other ones."""
        (their_shift, their_factor), (shift, factor) = stored, own
        return cls(np.divide(factor, their_factor), np.subtract(their_shift, shift) * factor)


@dataclass(frozen=True, eq=False)
class Affine:
    """Units of a view: how values of stored rows change before they train or are scored; None: not at all.

    A value z that the other encoder would have made of a cell is met to 2**-24 (5 |z| + 4 |d|), where d = `shift`: what the
    other encoder makes of a stored 0. That is half a unit in the last place for each rounding: of the stored value, of the
    scale and the shift, of product and sum, and of z itself. Weights are met to 2**-22 of their size. Missing numbers stay
    where the stored encoder put them, at the mean of its table.
    """

    scale: NDArray[np.float32] | None = None  #: (padded dense inputs,)
    shift: NDArray[np.float32] | None = None  #: (padded dense inputs,)
    entries: NDArray[np.float32] | None = None  #: (one-hot inputs,): scale of the entries of each; zeros stay zeros
    target: Line | None = None  #: of targets and offsets
    weight: float | None = None  #: factor

    @classmethod
    def between(
        cls,
        stored: Encoder,
        own: Encoder,
        targets: tuple[Standardized, Standardized] | None = None,
        mean_weights: tuple[float, float] = (1.0, 1.0),
    ) -> Affine | None:
        """The map from what is stored to what another encoder of the same columns and levels makes of the same rows.

        Parameters
        ----------
        stored, own : Encoder
            That of the stored rows, and the other one.
        targets : (Standardized, Standardized), optional
            Likewise the heads, where targets are numbers.
        mean_weights : (float, float)
            Likewise the mean weights, by which those of rows are divided.

        Returns
        -------
        Affine
            None where nothing changes.

        Raises
        ------
        ValueError
            When the encoders make different inputs of a table: of other columns, levels, codes or hashes.
        """
        if _layout(stored) != _layout(own):
            raise ValueError("the encoders have other columns or levels: encode the table again.")
        numbers = Line.between(_numbers(stored), _numbers(own))
        scale, shift, entries = np.ones(padded(own.n_dense)), np.zeros(padded(own.n_dense)), np.ones(own.n_onehot)
        first = 0 if own.is_sparse else len(own.numbers)
        if own.is_sparse:
            entries[own.n_level_inputs :] = numbers.scale
        else:
            scale[:first], shift[:first] = numbers
        scale[first : own.n_dense], shift[first : own.n_dense] = Line.between(_codes(stored), _codes(own))
        line = None
        if targets is not None:
            line = Line(*map(float, Line.between(*((head.shift, head.factor) for head in targets))))
        weight = mean_weights[0] / mean_weights[1]
        found = cls(
            scale.astype(np.float32) if (scale != 1).any() else None,
            shift.astype(np.float32) if shift.any() else None,
            entries.astype(np.float32) if (entries != 1).any() else None,
            line if line != Line() else None,
            weight if weight != 1 else None,
        )
        return found if any(part is not None for part in vars(found).values()) else None

    def apply(self, rows: Rows) -> Rows:
        """Rows in other units, of rows whose arrays nothing else uses: all but entries are changed in place."""
        if self.scale is not None:
            np.multiply(rows.dense, self.scale, out=rows.dense)
        if self.shift is not None:
            np.add(rows.dense, self.shift, out=rows.dense)
        if self.target is not None:
            for part in (rows.target, rows.offset):
                np.multiply(part, np.float32(self.target.scale), out=part)
                np.add(part, np.float32(self.target.shift), out=part)
        if self.weight is not None:
            np.multiply(rows.weight, np.float32(self.weight), out=rows.weight)
        if self.entries is None:
            return rows
        entries = rows.entries
        return rows._replace(entries=entries._replace(value=entries.value * self.entries[entries.slot]))


def _layout(encoder: Encoder) -> tuple[Any, ...]:
    """Everything by which the inputs of two encoders agree but for their units."""
    codes = [(code.name, code.levels, code.scheme, code.vector) for code in encoder.codes]
    numbers = [number.name for number in encoder.numbers]
    return encoder.categories, numbers, codes, encoder.hashing, encoder.is_sparse


def _numbers(encoder: Encoder) -> NDArray[np.float64]:
    """(2, numbers): shifts and factors."""
    return np.array([(number.shift, number.factor) for number in encoder.numbers]).reshape(-1, 2).T


def _codes(encoder: Encoder) -> NDArray[np.float64]:
    """(2, inputs of coded columns): shifts and factors."""
    found = [
        (mean, 1 / (deviation or 1.0)) if code.is_standardized else (0.0, 1.0)
        for code in encoder.codes
        for mean, deviation in zip(code.means, code.deviations, strict=True)
    ]
    return np.array(found).reshape(-1, 2).T
