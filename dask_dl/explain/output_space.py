"""Spaces in which contributions add up: the margins and values that are explained (algorithm.md#margins)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from dask_dl.errors import ParameterError
from dask_dl.kernels.multipliers import Explained, Passed
from dask_dl.state import padded

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dask_dl.state import Rows
    from dask_dl.tasks.head import Head

Output = Literal["margin", "response"]
#: Places on the line between two rows at which the gradient of softmax is computed.
N_NODES = 16


@dataclass(frozen=True, eq=False)
class OutputSpace:
    """The values that are explained: margins, which are linear in the sums of the output, or answers as users see them."""

    head: Head
    is_response: bool
    chosen: tuple[int, ...]  #: classes whose values are explained; none of a number

    @classmethod
    def of(cls, head: Head, output: Any, label: Any) -> OutputSpace:
        """Space of a model's answers: of a class, by default the second of two, or all. Raises ParameterError."""
        if output not in {"margin", "response"}:
            raise ParameterError(f"output={output!r}: give 'margin' or 'response'.")
        n = len(head.classes)
        if label is None:
            return cls(head, output == "response", () if not n else (1,) if n == 2 else tuple(range(n)))
        if label not in head.classes:
            has = f"its classes are {list(head.classes[:20])}" if n else "it predicts numbers"
            raise ParameterError(f"label={label!r} is no class of the model: {has}.")
        return cls(head, output == "response", (head.classes.index(label),))

    @property
    def n(self) -> int:
        """Number of values."""
        return max(1, len(self.chosen))

    @property
    def labels(self) -> list[str]:
        """Names of the classes that are explained."""
        return [str(self.head.classes[k]) for k in self.chosen]

    def title(self, k: int | None = None) -> str:
        """Words for value number k; None: for all of them."""
        if not self.chosen:
            is_log = self.head.link == "log" and not self.is_response
            return "the logarithm of the prediction" if is_log else "the prediction"
        of = f"{len(self.chosen)} classes" if k is None and self.n > 1 else self.labels[k or 0]
        if self.is_response:
            return f"the probability of {of}"
        return f"the {'log-odds' if len(self.head.classes) == 2 else 'margin'} of {of}"

    @property
    def n_nodes(self) -> int:
        """Nodes of softmax; 0 where no softmax is explained: of two classes it is a function of one margin."""
        return N_NODES if self.is_response and len(self.head.classes) > 2 else 0

    @cached_property
    def explained(self) -> Explained:
        """The values as kernels know them."""
        places, parts = np.polynomial.legendre.leggauss(N_NODES)
        q = slice(self.n_nodes)
        directions = np.zeros((self.n, padded(self._directions.shape[1])), np.float32)
        directions[:, : self._directions.shape[1]] = self._directions
        return Explained(directions, np.array(self.chosen, np.int64), (places[q] + 1) / 2, parts[q] / 2)

    @cached_property
    def _directions(self) -> NDArray[np.float64]:
        """(O, outputs): margins by the output's sums."""
        n = len(self.head.classes)
        if not n:
            numbers = self.head.numbers
            assert numbers is not None, "what has no classes is a number"
            return np.array([[1.0 if self.head.link == "log" else 1 / numbers.factor]])
        directions = np.eye(n) - (0.5 if n == 2 else 1 / n)
        return (2 if n == 2 else 1) * directions[list(self.chosen)]

    def passed(self, rows: Rows, sums: NDArray[np.float32], acts: NDArray[np.float32], width: int) -> Passed:
        """Rows with what is explained of them, for kernels.

        Parameters
        ----------
        rows : Rows
            n rows.
        sums, acts : (.., ) float32
            As `kernels.contributions.pass_rows` leaves them.
        width : int
            Length of the output's vectors.

        Returns
        -------
        Passed
        """
        n, n_outputs = rows.n, self._directions.shape[1]
        end = len(sums) // max(n, 1) * n
        z = sums[end - n * width : end].reshape(n, width)[:, :n_outputs].astype(np.float64)
        if len(rows.offset):
            z += rows.offset[:, None]
        margins, values, slopes = self._of_numbers(z) if not self.head.classes else self._of_classes(z)
        logits = z if self.n_nodes else np.zeros((n, 0))
        return Passed(rows, n, sums, acts, logits, margins, values, slopes)

    def _of_numbers(self, z: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
        """(margins, values, slopes) of numbers."""
        answers = self.head.answers(z.astype(np.float32))[:, None]
        if self.head.link != "log":
            return answers, answers, np.ones_like(answers)
        return (z, answers, answers) if self.is_response else (z, z, np.ones_like(z))

    def _of_classes(self, z: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
        """(margins, values, slopes) of classes; `z` becomes the logarithms of probabilities, up to a constant of the row."""
        if self.head.correction:
            z += np.log(self.head.correction)
        margins = z @ self._directions.T
        if not self.is_response:
            return margins, margins, np.ones_like(margins)
        p = np.exp(z - z.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        values = p[:, list(self.chosen)]
        return margins, values, values * (1 - values)
