"""Results of a cross-validation that an estimator keeps: models, predictions and metrics of its folds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dask_dl.errors import ParameterError
from dask_dl.validation.predictions import CLASS, FOLD, OFFSET, HeldOut, held_out

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dask_dl.model import Model
    from dask_dl.validation.cross_validation import CrossValidated


def check_kept(requested: Mapping[str, Any], call: Mapping[str, Any]) -> None:
    """Refuse what a Dataset does not have: its table, and folds beside it. Raises ParameterError."""
    if requested["keep_cross_validation_predictions"] or requested["keep_cross_validation_fold_assignment"]:
        raise ParameterError(
            "keep_cross_validation_predictions and keep_cross_validation_fold_assignment need the table itself: pass it to "
            "fit, and no Dataset."
        )
    if call["folds"] is not None:
        raise ParameterError("folds: a Dataset has no column of folds. Pass the table itself to fit, or use nfolds.")


def keep(estimator: Any, result: CrossValidated, requested: Mapping[str, Any], call: Mapping[str, Any]) -> None:
    """Set the attributes of an estimator that its parameters ask for.

    Parameters
    ----------
    estimator : DeepLearning
        Has the model of all rows.
    result : CrossValidated
    requested : mapping
        Parameters in canonical form.
    call : mapping
        X, y, offset and folds as `fit` was given them; X is None where that was a Dataset.
    """
    if requested["keep_cross_validation_models"]:
        estimator.cross_validation_models_ = [_estimator_of(estimator, model) for model in result.models]
    wanted = {
        "cross_validation_predictions_": (requested["keep_cross_validation_predictions"], False),
        "cross_validation_fold_assignment_": (requested["keep_cross_validation_fold_assignment"], True),
    }
    if not any(asked for asked, _ in wanted.values()):
        return
    models = HeldOut.of(result.models, result.folds.selections, result.folds.values)
    beside = {FOLD: call["folds"], OFFSET: call["offset"], CLASS: call["y"]}
    needed = {FOLD: "fold" in models.groups, OFFSET: call["offset"] is not None, CLASS: "class" in models.groups}
    beside = {name: given for name, given in beside.items() if needed[name]}
    names = result.outcome.model.record.feature_names
    for attribute, (asked, only_folds) in wanted.items():
        if asked:
            setattr(
                estimator, attribute, held_out(models, call["X"], result.n_rows, beside, names, only_folds=only_folds)
            )


def _estimator_of(estimator: Any, model: Model) -> Any:
    """Fitted estimator of the same kind, with a fold's model."""
    fold = type(estimator)._unjudged({**model.record.requested, "client": None})  # noqa: SLF001  # as `load` makes one
    fold.model_ = model
    fold._set_names(has_names=hasattr(estimator, "feature_names_in_"))  # noqa: SLF001  # as above
    return fold
