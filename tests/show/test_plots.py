"""The picture of a history: what is joined, what is marked, and what it leaves out."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_dl import DeepLearningClassifier, DeepLearningRegressor, load
from dask_dl.metrics.history import History, ScoringEvent
from dask_dl.show.plots import range_of

matplotlib = pytest.importorskip("matplotlib")
from matplotlib.figure import Figure  # noqa: E402  # without matplotlib there is none

from dask_dl.show.plots import plot_history  # noqa: E402


def history_of(losses, *, task="classification", puts_back=False):
    """A history with these losses: a number, or (training, validation), for each event."""
    two = isinstance(next(iter(losses), 0.0), tuple)
    history, name = (
        History({"classification": "binomial"}.get(task, task), two),
        {"classification": "logloss", "regression": "deviance"}[task],
    )
    history.start()
    for k, loss in enumerate(losses, 1):
        training, validation = loss if two else (loss, math.nan)
        history.add(
            ScoringEvent(
                duration=k, training_speed=1000.0 / k, epochs=float(k), iterations=k, samples=100 * k,
                samples_per_iteration=100, metrics={"training": {name: training}, "validation": {name: validation}},
            )
        )  # fmt: skip
    if puts_back:
        history.repeat_best(duration=99.0, epochs=float(k), iterations=k, samples=100 * k)
    return history


def drawn(history):
    """(axes, lines by label)."""
    figure = Figure(layout="constrained")
    ax = plot_history(history, figure.subplots())
    figure.draw_without_rendering()
    return ax, {line.get_label(): line for line in ax.get_lines()}


def test_the_best_network_put_back_is_marked_and_not_joined():
    history = history_of([(0.6, 0.7), (0.3, 0.4), (0.2, 0.5)], puts_back=True)
    _, lines = drawn(history)
    for table, expected in (("training", [0.6, 0.3, 0.2]), ("validation", [0.7, 0.4, 0.5])):
        np.testing.assert_array_equal(lines[table].get_xdata(), [0, 1, 2, 3])
        np.testing.assert_array_equal(lines[table].get_ydata(), [math.nan, *expected])
    ring = lines["best logloss: 0.4"]
    assert (ring.get_xdata(), ring.get_ydata()) == ([2.0], [0.4])


def test_only_a_repeated_measurement_is_the_best_network_put_back():
    assert history_of([0.5, 0.4, 0.6], puts_back=True).repeats_best
    assert history_of([math.inf, 0.4, 0.6], puts_back=True).repeats_best
    assert not history_of([0.5, 0.4, 0.6]).repeats_best
    assert not history_of([0.4, 0.4]).repeats_best  # as good, but measured
    assert not history_of([]).repeats_best and not history_of([math.nan]).repeats_best


def test_a_loaded_model_knows_what_was_put_back(tmp_path):
    table = pd.DataFrame({"a": np.linspace(-1, 1, 60)}).assign(y=lambda t: np.where(t["a"] > 0, "u", "v"))
    flipped = table.assign(y=np.where(table["a"] > 0, "v", "u"))  # what is learned there is wrong here
    given = {"hidden": (5,), "epochs": 5, "score_each_iteration": True, "stopping_rounds": 0, "random_state": 1}
    model = DeepLearningClassifier(**given).fit(table, "y", eval_set=flipped)
    assert model.model_.record.history.repeats_best
    model.save(tmp_path / "m.zip")
    assert load(tmp_path / "m.zip").model_.record.history.repeats_best


def test_a_wild_first_loss_does_not_flatten_the_others():
    losses = [0.88, 0.33, 0.325, 0.322, 0.318, 0.317]
    ax, lines = drawn(history_of([(loss, loss + 0.01) for loss in losses]))
    low, high = ax.get_ylim()
    assert ax.get_yscale() == "linear" and 0.31 < low < 0.317 and 0.34 < high < 0.35
    above = lines["above the picture: up to 0.89"]
    assert list(above.get_xdata()) == [1.0, 1.0] and set(above.get_ydata()) == {1.0}


def test_losses_of_many_sizes_get_a_logarithmic_axis():
    ax, lines = drawn(history_of([(2.3 * 0.6**k + 1e-5, 2.3 * 0.6**k + 0.03) for k in range(25)]))
    low, high = ax.get_ylim()
    assert ax.get_yscale() == "log" and low < 2e-5 and high > 2.3
    assert not any(label.startswith("above") for label in lines)
    labels = [text.get_text() for text in ax.get_yticklabels()]
    assert {"0.001", "1"} <= set(labels) and not any("$" in label for label in labels)


def test_a_log_axis_has_labels_within_one_decade():
    ax, _ = drawn(history_of([(0.15, 0.2), (0.02, 0.14), (0.012, 0.142)]))
    assert ax.get_yscale() == "log"
    low, high = ax.get_ylim()
    shown = [text.get_text() for text in ax.get_yticklabels() if low <= float(text.get_text()) <= high]
    assert {"0.02", "0.05", "0.1", "0.2"} <= set(shown)


@pytest.mark.parametrize(
    "losses",
    [[], [math.nan], [0.5], [0.5, 0.5], [math.inf, 0.5, math.nan, 0.2], [0.0, 0.0], [4.0, 0.3], [-1e300, 1e300, 0.0],
     [1e-320, 1.0], [1e-90, 1.0]],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("task", ["classification", "regression"])
def test_odd_histories_are_drawn_without_a_warning(losses, task):
    ax, _ = drawn(history_of(losses, task=task))
    assert ax.get_xlim()[0] == 0 and all(map(math.isfinite, ax.get_ylim()))


def test_axes_that_hold_something_keep_their_range():
    ax = Figure().subplots()
    ax.plot([0, 1], [5.0, 7.0])
    plot_history(history_of([0.3, 0.2]), ax)
    low, high = ax.get_ylim()
    assert low < 0.2 and high > 7.0


def test_what_was_judged_by_another_metric_is_named():
    model = DeepLearningRegressor(hidden=(3,), epochs=2, stopping_metric="mae", random_state=1)
    model.fit(pd.DataFrame({"a": np.arange(40.0), "y": np.arange(40.0) ** 2}), "y")
    label = f"best mae: {model.best_score_:.4g}"
    assert label in drawn(model.model_.record.history)[1]


LOSSES = st.lists(st.tuples(*2 * [st.floats(1e-6, 1e6)]), min_size=1, max_size=60)


@given(losses=LOSSES, power=st.integers(-20, 20))
def test_the_range_holds_nearly_all_events_and_has_no_unit(losses, power):
    chosen = range_of(losses)
    if chosen is None:
        assert len({loss for event in losses for loss in event}) == 1 or len(losses) <= 2
        return
    low, high, is_log = chosen
    assert low == min(map(min, losses))
    n_above = sum(max(event) > high for event in losses)
    assert n_above <= (max(1, len(losses) // 10) if len(losses) > 2 else 0)
    assert high > 10 * low or not is_log
    if not is_log:  # the rounding of logarithms depends on the unit
        factor = 2.0**power
        assert range_of([tuple(loss * factor for loss in event) for event in losses]) == (
            low * factor, high * factor, False,
        )  # fmt: skip


@given(
    calm=st.lists(st.floats(0.30, 0.33), min_size=3, max_size=60), wild=st.floats(2.0, 1e9), place=st.integers(0, 60)
)
def test_one_wild_event_takes_no_room(calm, wild, place):
    if max(calm) == min(calm):
        return
    losses = [*calm[:place], wild, *calm[place:]]
    low, high, is_log = range_of([(loss,) for loss in losses])
    assert (low, is_log) == (min(calm), False) and high <= max(calm)
