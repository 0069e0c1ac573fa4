"""Measurements in files: their figures in JSON, what is long in arrays."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from msgspec import Meta

from dask_dl.checkpoint.codec import Document
from dask_dl.distribution import Residuals
from dask_dl.errors import ArchiveError
from dask_dl.metrics.classes import ClassErrors, ClassScores, Ranks
from dask_dl.metrics.measurement import MAX_CONFUSION_CLASSES, Confusion, HuberLoss, Means, Measurement, Spread
from dask_dl.metrics.sample import MAX_SAMPLE, RowSample
from dask_dl.metrics.scores import CLASS_BITS, MAX_SCORES, ScoreDistribution
from dask_dl.metrics.table import AVERAGES, MAX_CURVE_CLASSES, MAX_RANK

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[Any]]

#: JSON has no NaN and no infinity: they are None and a word.
Number = float | None | Literal["infinity"]
Name = Annotated[str, Meta(max_length=40)]
Weight = Annotated[float, Meta(gt=0, le=1e300)]
Level = Annotated[int, Meta(ge=0, le=40)]
#: Codes of a distribution, at most.
Limit = Annotated[int, Meta(ge=1, le=2 * MAX_SCORES)]


class MeasurementDocument(Document):
    """Everything of a measurement beside its arrays, which say by their presence what was measured."""

    weight: Weight
    means: Annotated[dict[Name, Number], Meta(max_length=20)]
    center: Number
    m2: Number
    scores: tuple[Level, Limit] | None = None  #: bits that were dropped, and codes to keep
    class_scores: Annotated[tuple[tuple[Level, Limit], ...], Meta(max_length=MAX_CURVE_CLASSES)] = ()
    average: Literal[AVERAGES] = AVERAGES[0]  # type: ignore[valid-type]  # the names
    huber_alpha: Annotated[float, Meta(ge=0, le=1)] | None = None


def to_document(measured: Measurement) -> dict[str, Any]:
    """JSON of a measurement; `arrays_of` has the rest of it. A user's own metric is in the history only."""
    scores, several, huber = measured.scores, measured.class_scores, measured.huber
    return {
        "weight": measured.means.weight,
        "means": dict(measured.means.values),
        "center": measured.spread.center,
        "m2": measured.spread.m2,
        "scores": None if scores is None else [scores.level, scores.limit],
        "class_scores": [] if several is None else [[s.level, s.limit] for s in several.distributions],
        "average": AVERAGES[0] if several is None else several.average,
        "huber_alpha": None if huber is None else huber.alpha,
    }


def arrays_of(measured: Measurement) -> dict[str, NDArray[Any]]:
    """Arrays of a measurement, by name."""
    found: dict[str, Any] = {}
    if measured.confusion is not None:
        found["confusion"] = measured.confusion.matrix
    if measured.errors is not None:
        found["errors"] = np.stack(measured.errors)
    if measured.ranks is not None:
        found["ranks"] = np.append(measured.ranks.weights, measured.ranks.total)
    if measured.sample is not None:
        found["sample"] = np.stack(measured.sample)
    if measured.huber is not None:
        found["residuals"] = np.stack([measured.huber.residuals.values, measured.huber.residuals.weights])
    distributions = {} if measured.scores is None else {"scores": measured.scores}
    if measured.class_scores is not None:
        distributions |= {f"scores/{k}": s for k, s in enumerate(measured.class_scores.distributions)}
    for name, scores in distributions.items():
        found[f"{name}/codes"], found[f"{name}/weights"] = scores.codes, scores.weights
    return found


