"""Going on from a model: what `checkpoint`, `warm_start` and `partial_fit` mean; and files of finished models."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dask_dl.errors import ArchiveError, ParameterError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dask_dl.events import Listeners
    from dask_dl.frame.source import Source
    from dask_dl.model import Model

#: What a call of `partial_fit` is beside one epoch: the last network is the model, and nothing but its rows ends it.
ONE_PASS: Mapping[str, Any] = {
    "epochs": 1.0, "overwrite_with_best_model": False, "stopping_rounds": 0, "classification_stop": -1.0,
    "regression_stop": -1.0, "checkpoint_dir": None,
}  # fmt: skip


class GoingOn(NamedTuple):
    """Model from which a training goes on, and how far; by default there is none."""

    model: Model | None = None
    adds: float | None = None  #: epochs beyond those of the model; None: as many in all as the parameter says
    overrides: Mapping[str, Any] = {}  # parameters of this training alone; nobody changes it
    classes: Sequence[Any] = ()  #: labels that the table may not have yet
    more_follow: bool = False  #: whether further calls are expected


def model_of(given: Any, name: str = "checkpoint") -> Model:
    """The model that a parameter gives: that of a fitted estimator, itself, or that of a file, also a MOJO.

    Raises ParameterError for anything else; ArchiveError and FileNotFoundError for a file that is none.
    """
    from dask_dl.model import Model

    if isinstance(given, Model):
        return given
    if isinstance(given, (str, os.PathLike)):
        return _read(given)
    model = getattr(given, "model_", None)
    if isinstance(model, Model):
        return model
    unfitted = " that is not fitted" if hasattr(given, "fit") else ""
    raise ParameterError(
        f"{name} is a {type(given).__name__}{unfitted}: give a fitted estimator, or the path or URL of a saved model."
    )


def _read(path: str | os.PathLike[str]) -> Model:
    """Model in a file of ours or, if it is none, of H2O's. Raises ArchiveError, FileNotFoundError."""
    from dask_dl.export.mojo_archive import is_mojo
    from dask_dl.export.mojo_reader import read_mojo
    from dask_dl.model.files import load_model

    try:
        return load_model(path)
    except ArchiveError:
        if not is_mojo(path):
            raise
    return read_mojo(path)


def autoencoder_of(given: Any) -> Model | None:
    """The autoencoder with whose hidden layers a network begins, of what `model_of` takes; None: there is none.

    Raises ParameterError for a model of another task, and for a clone of scikit-learn's, which is not fitted.
    """
    if given is None:
        return None
    if hasattr(given, "fit") and not hasattr(given, "model_"):
        raise ParameterError(
            f"pretrained_autoencoder is a {type(given).__name__} that is not fitted. Fit it; where scikit-learn makes clones, "
            f"as in searches, wrap it in sklearn.frozen.FrozenEstimator, or give the path of a saved model."
        )
    model = model_of(given, "pretrained_autoencoder")
    if model.task != "autoencoder":
        raise ParameterError(f"pretrained_autoencoder learned a {model.task}: give a DeepLearningAutoEncoder.")
    return model


def check_one_pass(requested: Mapping[str, Any]) -> None:
    """Refuse parameters that `partial_fit` cannot follow, as it does not know what rows are to come. Raises ParameterError."""
    if requested["balance_classes"]:
        raise ParameterError(
            "balance_classes=True: partial_fit does not know how many rows of each class are to come. Give weights instead."
        )
    if requested["nfolds"]:
        raise ParameterError("nfolds: partial_fit makes no folds, as it does not know the rows to come. Leave it 0.")


def labels_of(classes: Any, model: Model | None) -> tuple[Any, ...]:
    """Labels that are given to `partial_fit`, empty for None. Raises ParameterError where the model has others."""
    if classes is None:
        return ()
    values = np.asarray(classes)
    if values.ndim != 1 or not len(values):
        raise ParameterError("classes: give a list of all labels that there are, such as np.unique(y).")
    labels = tuple(values.tolist())
    if model is not None and set(labels) != set(model.head.classes):
        raise ParameterError(
            f"classes={list(labels)[:8]}, and the first call had {list(model.head.classes)[:8]}: they cannot change. Leave "
            f"classes out."
        )
    return labels


def kept_columns(model: Model | None, X: Any) -> Sequence[str] | None:
    """Columns of a table that are predictors, where training goes on with it; None: all without another part.

    Raises ParameterError where columns have names and had none, or the other way round.
    """
    if model is None:
        return None
    is_named = hasattr(X, "columns") or not (hasattr(X, "shape") or isinstance(X, (list, tuple)))
    if is_named != model.record.is_named:
        then, now = ("with", "without") if model.record.is_named else ("without", "with")
        raise ParameterError(
            f"checkpoint: the model was trained on a table {then} names of columns, and X is one {now}. Give it as it was."
        )
    return model.record.feature_names if is_named else None


def check_source(model: Model | None, source: Source, called: str) -> None:
    """Whether a table without names has as many columns as the model was trained on. Raises SchemaError."""
    if model is not None and not source.is_named:
        from dask_dl.predict import check_n_features

        check_n_features(model, len(source.predictors), called)


def export(model: Model, folder: str | None, tell: Listeners) -> None:
    """Write a model to a folder or URL, where one is asked for; a failure is a warning, because the model is there."""
    if folder is None:
        return
    from dask_dl.model.exports import export_model

    try:
        tell.say(f"model: {export_model(model, folder)}")
    except Exception as error:  # noqa: BLE001  # a store's own errors are of any type
        tell.warn(
            f"export_checkpoints_dir: the model could not be written to {folder}: {error}. `save` writes it elsewhere."
        )
