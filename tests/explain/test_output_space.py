"""Spaces of contributions: margins are linear in the output's sums, values are the answers, and slopes their derivatives."""

from __future__ import annotations

import numpy as np
import pytest

from dask_dl.errors import ParameterError
from dask_dl.explain.output_space import OutputSpace
from dask_dl.state import Rows
from dask_dl.tasks.classes import Classes
from dask_dl.tasks.numbers import Numbers

TWO, THREE = Classes(("no", "yes")), Classes((1, 2, 3))
NOTHING = np.zeros(0, np.float32)


def passed(space, z, offset=NOTHING):
    """Sums of the output, in the network."""
    sums = np.zeros((len(z), 16), np.float32)
    sums[:, : z.shape[1]] = z
    rows = Rows(np.zeros((len(z), 0), np.float32), np.zeros((len(z), 0), np.int32), NOTHING, NOTHING, offset)
    before = np.full(len(z) * 48, 9.0, np.float32)  # layers below
    return space.passed(rows, np.concatenate([before, sums.ravel()]), NOTHING, 16)


def sums(n, k):
    return np.random.default_rng(k).normal(size=(n, k)) * 2


def softmax(z):
    return np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)


def test_of_two_classes_the_second_is_explained():
    z = sums(9, 2)
    for output, values in (("margin", z[:, 1] - z[:, 0]), ("response", softmax(z)[:, 1])):
        space = OutputSpace.of(TWO, output, None)
        assert np.allclose(passed(space, z).values[:, 0], values, atol=1e-6)
        other = OutputSpace.of(TWO, output, "no")
        assert np.allclose(passed(other, z).values[:, 0], -values if output == "margin" else 1 - values, atol=1e-6)
        assert space.labels == ["yes"] and other.labels == ["no"]


def test_of_several_classes_all_are_explained():
    z = sums(9, 3)
    assert np.allclose(
        passed(OutputSpace.of(THREE, "margin", None), z).values, z - z.mean(axis=1, keepdims=True), atol=1e-6
    )
    assert np.allclose(passed(OutputSpace.of(THREE, "response", None), z).values, softmax(z), atol=1e-6)
    assert np.allclose(passed(OutputSpace.of(THREE, "response", 2), z).values, softmax(z)[:, [1]], atol=1e-6)


def test_balanced_classes_are_corrected():
    z, head = sums(9, 3), THREE.corrected([1.0, 2.0, 0.5])
    p = head.answers(softmax(z).astype(np.float32))
    found = passed(OutputSpace.of(head, "response", None), z)
    assert np.allclose(found.values, p, atol=1e-6)
    assert np.allclose(softmax(found.logits), p, atol=1e-6)  # of what kernels make probabilities


@pytest.mark.parametrize(
    "head", [Numbers(3.0, 0.5, is_standardized=True), Numbers(link="log")], ids=["identity", "log"]
)
@pytest.mark.parametrize("output", ["margin", "response"])
def test_numbers_are_explained_with_their_offsets(head, output):
    z, offset = sums(9, 1), np.arange(9, dtype=np.float32) / 9
    answers = head.answers((z + offset[:, None]).astype(np.float32))
    expected = np.log(answers) if head.link == "log" and output == "margin" else answers
    found = passed(OutputSpace.of(head, output, None), z, offset)
    assert np.allclose(found.values[:, 0], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("output", ["margin", "response"])
@pytest.mark.parametrize("head", [TWO, Numbers(3.0, 0.5, is_standardized=True), Numbers(link="log")])
def test_slopes_and_directions_are_derivatives(head, output):
    z, space, step = sums(9, max(1, len(head.classes))).astype(np.float32), OutputSpace.of(head, output, None), 2.0**-6
    for j in range(z.shape[1]):
        up, down = z.copy(), z.copy()
        up[:, j] += step
        down[:, j] -= step
        change = (passed(space, up).values - passed(space, down).values) / (2 * step)
        here = passed(space, z)
        assert np.allclose(change, here.slopes * space.explained.directions[:, j], rtol=1e-3, atol=1e-4)


def test_words_say_what_is_explained():
    titles = [OutputSpace.of(TWO, output, None).title() for output in ("margin", "response")]
    assert titles == ["the log-odds of yes", "the probability of yes"]
    three = OutputSpace.of(THREE, "response", None)
    assert [three.title(), three.title(2)] == ["the probability of 3 classes", "the probability of 3"]
    assert OutputSpace.of(THREE, "margin", 2).title() == "the margin of 2"
    log = [OutputSpace.of(Numbers(link="log"), output, None).title() for output in ("margin", "response")]
    assert log == ["the logarithm of the prediction", "the prediction"]


@pytest.mark.parametrize(
    ("head", "output", "label", "says"),
    [
        (TWO, "link", None, "output='link': give 'margin' or 'response'"),
        (THREE, "margin", 4, r"label=4 is no class of the model: its classes are \[1, 2, 3\]"),
        (Numbers(), "margin", "yes", "label='yes' is no class of the model: it predicts numbers"),
    ],
)
def test_a_wrong_choice_is_refused(head, output, label, says):
    with pytest.raises(ParameterError, match=says):
        OutputSpace.of(head, output, label)
