"""Contributions as the package shap takes them for its pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dask_dl.errors import ParameterError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from numpy.typing import NDArray


def shap_explanation(
    contributions: NDArray[np.float64], data: pd.DataFrame | NDArray[Any], names: Sequence[str], labels: Sequence[str]
) -> Any:
    """Make a `shap.Explanation` of contributions.

    Parameters
    ----------
    contributions : (n, G + 1) or (n, G + 1, O) float64
        Of G columns, then the bias.
    data : pandas.DataFrame or ndarray of shape (n, G)
        Values of the columns.
    names : sequence of str
        Names of the columns.
    labels : sequence of str
        Names of the O classes.

    Returns
    -------
    shap.Explanation

    Raises
    ------
    ParameterError
        When shap is not installed.
    """
    try:
        from shap import Explanation
    except ImportError as error:
        raise ParameterError(
            "shap_explanation needs the package shap, which is not installed: pip install shap. Without it there are "
            "contributions and plot_contributions."
        ) from error
    return Explanation(
        np.ascontiguousarray(contributions[:, :-1]),
        base_values=np.ascontiguousarray(contributions[:, -1]),
        data=np.asarray(data),
        feature_names=list(names),
        output_names=list(labels) if contributions.ndim == 3 else None,
    )
