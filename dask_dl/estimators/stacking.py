"""Autoencoders that are trained layer by layer, and then are one network."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from dask_dl import parameters
from dask_dl.errors import ParameterError
from dask_dl.estimators.autoencoder import DeepLearningAutoEncoder

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Parameters that the shape of the stack decides.
DECIDED = ("hidden", "initial_weights", "initial_biases")


def stacked_autoencoder(
    X: Any, layers: Sequence[int], *, eval_set: Any = None, finetune_epochs: float = 0.0, **given: Any
) -> DeepLearningAutoEncoder:
    """Train an autoencoder layer by layer: each learns to give the codes of the one before back (Bengio et al. 2007).

    The network that comes out has the layers twice, to the code and back: of [200, 20] it is 200, 20, 200. Its weights are
    those of the layers, and it may be trained as a whole then.

    Parameters
    ----------
    X : dask.dataframe.DataFrame, dask.array.Array, pandas.DataFrame, sparse matrix or array-like
        As in `DeepLearningAutoEncoder.fit`. It is read once for each layer, and its codes are computed as it is read.
    layers : sequence of int
        Units of the hidden layers from the inputs to the code, two or more.
    eval_set : table, optional
        On which every layer is scored while it trains: of the columns of `X`.
    finetune_epochs : float
        Passes over `X` that the whole network learns in the end; 0: none.
    **given : object
        Parameters of `DeepLearningAutoEncoder`, for every layer; `hidden_dropout_ratios` has one ratio for each.

    Returns
    -------
    DeepLearningAutoEncoder
        Fitted; `transform` gives the codes of the last of `layers`.

    Raises
    ------
    ParameterError
        As of `fit`; for fewer than two layers, for maxout, whose units cannot be outputs, and for weights.
    """
    decided = [name for name in DECIDED if name in given]
    if decided:
        raise ParameterError(f"{', '.join(decided)}: the layers decide. Leave it out.")
    if len(layers) < 2:
        raise ParameterError(
            f"layers={list(layers)}: give two or more; one alone is DeepLearningAutoEncoder(hidden=...)."
        )
    if str(given.get("activation", "")).startswith("maxout"):
        raise ParameterError(
            "activation='maxout': a layer gives its codes back as outputs, which are tanh or rectifier."
        )
    if given.get("random_state") is None:
        given = {**given, "random_state": secrets.randbelow(2**31)}  # which hashes levels to the same inputs each time
    ratios = given.pop("hidden_dropout_ratios", None)
    if ratios is not None and len(ratios) != len(layers):
        raise ParameterError(f"hidden_dropout_ratios={list(ratios)}: give one for each of the {len(layers)} layers.")

    rows, scored, trained = X, eval_set, []
    for k, n in enumerate(layers):
        own = {} if ratios is None else {"hidden_dropout_ratios": [ratios[k]]}
        # Codes are units as they are, and back to these; a unit that is dead stays one.
        codes = {"standardize": False, "ignore_const_cols": False, "output_activation": "same"} if k else {}
        layer = DeepLearningAutoEncoder(**{**given, **own, **codes, "hidden": (n,)}).fit(rows, eval_set=scored)
        trained.append(layer)
        if k + 1 < len(layers):
            rows = layer.deep_features(rows, 0)
            scored = None if scored is None else layer.deep_features(scored, 0)

    def both(name: str) -> list[Any]:
        values = [getattr(layer, name) for layer in trained]
        return [up for up, _ in values] + [down for _, down in reversed(values)]

    mirrored = {} if ratios is None else {"hidden_dropout_ratios": [*ratios, *ratios[-2::-1]]}
    whole = DeepLearningAutoEncoder(
        **{**given, **mirrored},
        hidden=(*layers, *layers[-2::-1]),
        initial_weights=both("coefs_"),
        initial_biases=both("intercepts_"),
    )
    whole.set_params(epochs=finetune_epochs)
    whole.fit(X, eval_set=eval_set)
    defaults = parameters.constructor_defaults()
    return whole.set_params(
        **{name: defaults[name] for name in DECIDED[1:]}, epochs=given.get("epochs", defaults["epochs"])
    )
