"""The scikit-learn face: estimators for classes, for numbers and for inputs alone, over pandas, NumPy and Dask."""

from __future__ import annotations

from dask_dl.estimators.autoencoder import DeepLearningAutoEncoder
from dask_dl.estimators.dataset import Dataset
from dask_dl.estimators.loading import load
from dask_dl.estimators.preparing import prepare
from dask_dl.estimators.searching import GridSearch, search
from dask_dl.estimators.stacking import stacked_autoencoder
from dask_dl.estimators.supervised import DeepLearningClassifier, DeepLearningRegressor

__all__ = [
    "Dataset",
    "DeepLearningAutoEncoder",
    "DeepLearningClassifier",
    "DeepLearningRegressor",
    "GridSearch",
    "load",
    "prepare",
    "search",
    "stacked_autoencoder",
]
