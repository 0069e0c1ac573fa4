"""Graphs of ONNX."""

from __future__ import annotations

import numpy as np
import pytest

from dask_dl.export.onnx_graph import Graph

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")


def run(graph, **given):
    session = onnxruntime.InferenceSession(graph.model().SerializeToString())
    return dict(zip([o.name for o in session.get_outputs()], session.run(None, given), strict=True))


def test_nodes_compute_what_they_are_for():
    graph = Graph()
    x = graph.input("x", np.float64, (None, 3))
    words = graph.input("words", np.str_, (None, 1))
    place = graph.looked_up(words, {"a": 0, "b": 1}, 2)
    graph.output("sum", graph.sum(x, keeps=True), np.float64, (None, 1))
    graph.output("part", graph.part(x, 1, 3), np.float64, (None, 2))
    graph.output("one hot", graph.flat(graph.one_hot(place, 3), 3), np.float32, (None, 3))
    given = np.arange(6.0).reshape(2, 3)
    found = run(graph, x=given, words=np.array([["b"], ["z"]], object))
    np.testing.assert_array_equal(found["sum"], given.sum(axis=1, keepdims=True))
    np.testing.assert_array_equal(found["part"], given[:, 1:])
    np.testing.assert_array_equal(found["one hot"], [[0, 1, 0], [0, 0, 1]])


def test_an_output_takes_no_name_of_an_input():
    graph = Graph()
    label = graph.input("label", np.float64, (None, 1))
    graph.output("label", label, np.float64, (None, 1))
    assert set(run(graph, label=np.ones((2, 1)))) == {"label_"}
