"""Multi-layer perceptrons for tables of any size, on Dask, with Numba kernels.

Names are loaded when first used, so that `import dask_dl` costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dask_dl.estimators import (
        Dataset,
        DeepLearningAutoEncoder,
        DeepLearningClassifier,
        DeepLearningRegressor,
        GridSearch,
        load,
        prepare,
        search,
        stacked_autoencoder,
    )
    from dask_dl.preflight import check

__version__ = "0.1.0"

_LAZY = {
    "Dataset": "dask_dl.estimators",
    "DeepLearningAutoEncoder": "dask_dl.estimators",
    "DeepLearningClassifier": "dask_dl.estimators",
    "DeepLearningRegressor": "dask_dl.estimators",
    "GridSearch": "dask_dl.estimators",
    "check": "dask_dl.preflight",
    "load": "dask_dl.estimators",
    "prepare": "dask_dl.estimators",
    "search": "dask_dl.estimators",
    "stacked_autoencoder": "dask_dl.estimators",
}

__all__ = [
    "Dataset",
    "DeepLearningAutoEncoder",
    "DeepLearningClassifier",
    "DeepLearningRegressor",
    "GridSearch",
    "__version__",
    "check",
    "load",
    "prepare",
    "search",
    "stacked_autoencoder",
]


def __getattr__(name: str) -> object:
    if name in _LAZY:
        import importlib

        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__]
