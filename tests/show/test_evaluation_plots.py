"""Pictures of an evaluation: what they draw, and that texts overlap nothing."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from show.evaluations import EVALUATIONS, PLOTS, of_classes

from dask_dl.metrics.measurement import measure_classes
from dask_dl.show.evaluation import Evaluation
from dask_dl.show.evaluation_plots import plot_confusion

matplotlib = pytest.importorskip("matplotlib")
from matplotlib import pyplot as plt  # noqa: E402  # without matplotlib there is none
from matplotlib.figure import Figure  # noqa: E402

CASES = [(name, plot) for name, found in EVALUATIONS.items() for plot in PLOTS[found.kind]]


def drawn(evaluation, plot, size=(7, 4.5), **more):
    figure = Figure(figsize=size, layout="constrained")
    ax = getattr(evaluation, plot)(figure.subplots(), **more)
    figure.draw_without_rendering()
    return ax, {line.get_label(): line for line in ax.get_lines()}


def parts_of(ax):
    """Boxes of labels, title, legend, and of numbers along the axes, by what they are."""
    found = {}
    for k, axes in enumerate(ax.figure.axes):
        for name, part in (
            ("x", axes.xaxis.label),
            ("y", axes.yaxis.label),
            ("title", axes.title),
            ("legend", axes.get_legend()),
        ):
            if part is not None and getattr(part, "get_text", lambda: "legend")():
                found[f"{name} {k}"] = part.get_window_extent()
        for name, axis in (("x", axes.xaxis), ("y", axes.yaxis)):
            low, high = sorted(axis.get_view_interval())
            ticks = [tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
            labels = [label for tick in ticks for label in (tick.label1, tick.label2)]
            boxes = [label.get_window_extent() for label in labels if label.get_visible() and label.get_text()]
            if boxes:
                found[f"{name} numbers {k}"] = matplotlib.transforms.Bbox.union(boxes)
    return found


@pytest.mark.parametrize("style", ["default", "dark_background"])
@pytest.mark.parametrize(("name", "plot"), CASES)
def test_texts_overlap_nothing(name, plot, style):
    with matplotlib.style.context(style):
        ax, _ = drawn(EVALUATIONS[name], plot)
    assert ax.get_xlabel() and ax.get_ylabel()
    parts, sheet = parts_of(ax), ax.figure.bbox
    for k, (part, box) in enumerate(parts.items()):
        assert (box.min >= -2).all() and (box.max <= sheet.max + 2).all(), f"{part} leaves the picture"
        for other, its in [*parts.items()][:k]:
            at_origin = {part[0], other[0]} == {"x", "y"} and "numbers" in part and "numbers" in other
            assert at_origin or not box.padded(-2).overlaps(its.padded(-2)), f"{part} overlaps {other}"
    if (legend := ax.get_legend()) is not None and len(legend.get_texts()) > 2:
        assert legend.get_window_extent().x0 >= ax.bbox.x1  # it would hide lines


@pytest.mark.parametrize(("name", "plot"), CASES)
def test_a_picture_makes_its_own_axes(name, plot):
    ax = getattr(EVALUATIONS[name], plot)()
    try:
        assert ax.has_data() and ax.figure.get_layout_engine() is not None
    finally:
        plt.close(ax.figure)


def test_roc_and_precision_begin_and_end_where_they_must():
    evaluation = EVALUATIONS["two"]
    _, lines = drawn(evaluation, "plot_roc")
    line = lines[f"kind 01: area {evaluation['auc']:.4f}"]
    assert np.trapezoid(line.get_ydata(), line.get_xdata()) == pytest.approx(evaluation["auc"])
    assert (line.get_xydata()[[0, -1]] == [[0, 0], [1, 1]]).all()
    _, lines = drawn(evaluation, "plot_pr")
    line, share = lines[f"kind 01: area {evaluation['aucpr']:.4f}"], evaluation.curve.n_positive / 2000
    assert line.get_xydata()[0, 0] == 0 and line.get_xydata()[-1] == pytest.approx([1, share])
    assert lines[f"chance: area {share:.4g}"].get_ydata() == pytest.approx([share, share])


def test_of_many_classes_the_largest_are_drawn():
    evaluation = EVALUATIONS["thirty"]
    sizes = evaluation.class_errors()["rows"]
    for plot in ("plot_roc", "plot_pr"):
        ax, lines = drawn(evaluation, plot)
        names = [label.partition(":")[0] for label in lines if label.startswith("kind")]
        assert names == sizes.sort_values(ascending=False, kind="stable").index[:8].tolist()
        assert ax.get_title() == "the 8 largest of 30 classes"
        assert len({line.get_color() for label, line in lines.items() if label.startswith("kind")}) == 8
    assert drawn(EVALUATIONS["seven"], "plot_roc")[0].get_title() == ""


def test_lift_ends_at_one_and_captures_all():
    evaluation = EVALUATIONS["two"]
    ax, lines = drawn(evaluation, "plot_lift")
    lift = lines["cumulative lift"].get_ydata()
    np.testing.assert_allclose(lift, evaluation.gains_lift()["cumulative_lift"])
    assert lift[-1] == pytest.approx(1) and ax.get_ylim()[1] > lift.max()
    (other,) = [axes for axes in ax.figure.axes if axes is not ax]
    assert other.get_lines()[0].get_xydata()[[0, -1]] == pytest.approx(np.array([[0, 0], [1, 1]]))
    assert len(ax.get_legend().get_texts()) == 2


def test_thresholds_go_from_nothing_to_all_and_mark_the_best():
    evaluation = EVALUATIONS["two"]
    _, lines = drawn(evaluation, "plot_thresholds", criteria=["f1", "recall"])
    assert {*lines} == {"f1", "recall", f"largest F1: {evaluation.resolve('max_f1'):.4f}"}
    assert lines["recall"].get_xydata()[-1] == pytest.approx([0, 1])
    chosen = Evaluation("binomial", measured_of_two(), {}, ["n", "y"], threshold=0.25)
    _, lines = drawn(chosen, "plot_thresholds")
    assert lines["of the model: 0.2500"].get_xdata() == [0.25, 0.25]


def measured_of_two():
    p = np.linspace(0.05, 0.95, 40, dtype=np.float32)
    return measure_classes(np.arange(40) % 2, np.stack([1 - p, p], axis=1), None)


def test_calibration_of_a_rare_class_fills_the_picture():
    p = np.linspace(0.001, 0.04, 1000, dtype=np.float32)
    y = (np.random.default_rng(0).random(1000) < p).astype(int)
    ax, lines = drawn(
        Evaluation("binomial", measure_classes(y, np.stack([1 - p, p], axis=1), None), {}, ["n", "y"]),
        "plot_calibration",
    )
    assert lines["10 bins of equal weight"].get_xdata().max() > ax.get_xlim()[1] / 3
    assert ax.get_ylim() == ax.get_xlim() and ax.get_ylim()[1] < 0.2


@pytest.mark.parametrize(("k", "labels", "numbers"), [(2, 2, 4), (7, 7, 49), (30, 15, 0)])
def test_a_confusion_matrix_has_labels_and_few_enough_numbers(k, labels, numbers):
    ax, _ = drawn(of_classes(k), "plot_confusion", (5, 5))
    ticks = [text.get_text() for text in ax.get_yticklabels()]
    assert ticks == [f"kind {j:02}" for j in range(0, k, -(-k // labels))] and len(ticks) == labels
    assert [text.get_text() for text in ax.get_xticklabels()] == ticks
    assert len(ax.texts) == numbers
    assert len(ax.figure.axes) == (1 if numbers else 2)  # numbers, or a bar of colors


def test_residuals_are_those_of_the_sample():
    evaluation = EVALUATIONS["numbers"]
    ax, _ = drawn(evaluation, "plot_residuals")
    rows = evaluation.residuals()
    np.testing.assert_allclose(ax.collections[0].get_offsets(), rows[["predicted", "residual"]])
    assert ax.get_title() == "a sample of 2,000 rows"


def test_weights_that_are_no_whole_numbers_stay_what_they_are():
    measured = measure_classes(np.array([0, 1, 1]), np.eye(2, dtype=np.float32)[[0, 1, 0]], np.array([0.5, 1.25, 2]))
    found = Evaluation("binomial", measured, {}, ["n", "y"])
    pd.testing.assert_frame_equal(
        found.confusion_matrix(),
        pd.DataFrame([[0.5, 0.0], [2.0, 1.25]], index=["n", "y"], columns=["n", "y"]),
        check_names=False,
    )
    assert [text.get_text() for text in drawn(found, "plot_confusion")[0].texts] == ["0.5", "0", "2", "1.25"]


def test_long_names_of_classes_leave_room_for_the_picture():
    matrix = pd.DataFrame([[3, 1], [0, 2]], index=["x" * 80, "no"], columns=["x" * 80, "no"])
    ax = plot_confusion(matrix)
    assert [len(text.get_text()) for text in ax.get_yticklabels()] == [24, 2]
    assert [len(text.get_text()) for text in ax.get_xticklabels()] == [24, 2]