def measurement_of(document: MeasurementDocument, arrays: Arrays, n_classes: int, where: str) -> Measurement:
    """Measurement that a file holds.

    Parameters
    ----------
    document : MeasurementDocument
    arrays : mapping of str to ndarray
        Arrays of this measurement, by name.
    n_classes : int
        Classes of the problem, 0 for numbers.
    where : str
        File and table, for errors.

    Returns
    -------
    Measurement

    Raises
    ------
    ArchiveError
        When an array is not of its form, or belongs to nothing.
    """
    k, left = n_classes, dict(arrays)

    def take(name: str, *shape: int | None) -> NDArray[Any] | None:
        """An array of weights or figures, None where there is none; None in a shape is any length."""
        array = left.pop(name, None)
        if array is None:
            return None
        fits = array.ndim == len(shape) and all(n in {None, m} for n, m in zip(shape, array.shape, strict=True))
        if not fits or array.dtype != np.float64 or np.isnan(array).any():
            raise ArchiveError(f"{where}: the array {name!r} is {array.dtype} of shape {array.shape}, or holds NaN.")
        return array

    def weights(name: str, *shape: int | None) -> NDArray[Any] | None:
        array = take(name, *shape)
        if array is not None and not (np.isfinite(array).all() and (array >= 0).all()):
            raise ArchiveError(f"{where}: the array {name!r} holds what cannot be weights.")
        return array

    def distribution(name: str, level: int, limit: int) -> ScoreDistribution:
        codes, sums = left.pop(f"{name}/codes", None), weights(f"{name}/weights", None)
        if codes is None or sums is None or codes.dtype != np.uint64 or codes.shape != sums.shape or len(codes) > limit:
            raise ArchiveError(f"{where}: the arrays of {name!r} are missing, or do not fit together.")
        high, classes = codes >> np.uint64(CLASS_BITS), codes & np.uint64(2**CLASS_BITS - 1)
        if (codes[1:] <= codes[:-1]).any() or (high > 2 * 0x3F000000).any() or (classes >= max(k, 2)).any():
            raise ArchiveError(f"{where}: the array '{name}/codes' does not hold scores and classes in their order.")
        return ScoreDistribution(codes, sums, level, limit)

    confusion, errors = weights("confusion", k, k), weights("errors", 2, k)
    ranks, sample, residuals = weights("ranks", None), take("sample", 2, None), weights("residuals", 2, None)
    if ranks is not None and len(ranks) != min(k, MAX_RANK) + 1:
        raise ArchiveError(f"{where}: the array 'ranks' does not suit {k} classes.")
    if sample is not None and sample.shape[1] > MAX_SAMPLE:
        raise ArchiveError(f"{where}: the array 'sample' has more than {MAX_SAMPLE:,} rows.")
    if (confusion is not None and k > MAX_CONFUSION_CLASSES) or len(document.class_scores) not in {0, k}:
        raise ArchiveError(f"{where}: there are figures of other than {k} classes.")
    several = [distribution(f"scores/{i}", *of) for i, of in enumerate(document.class_scores)]
    huber = None
    if residuals is not None and document.huber_alpha is not None:
        if not residuals.size or not residuals[1].any():
            raise ArchiveError(f"{where}: the array 'residuals' has no rows.")
        huber = HuberLoss(Residuals(residuals[0], residuals[1]), document.huber_alpha)
    found = Measurement(
        Means(document.weight, {name: number(value) for name, value in document.means.items()}),
        Spread(document.weight, number(document.center), number(document.m2)),
        confusion=None if confusion is None else Confusion(confusion),
        errors=None if errors is None else ClassErrors(*errors),
        scores=None if document.scores is None else distribution("scores", *document.scores),
        ranks=None if ranks is None else Ranks(ranks[:-1], float(ranks[-1])),
        class_scores=ClassScores(tuple(several), document.average) if several else None,
        huber=huber,
        sample=None if sample is None else RowSample(*sample),
    )
    if left:
        raise ArchiveError(f"{where}: {len(left)} arrays belong to nothing, such as {min(left)!r}.")
    return found


def number(value: Number) -> float:
    """Return a figure as a float."""
    return math.nan if value is None else math.inf if value == "infinity" else float(value)
