"""Models as ONNX: what `predict` and `predict_proba` do, from columns to answers, for onnxruntime in any language."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from dask_dl.checkpoint.whole_file import replaced
from dask_dl.distribution import MAX
from dask_dl.errors import ParameterError
from dask_dl.export.onnx_graph import Graph
from dask_dl.tasks.classes import Classes
from dask_dl.tasks.numbers import Numbers

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dask_dl.frame.categorical import CodedColumn, OneHotColumn
    from dask_dl.model import Model

#: Input of all columns, where they have no names.
TABLE = "X"
#: Names of the outputs: those of skl2onnx.
LABEL, PROBABILITIES, NUMBER = "label", "probabilities", "variable"
#: Outputs of an autoencoder.
RECONSTRUCTION, ANOMALY = "reconstruction", "anomaly"


def write_onnx(model: Model, path: str | os.PathLike[str]) -> None:
    """Write a model as ONNX. Raises ParameterError for what ONNX cannot express, OSError."""
    data = onnx_model(model).SerializeToString()
    with replaced(path) as file:
        file.write(data)


def onnx_model(model: Model) -> Any:
    """ONNX of a model.

    Inputs are its columns by name, (n, 1) each: texts for categories, "" where one is missing; double for numbers, NaN where
    one is missing; a model of a table without names and categories has one input X, (n, columns) double. A model with offsets
    has an input for them.

    Parameters
    ----------
    model : Model

    Returns
    -------
    onnx.ModelProto
        Of opset 13. Outputs: of classes `label` and `probabilities`; of numbers `variable`, (n, 1) double; of an autoencoder
        `reconstruction`, (n, inputs) double, and `anomaly`, (n,) double.

    Raises
    ------
    ParameterError
        When the model is one that ONNX cannot express.
    """
    return _Writer(model).written()


class _Writer:
    """Graph of a model, part by part."""

    def __init__(self, model: Model) -> None:
        self._model, self._encoder, self._head = model, model.encoder, model.head
        self._topology = model.network.topology
        self._graph = Graph()
        coded = [code.name for code in self._encoder.codes if code.scheme == "label_encoder"]
        if coded:
            raise ParameterError(
                f"categorical_encoding='label_encoder': the numbers of unseen levels of {coded[:8]} depend on the other rows "
                f"of a table, which ONNX cannot express. Train with another encoding."
            )

    def written(self) -> Any:
        """The model."""
        graph = self._graph
        self._columns()
        starts = self._encoder.starts.tolist()
        levels = [self._level(column, start) for column, start in zip(self._encoder.categories, starts, strict=False)]
        dense = self._dense()
        output = self._network(levels, dense)
        if isinstance(self._head, Classes):
            self._classes(output, self._head)
        elif isinstance(self._head, Numbers):
            self._number(output, self._head)
        else:
            self._inputs_again(output, levels, dense)
        return graph.model()

    # ---- inputs -----------------------------------------------------------------------------------------------------

    def _columns(self) -> None:
        """Inputs of the graph, and the values of every column, (n, 1)."""
        graph, encoder, record = self._graph, self._encoder, self._model.record
        texts = {*(c.name for c in encoder.categories), *(c.name for c in encoder.codes)}
        self._values: dict[str, str] = {}
        if record.is_named or texts:
            for name in encoder.columns:
                self._values[name] = graph.input(name, np.str_ if name in texts else np.float64, (None, 1))
        else:
            table = graph.input(TABLE, np.float64, (None, len(record.feature_names)))
            for number in encoder.numbers:
                place = graph.constant(np.array([record.feature_names.index(number.name)]))
                self._values[number.name] = graph.add("Gather", table, place, axis=1)
        self._offset = None
        if record.offset_name is not None:
            name = record.offset_name or "offset"
            while name in self._values or name == TABLE:
                name += "_"
            self._offset = graph.input(name, np.float64, (None, 1))

    def _level(self, column: OneHotColumn, start: int) -> str:
        """Place (n, 1) of each row among the one-hot inputs, the last one where there is none."""
        missing = column.width - 1
        strange = missing - 1 if column.has_others else missing
        slots = {level: k if column.keeps_first else k - 1 for k, level in enumerate(column.levels)}
        slots = {"": missing} | slots
        places = {text: self._place(slot, int(start)) for text, slot in slots.items()}
        return self._graph.looked_up(self._values[column.name], places, self._place(strange, int(start)))

    def _place(self, slot: int, start: int) -> int:
        """One-hot input of a slot of a column; one beyond the last where there is none."""
        if slot < 0:
            return self._encoder.n_level_inputs
        hashing = self._encoder.hashing
        return slot + start if hashing is None else int(hashing.inputs(np.array([slot + start]))[0])

    def _dense(self) -> str | None:
        """Numbers and codes as the network has them, (n, inputs) float."""
        graph, encoder, parts = self._graph, self._encoder, []
        if encoder.numbers:
            fill, shift, factor = np.array([(n.fill, n.shift, n.factor) for n in encoder.numbers]).T
            columns = [self._values[number.name] for number in encoder.numbers]
            raw = graph.add("Concat", *columns, axis=1) if len(columns) > 1 else columns[0]
            known = graph.add("Where", graph.add("IsNaN", raw), graph.constant(fill), raw)
            centred = graph.add("Sub", known, graph.constant(shift))
            parts.append(graph.cast(graph.add("Mul", centred, graph.constant(factor)), np.float32))
        parts += [self._code(code) for code in encoder.codes]
        if not parts:
            return None
        return graph.add("Concat", *parts, axis=1) if len(parts) > 1 else parts[0]

    def _code(self, code: CodedColumn) -> str:
        """Numbers of a category, (n, width)."""
        graph, n = self._graph, len(code.levels)
        places = {"": n} | {level: k for k, level in enumerate(code.levels)}
        place = graph.looked_up(self._values[code.name], places, n)
        return graph.flat(graph.add("Gather", graph.constant(code.table), place), code.width)

    # ---- network ----------------------------------------------------------------------------------------------------

    def _network(self, levels: Sequence[str], dense: str | None) -> str:
        """Outputs of the network, (n, outputs) float."""
        graph, topology = self._graph, self._topology
        weights, biases = topology.unpack(self._model.network.flat)
        here = ""
        for k, (w, b) in enumerate(zip(weights, biases, strict=True)):
            c = topology.channels[k]
            n_in = w.shape[1]
            channels = w.reshape(-1, n_in, c) if c > 1 else w[..., None]
            shifts = b.reshape(-1, c)
            sums = [
                self._first(levels, dense, channels[..., j], shifts[:, j])
                if k == 0
                else graph.add("Gemm", here, graph.constant(channels[..., j]), graph.constant(shifts[:, j]), transB=1)
                for j in range(c)
            ]
            is_last = k == len(weights) - 1
            here = self._activated(sums, is_output=is_last)
            if topology.dropout and not is_last:
                here = graph.add("Mul", here, graph.constant(np.float32(1 - topology.dropout[k])))
        return here

    def _first(self, levels: Sequence[str], dense: str | None, w: NDArray[np.float32], b: NDArray[np.float32]) -> str:
        """Sums of the first layer, (n, units)."""
        graph, n = self._graph, self._encoder.n_level_inputs
        by_level = graph.constant(np.vstack([w[:, :n].T, np.zeros((1, len(w)), np.float32)])) if levels else ""
        parts = [graph.flat(graph.add("Gather", by_level, place), len(w)) for place in levels]
        if dense is not None:
            parts.append(graph.add("MatMul", dense, graph.constant(w[:, n:].T.copy())))
        parts.append(graph.constant(b[None]))
        return graph.add("Sum", *parts)

    def _activated(self, sums: Sequence[str], *, is_output: bool) -> str:
        """Activations of a layer."""
        graph, topology = self._graph, self._topology
        if is_output and topology.output == "softmax":
            return graph.add("Softmax", sums[0], axis=1)
        if is_output and topology.output == "linear":
            return sums[0]
        if topology.activation == "maxout":
            return graph.add("Max", *sums)
        return graph.add("Tanh" if topology.activation == "tanh" else "Relu", sums[0])

    # ---- answers ----------------------------------------------------------------------------------------------------

    def _classes(self, output: str, head: Classes) -> None:
        """Labels and probabilities."""
        graph = self._graph
        if head.correction:
            output = graph.add("Mul", output, graph.constant(np.array(head.correction, np.float32)))
            output = graph.add("Div", output, graph.sum(output, keeps=True))
        if head.threshold is None:
            best = graph.add("ArgMax", output, axis=1, keepdims=0)
        else:
            second = graph.cast(graph.add("Gather", output, graph.constant(np.int64(1)), axis=1), np.float64)
            is_second = graph.add("GreaterOrEqual", second, graph.constant(np.float64(head.threshold)))
            best = graph.cast(is_second, np.int64)
        labels = head.labels.astype(np.str_) if head.labels.dtype == object else head.labels
        labels = labels.astype(np.int64) if labels.dtype.kind in "iub" and labels.dtype != bool else labels
        graph.output(LABEL, graph.add("Gather", graph.constant(labels), best), labels.dtype, (None,))
        graph.output(PROBABILITIES, output, np.float32, (None, len(labels)))

    def _number(self, output: str, head: Numbers) -> None:
        """The predicted number, in its unit."""
        graph = self._graph
        if self._offset is not None:
            scaled = graph.add("Sub", self._offset, graph.constant(np.float64(head.shift)))
            scaled = graph.add("Mul", scaled, graph.constant(np.float64(head.factor)))
            output = graph.add("Add", output, graph.cast(scaled, np.float32))
        wide = graph.cast(output, np.float64)
        if head.link == "log":
            wide = graph.add("Min", graph.add("Exp", wide), graph.constant(np.float64(MAX)))
        else:
            wide = graph.add("Div", wide, graph.constant(np.float64(head.factor)))
            wide = graph.add("Add", wide, graph.constant(np.float64(head.shift)))
        graph.output(NUMBER, wide, np.float64, (None, 1))

    def _inputs_again(self, output: str, levels: Sequence[str], dense: str | None) -> None:
        """Inputs as the network gives them back, in the units of their columns, and their mean squared error in its own."""
        graph, encoder = self._graph, self._encoder
        n = encoder.n_level_inputs
        truth = [dense] if dense is not None else []
        if levels:
            row = [graph.flat(graph.one_hot(place, n + 1), n + 1) for place in levels]
            counted = graph.add("Sum", *row) if len(row) > 1 else row[0]
            truth = [graph.part(counted, 0, n), *truth]
        whole = graph.add("Concat", *truth, axis=1) if len(truth) > 1 else truth[0]
        wide = graph.cast(output, np.float64)
        error = graph.add("Sub", wide, graph.cast(whole, np.float64))
        mean = graph.add("ReduceMean", graph.add("Mul", error, error), axes=[1], keepdims=0)
        scale = [1 / number.factor for number in encoder.numbers]
        shift = [number.shift for number in encoder.numbers]
        for code in encoder.codes:
            scale += [deviation or 1.0 if code.is_standardized else 1.0 for deviation in code.deviations]
            shift += code.means if code.is_standardized else [0.0] * code.width
        parts = []
        if encoder.hashing and n:
            parts.append(graph.part(wide, 0, n))
        else:
            edges = encoder.starts.tolist()
            parts += [self._probabilities(graph.part(wide, a, b), b - a) for a, b in itertools.pairwise(edges)]
        if scale:
            numbers = graph.part(wide, n, n + len(scale))
            numbers = graph.add("Mul", numbers, graph.constant(np.array(scale)))
            parts.append(graph.add("Add", numbers, graph.constant(np.array(shift, np.float64))))
        again = graph.add("Concat", *parts, axis=1) if len(parts) > 1 else parts[0]
        graph.output(RECONSTRUCTION, again, np.float64, (None, n + len(scale)))
        graph.output(ANOMALY, mean, np.float64, (None,))

    def _probabilities(self, block: str, n: int) -> str:
        """Probabilities of the levels of a column: `frame.decoding`."""
        graph = self._graph
        zero = graph.constant(np.float64(0))
        positive = graph.add("Max", block, zero)
        total = graph.sum(positive, keeps=True)
        is_some = graph.add("Greater", total, zero)
        best = graph.add("ArgMax", block, axis=1, keepdims=0)
        largest = graph.cast(graph.one_hot(best, n), np.float64)
        share = graph.add("Div", positive, graph.add("Where", is_some, total, graph.constant(np.float64(1))))
        return graph.add("Where", is_some, share, largest)
