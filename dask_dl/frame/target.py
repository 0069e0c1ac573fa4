"""Interface of what makes numbers of a target, and the order of labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from dask_dl.frame.row_roles import RowRoles, TargetKind


class TargetEncoder(Protocol):
    """Encoder of the targets and offsets of a table: a head, as far as it concerns rows (algorithm.md#targets)."""

    target_kind: ClassVar[TargetKind]

    def encode(self, roles: RowRoles) -> NDArray[np.float64]:
        """Targets of n rows in the units of the network: (n,), NaN for a label that was never seen."""

    def offsets(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Offsets in the units of the output's pre-activation: algorithm.md#offsets."""

    def has_unseen(self, labels: Mapping[Any, int]) -> bool:
        """Whether any of these labels was never seen in training."""


def sorted_labels(classes: Mapping[Any, int]) -> list[Any]:
    """Labels in order; labels of mixed types by type first."""
    try:
        return sorted(classes)
    except TypeError:
        return sorted(classes, key=lambda label: (type(label).__name__, label))
