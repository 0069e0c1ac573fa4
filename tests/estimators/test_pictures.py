"""Pictures of an autoencoder show the errors and codes of the rows of tables of every kind, of large ones of a sample."""

from __future__ import annotations

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from dask_dl import DeepLearningAutoEncoder
from dask_dl.errors import ParameterError, SchemaError
from dask_dl.estimators import pictures

matplotlib = pytest.importorskip("matplotlib")
from matplotlib import pyplot as plt  # noqa: E402  # without matplotlib there is none
from matplotlib.figure import Figure  # noqa: E402

N = 300


def table_of(n=N):
    random = np.random.default_rng(0)
    a = random.normal(size=n)
    table = pd.DataFrame({"a": a, "b": a + random.normal(size=n) / 9, "c": random.normal(size=n)})
    table["kind"] = np.where(a > 0, "up", "down")
    table.loc[7, ["a", "b"]] = 9.0, -9.0
    return table


TABLE = table_of()
LEARNED = TABLE[["a", "b", "c"]]


@pytest.fixture(scope="module")
def model():
    given = {"hidden": (8, 2, 8), "activation": "tanh", "epochs": 20, "random_state": 1, "n_jobs": 1}
    return DeepLearningAutoEncoder(**given).fit(LEARNED)


def drawn(model, plot, *given, **more):
    figure = Figure(layout="constrained")
    ax = getattr(model, plot)(*given, ax=figure.subplots(), **more)
    figure.draw_without_rendering()
    return ax


def points_of(ax):
    """Points of all groups of a scatter, sorted."""
    points = np.concatenate([part.get_offsets() for part in ax.collections])
    return points[np.lexsort(points.T)]


def test_errors_are_sorted_and_those_above_the_threshold_are_marked(model):
    ax = drawn(model, "plot_anomaly", TABLE, quantile=0.9)
    usual, above, threshold = ax.get_lines()
    errors = np.sort(model.anomaly(TABLE))
    np.testing.assert_allclose(np.concatenate([usual.get_ydata(), above.get_ydata()]), errors)
    assert threshold.get_ydata()[0] == pytest.approx(np.quantile(errors, 0.9))
    assert usual.get_ydata().max() <= threshold.get_ydata()[0] < above.get_ydata().min()
    assert above.get_label() == "30 rows above" and list(above.get_xdata()) == list(range(271, 301))
    assert ax.get_xlabel() and ax.get_ylabel() and ax.get_title() == ""


@pytest.mark.parametrize("quantile", [-0.1, 1.5, float("nan"), "most"])
def test_a_quantile_is_a_share(model, quantile):
    with pytest.raises(ParameterError, match="share of the rows, from 0 to 1"):
        model.plot_anomaly(TABLE, quantile=quantile)


def test_errors_by_input_begin_with_the_largest(model):
    ax = drawn(model, "plot_anomaly_by_feature", TABLE[7:8])
    means = model.anomaly(TABLE[7:8], per_feature=True).mean().sort_values(ascending=False)
    np.testing.assert_allclose([bar.get_width() for bar in ax.patches], means)
    shown = [text.get_text() for text in ax.get_yticklabels()]
    assert shown == [name.removeprefix("reconstr_").removesuffix(".SE") for name in means.index]
    assert ax.yaxis_inverted()  # the first is on top


def test_codes_of_two_units_are_drawn_as_they_are(model):
    ax = drawn(model, "plot_codes", TABLE)
    codes = model.transform(LEARNED)
    np.testing.assert_allclose(points_of(ax), codes[np.lexsort(codes.T)], rtol=1e-6)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("DF.L2.C1", "DF.L2.C2")


@pytest.mark.parametrize("layer", [0, "DF.L1"])
def test_more_units_are_drawn_by_their_principal_components(model, layer):
    ax = drawn(model, "plot_codes", TABLE, layer=layer)
    codes = model.transform(LEARNED, layer=0).astype(float)
    centered = codes - codes.mean(axis=0)
    u, s, _ = np.linalg.svd(centered, full_matrices=False)
    found, expected = ax.collections[0].get_offsets(), u[:, :2] * s[:2]
    np.testing.assert_allclose(found * np.sign((found * expected).sum(axis=0)), expected, atol=1e-4)
    assert ax.get_xlabel() == f"first principal component: {s[0] ** 2 / (s**2).sum():.0%} of the variance"


def test_levels_have_a_color_each(model):
    ax = drawn(model, "plot_codes", TABLE, color="kind")  # no column that was learned
    groups = {part.get_label(): part for part in ax.collections}
    assert {name: len(part.get_offsets()) for name, part in groups.items()} == TABLE["kind"].value_counts().to_dict()
    assert len({tuple(part.get_facecolor()[0]) for part in groups.values()}) == 2
    assert ax.get_legend().get_title().get_text() == "kind"


