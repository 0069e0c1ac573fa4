"""The scikit-learn face: estimators for classes and for numbers, over pandas, NumPy and Dask."""

from __future__ import annotations

from dask_dl.estimators.dataset import Dataset
from dask_dl.estimators.preparing import prepare
from dask_dl.estimators.supervised import DeepLearningClassifier, DeepLearningRegressor, load

__all__ = ["Dataset", "DeepLearningClassifier", "DeepLearningRegressor", "load", "prepare"]
