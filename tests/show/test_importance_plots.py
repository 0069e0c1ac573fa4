"""Pictures of importances."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from dask_dl.show.importance_plots import plot_importances

pytest.importorskip("matplotlib")

VALUES = pd.Series([0.5, 0.3, 0.2], index=["color", "a" * 90, "size"])


def test_bars_are_drawn_from_the_top():
    ax = plot_importances(VALUES, None, "share", 20)
    assert [bar.get_width() for bar in ax.patches] == [0.2, 0.3, 0.5]
    labels = [text.get_text() for text in ax.get_yticklabels()]
    assert labels[0] == "size" and labels[2] == "color" and len(labels[1]) == 40
    assert ax.get_xlabel() == "share"
    assert not ax.get_title()


def test_of_many_the_first_are_drawn_and_whiskers_are_deviations():
    from matplotlib import pyplot as plt

    _, given = plt.subplots()
    ax = plot_importances(VALUES, pd.Series([0.1, 0.05, 0.01], index=VALUES.index), "loss", 2, given)
    assert ax is given
    assert len(ax.patches) == 2
    assert ax.get_title() == "the 2 most important of 3"
    (whiskers,) = (c for c in ax.collections if hasattr(c, "get_segments"))
    np.testing.assert_allclose([np.ptp(s[:, 0]) for s in whiskers.get_segments()], [0.1, 0.2])
