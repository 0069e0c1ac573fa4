"""Reasons of a model's answers to a table: frames, pictures, and a page of them."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dask_dl.show.dependence_plots import plot_partial_dependence
from dask_dl.show.evaluation_page import page
from dask_dl.show.importance_plots import plot_importances
from dask_dl.show.residual_plots import plot_residuals

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    import pandas as pd

#: Bars in a picture.
MAX_BARS = 20


@dataclass(frozen=True, eq=False)
class Explanation:
    """Reasons that `explain` found. A notebook shows it as pictures and tables; `report` writes them as a page of HTML."""

    label: str  #: name of the table
    importances: pd.DataFrame  #: of columns, by the weights: as `importances()` returns them
    permutation: pd.DataFrame | None  #: as `permutation_importance` returns it; None: no target is known
    contributions: pd.Series[Any]  #: mean size of each column's contribution, the largest first
    sample: str  #: words on which rows `contributions` and `residuals` are of; "": all
    dependence: Sequence[Any]  #: as `partial_dependence` returns them, of the most important columns
    residuals: pd.DataFrame | None  #: as `residuals` returns them; None: of classes, or no target is known
    layers: pd.DataFrame  #: `layer_summary_`
    warnings: Sequence[str] = field(default=())  #: `layer_warnings_`

    def tables(self) -> dict[str, pd.DataFrame]:
        """Tables by their headings."""
        found = {} if self.permutation is None else {"Importances by permutation": self.permutation}
        found["Contributions"] = self.contributions.to_frame("mean size")
        return found | {"Importances by the weights": self.importances, "Layers": self.layers}

    def pictures(self) -> dict[str, tuple[Callable[[Any], object], tuple[float, float]]]:
        """Functions that draw on matplotlib axes, and inches, by heading."""
        found: dict[str, tuple[Callable[[Any], object], tuple[float, float]]] = {}

        def bars(heading: str, values: pd.Series[Any], label: str, deviations: pd.Series[Any] | None = None) -> None:
            size = 7.0, 1 + 0.26 * max(3, min(MAX_BARS, len(values)))
            found[heading] = (lambda ax: plot_importances(values, deviations, label, MAX_BARS, ax)), size

        if self.permutation is not None:
            label = f"{self.permutation.attrs['metric']}: how much worse when the column is shuffled"
            bars("What the columns are worth", self.permutation["importance"], label, self.permutation["deviation"])
        bars("How much they move the answers", self.contributions, "mean size of the contributions")
        for result in self.dependence:
            heading = f"How answers move with {' and '.join(map(str, result.columns))}"
            found[heading] = functools.partial(_draw, result), (7.0, 3.6)
        if self.residuals is not None:
            rows = self.residuals
            found["What is missed"] = (lambda ax: plot_residuals(rows, "predicted", self.sample, ax)), (7.0, 3.6)
        return found

    def report(self, path: str | os.PathLike[str]) -> None:
        """Write one page of HTML, which needs nothing else, to a local file; one that exists is replaced."""
        Path(path).write_text(self._html(f"Explanation of {self.label}"), encoding="utf-8")

    def _repr_html_(self) -> str:
        return self._html("")

    def _html(self, title: str) -> str:
        figures: dict[str, Any] = {}
        if self.permutation is not None:
            figures[str(self.permutation.attrs["metric"])] = self.permutation.attrs["value"]
        notes = [*self.warnings, *([f"Contributions are of {self.sample}."] if self.sample else ())]
        return page(title, f"Reasons of answers to {self.label}", figures, None, self.tables(), self.pictures(), notes)


def _draw(result: Any, ax: Any) -> object:
    return plot_partial_dependence([result], ax=ax)
