"""Pictures of a training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dask_dl.score.history import History


def plot_history(history: History, ax: Any = None) -> Any:
    """Loss against epochs, training and validation, the best event marked; returns the matplotlib axes."""
    from matplotlib import pyplot as plt

    if ax is None:
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
