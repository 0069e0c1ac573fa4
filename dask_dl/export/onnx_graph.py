"""Graph of ONNX that grows node by node."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


#: Versions of the operators, which every onnxruntime since 1.7 knows, and of the format.
OPSET, OPSET_ML, IR = 13, 2, 7


class Graph:
    """Nodes, constants, inputs and outputs. Values are known by their names."""

    def __init__(self) -> None:
        import onnx

        self._onnx: Any = onnx
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []
        self._n = 0

    def _name(self) -> str:
        """Name that no column has."""
        self._n += 1
        return f"dask_dl/{self._n}"

    def input(self, name: str, dtype: Any, shape: Sequence[int | None]) -> str:
        """Declare an input; returns its name."""
        self._inputs.append(self._onnx.helper.make_tensor_value_info(name, self._kind(dtype), shape))
        return name

    def output(self, name: str, value: str, dtype: Any, shape: Sequence[int | None]) -> None:
        """Declare a value as an output.

        Parameters
        ----------
        name : str
            Name of the output; with underscores where an input has it.
        value : str
            Name of the value.
        dtype : object
            Type of NumPy.
        shape : sequence of int or None
        """
        taken = {known.name for known in self._inputs}
        while name in taken:
            name += "_"
        self._nodes.append(self._onnx.helper.make_node("Identity", [value], [name]))
        self._outputs.append(self._onnx.helper.make_tensor_value_info(name, self._kind(dtype), shape))

    def add(self, operator: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Add a node of one output.

        Parameters
        ----------
        operator : str
            Of ONNX.
        *inputs : str
            Names of values.
        domain : str
            Domain of the operator.
        **attributes : object
            Of the operator.

        Returns
        -------
        str
            Name of the output.
        """
        name = self._name()
        self._nodes.append(self._onnx.helper.make_node(operator, inputs, [name], domain=domain, **attributes))
        return name

    def constant(self, array: Any) -> str:
        """A constant array or number; returns its name."""
        name, values = self._name(), np.ascontiguousarray(array).reshape(np.shape(array))
        if values.dtype.kind == "U":
            values = values.astype(object)
        self._constants.append(self._onnx.numpy_helper.from_array(values, name))
        return name

    def cast(self, value: str, dtype: Any) -> str:
        """Value of another type."""
        return self.add("Cast", value, to=self._kind(dtype))

    def looked_up(self, texts: str, places: Mapping[str, int], default: int) -> str:
        """Integers for texts."""
        keys, values = list(places), list(places.values())
        return self.add(
            "LabelEncoder", texts, domain="ai.onnx.ml", keys_strings=keys, values_int64s=values, default_int64=default
        )

    def flat(self, value: str, width: int) -> str:
        """Value (n, 1, width) as (n, width)."""
        return self.add("Reshape", value, self.constant(np.array([-1, width])))

    def sum(self, value: str, *, keeps: bool) -> str:
        """Sum of every row."""
        return self.add("ReduceSum", value, self.constant(np.array([1])), keepdims=int(keeps))

    def one_hot(self, place: str, depth: int) -> str:
        """1 at a place of every row, float."""
        ends = self.constant(np.array([0, 1], np.float32))
        return self.add("OneHot", place, self.constant(np.int64(depth)), ends, axis=-1)

    def part(self, value: str, start: int, stop: int) -> str:
        """Columns [start, stop)."""
        bounds = (self.constant(np.array([place])) for place in (start, stop, 1))
        return self.add("Slice", value, *bounds)

    def model(self) -> Any:
        """The graph as a model, checked."""
        helper = self._onnx.helper
        graph = helper.make_graph(self._nodes, "dask_dl", self._inputs, self._outputs, self._constants)
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", OPSET_ML)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR, producer_name="dask_dl")
        self._onnx.checker.check_model(model)
        return model

    def _kind(self, dtype: Any) -> int:
        """ONNX's number of a type of NumPy."""
        kinds = self._onnx.TensorProto
        dtype = np.dtype(dtype)
        if dtype.kind in "UO":
            return int(kinds.STRING)
        return int(
            {"float32": kinds.FLOAT, "float64": kinds.DOUBLE, "int64": kinds.INT64, "bool": kinds.BOOL}[dtype.name]
        )
