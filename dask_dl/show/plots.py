"""Pictures of a training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from dask_dl.errors import ParameterError

if TYPE_CHECKING:
    from dask_dl.score.history import History


def check_picture(path: str) -> None:
    """Raise ParameterError where a picture of that name could not be drawn."""
    try:
        from matplotlib.backend_bases import FigureCanvasBase
    except ImportError as error:
        raise ParameterError('pictures need matplotlib: pip install "dask_dl[plots]".') from error
    kinds = FigureCanvasBase.get_supported_filetypes()
    if Path(path).suffix.lstrip(".") not in kinds:
        raise ParameterError(
            f"{path!r} ends in none of {', '.join(sorted(kinds))}, the kinds of picture that can be written."
        )


def plot_history(history: History, ax: Any = None) -> Any:
    """Loss against epochs, training and validation, the best event marked; returns the matplotlib axes."""
    if ax is None:
        from matplotlib import pyplot as plt

        _, ax = plt.subplots(figsize=(7, 4), layout="constrained")
    loss = history.loss_column.removeprefix("validation_").removeprefix("training_")
    frame = history.to_pandas()
    for name in ("training", "validation"):
        column = f"{name}_{loss}"
        if column in frame:
            ax.plot(frame["epochs"], frame[column], marker="o", markersize=3, label=name)
    best = history.best
    if best is not None:
        x, y = best["epochs"], best[history.loss_column]
        ax.plot(
            x, y, marker="o", markersize=10, fillstyle="none", color="black", linestyle="none", label=f"best: {y:.4g}"
        )
    ax.set_xlabel("epochs")
    ax.set_ylabel(loss)
    ax.set_ylim(bottom=0 if history.task == "classification" else None)
    ax.grid(visible=True, alpha=0.3)
    ax.legend()
    return ax
