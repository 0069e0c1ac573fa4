"""The JSON of a target."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any, Literal

from msgspec import Meta
from msgspec.structs import asdict

from dask_dl.checkpoint.codec import Document, Factor, Statistic
from dask_dl.checkpoint.plain import plain
from dask_dl.documents.encoder import check_different
from dask_dl.tasks import HEADS

if TYPE_CHECKING:
    from dask_dl.tasks.head import Head

#: Types of labels by the names that files have for them: JSON holds their values exactly.
LABEL_TYPES = {"str": str, "int": int, "float": float, "bool": bool}
#: Deviations between the mean of a target and 0; of more than 2**53, float64 would not tell the target from a constant.
MAX_LOCATION = 1e30
MISMATCH = "task, target and outputs of the network do not belong together"
#: A probability times this is still a number of the network's precision.
Correction = Annotated[float, Meta(ge=1e-30, le=1e30)]


class TargetDocument(Document):
    """Labels, or location and scale of a number, or neither. What early files do not know was not used then."""

    classes: tuple[str | int | float | bool, ...]
    types: tuple[Literal["str", "int", "float", "bool"], ...]
    shift: Statistic
    factor: Factor
    is_standardized: bool
    link: Literal["identity", "log"] = "identity"
    correction: tuple[Correction, ...] = ()
    threshold: Annotated[float, Meta(ge=0, le=1)] | None = None

    def __post_init__(self) -> None:
        labels = self.labels()
        check_different("labels", labels)
        if self.types != tuple(sorted({type(label).__name__ for label in labels})):
            raise ValueError(f"labels are not of the types {', '.join(self.types)}")
        if any(isinstance(label, float) and not math.isfinite(label) for label in labels):
            raise ValueError("labels are not finite")
        if not self.is_standardized and (self.shift, self.factor) != (0.0, 1.0):
            raise ValueError("a target that is not standardised has a mean or a deviation")
        if abs(self.shift * self.factor) > MAX_LOCATION:
            raise ValueError("the mean of the target is too far from 0 for its deviation")
        if self.is_standardized and (labels or self.link == "log"):
            raise ValueError("a standardised target has labels, or a logarithm")
        if len(labels) == 1 or (labels and self.link == "log"):
            raise ValueError("there is a single class, or classes have a logarithm")
        if self.correction and len(self.correction) != len(labels):
            raise ValueError("corrections of probabilities are not as many as classes")
        if self.threshold is not None and len(labels) != 2:
            raise ValueError("there is a threshold, and other than two classes")

    def labels(self) -> tuple[Any, ...]:
        """Return the classes in their type: JSON may have written 1.0 as 1, which the name of the type tells."""
        if self.types != ("float",):
            return self.classes
        return tuple(float(label) if type(label) is int else label for label in self.classes)

    def to_json(self) -> dict[str, Any]:
        """Return the target as `Head.to_json` gives it."""
        document: dict[str, Any] = plain(asdict(self) | {"classes": self.labels()})
        return document

    def head(self, task: str) -> Head:
        """Return the head of a task. Raises ValueError when the target is that of another."""
        document = self.to_json()
        head = HEADS[task].from_json(document)
        if plain(head.to_json()) != document:
            raise ValueError(MISMATCH)
        return head