def test_numbers_have_a_scale_and_missing_ones_are_gray(model):
    values = TABLE["a"].mask(TABLE.index < 5)
    ax = drawn(model, "plot_codes", TABLE, color=values)
    missing, known = ax.collections
    assert len(missing.get_offsets()) == 5 and missing.get_label() == "missing"
    np.testing.assert_array_equal(known.get_array(), values[5:])
    assert len(ax.figure.axes) == 2


def test_a_learned_column_and_values_beside_an_array_color_too(model):
    by_name = drawn(model, "plot_codes", TABLE, color="a")
    np.testing.assert_array_equal(by_name.collections[0].get_array(), TABLE["a"])
    beside = drawn(model, "plot_codes", LEARNED.to_numpy(), color=TABLE["kind"])
    np.testing.assert_allclose(points_of(beside), points_of(by_name))


def test_a_sparse_matrix_is_drawn():
    matrix, levels = sparse.random_array((50, 20), density=0.2, rng=0, format="csr"), np.repeat(["a", "b"], 25)
    model = DeepLearningAutoEncoder(hidden=(2,), activation="tanh", sparse=True, epochs=1, random_state=1).fit(matrix)
    ax = drawn(model, "plot_codes", matrix, color=levels)
    assert [part.get_label() for part in ax.collections] == ["a", "b"] and ax.get_legend().get_title().get_text() == ""
    np.testing.assert_allclose(ax.collections[1].get_offsets(), model.transform(matrix)[25:], rtol=1e-6)


def test_a_column_that_is_not_there_is_named(model):
    with pytest.raises(ParameterError, match="color='knid' is no column of the table"):
        model.plot_codes(TABLE, color="knid")


@pytest.mark.parametrize("plot", ["plot_anomaly", "plot_anomaly_by_feature", "plot_codes"])
@pytest.mark.parametrize(
    "made", [lambda t: dd.from_pandas(t, npartitions=3), lambda t: da.from_array(t.to_numpy(), (100, 3))]
)
def test_a_collection_of_dask_is_drawn_as_a_local_table(model, plot, made):
    here, there = drawn(model, plot, LEARNED), drawn(model, plot, made(LEARNED))
    assert there.get_title() == ""
    for ours, theirs in zip(here.get_lines(), there.get_lines(), strict=True):
        np.testing.assert_allclose(theirs.get_xydata(), ours.get_xydata())
    for ours, theirs in zip(here.patches, there.patches, strict=True):
        assert theirs.get_width() == pytest.approx(ours.get_width())
    if here.collections:
        np.testing.assert_allclose(points_of(there), points_of(here))


def test_of_a_large_table_a_sample_is_drawn_that_knows_its_rows(model, monkeypatch):
    monkeypatch.setattr(pictures, "MAX_ROWS", 40)
    table = dd.from_pandas(TABLE.assign(number=range(N)), npartitions=7)
    ax = drawn(model, "plot_codes", table, color="number")
    assert ax.get_title() == "a sample of 40 of 300 rows"
    numbers = np.asarray(ax.collections[0].get_array(), int)
    assert len(numbers) == 40 == len({*numbers}) and np.ptp(numbers) > 200  # of all partitions
    np.testing.assert_allclose(ax.collections[0].get_offsets(), model.transform(LEARNED)[numbers], rtol=1e-6)
    again = drawn(model, "plot_codes", table, color="number")
    assert (again.collections[0].get_array() == numbers).all()
    assert len(drawn(model, "plot_anomaly", LEARNED).get_lines()[0].get_ydata()) == 39


def test_a_sample_takes_every_row_as_often(model, monkeypatch):
    """Of 300 rows in parts of very different sizes: their shares in the sample are those in the table."""
    monkeypatch.setattr(pictures, "MAX_ROWS", 150)
    table = dd.concat([dd.from_pandas(TABLE[lo:hi].assign(part=lo), npartitions=1) for lo, hi in ((0, 20), (20, 300))])
    part = np.asarray(drawn(model, "plot_codes", table, color="part").collections[0].get_array())
    assert 4 <= (part == 0).sum() <= 16  # 10 are expected, with a deviation of 2.2


def test_codes_of_no_layer_are_refused(model):
    linear = DeepLearningAutoEncoder(hidden=(), output_activation="linear", epochs=1, random_state=1).fit(LEARNED)
    with pytest.raises(ParameterError, match="0 hidden layers"):
        linear.plot_codes(LEARNED)
    with pytest.raises(ParameterError, match="3 hidden layers"):
        model.plot_codes(LEARNED, layer=3)


def test_a_table_without_rows_is_refused(model):
    for plot in ("plot_anomaly", "plot_anomaly_by_feature", "plot_codes"):
        with pytest.raises(SchemaError, match="no rows"):
            getattr(model, plot)(LEARNED[:0])


def test_pictures_make_their_own_axes(model):
    for plot in ("plot_anomaly", "plot_anomaly_by_feature", "plot_codes"):
        ax = getattr(model, plot)(LEARNED)
        try:
            assert ax.has_data() and ax.figure.get_layout_engine() is not None
        finally:
            plt.close(ax.figure)
