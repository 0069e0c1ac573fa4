"""Reading of saved models as estimators."""

from __future__ import annotations

import os

from dask_dl.errors import ArchiveError
from dask_dl.estimators.autoencoder import DeepLearningAutoEncoder
from dask_dl.estimators.going_on import model_of
from dask_dl.estimators.supervised import DeepLearningClassifier, DeepLearningRegressor

#: Estimators by the name of their task.
ESTIMATORS: dict[str, type[DeepLearningClassifier | DeepLearningRegressor | DeepLearningAutoEncoder]] = {
    "classification": DeepLearningClassifier,
    "regression": DeepLearningRegressor,
    "autoencoder": DeepLearningAutoEncoder,
}


def load(path: str | os.PathLike[str]) -> DeepLearningClassifier | DeepLearningRegressor | DeepLearningAutoEncoder:
    """Read a model that `save` wrote, or a MOJO of H2O's Deep Learning. No code in the file is run.

    Parameters
    ----------
    path : str or path-like
        A local path or an fsspec URL.

    Returns
    -------
    DeepLearningClassifier, DeepLearningRegressor or DeepLearningAutoEncoder
        Fitted, as it was saved. A MOJO has no history, no metrics and no state of the optimizer.

    Raises
    ------
    ArchiveError
        When the file is truncated, damaged, foreign or newer than this version, or a MOJO that cannot be expressed.
    FileNotFoundError
    """
    model = model_of(os.fspath(path))
    if model.task not in ESTIMATORS:
        raise ArchiveError(f"{path} holds a model of the task {model.task!r}, for which this version has no estimator.")
    kind = ESTIMATORS[model.task]
    estimator = kind._unjudged({**model.record.requested, "client": None})  # noqa: SLF001  # its own constructor, in a way
    estimator.model_ = model
    estimator._set_names(has_names=model.record.is_named)  # noqa: SLF001  # its own constructor, in a way
    return estimator
