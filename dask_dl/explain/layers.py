"""Layers of a trained network: their kinds, their figures, and their weights under the names of inputs and units."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from dask_dl import parameters
from dask_dl.errors import ParameterError
from dask_dl.kernels.optimizers import Optimizer
from dask_dl.node.layers import layer_faults, layer_stats

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dask_dl.model import Model
    from dask_dl.state import LayerStats

#: Figures of a layer by the names of the columns that show them.
FIGURES = ("mean_rate", "rate_rms", "momentum", "mean_weight", "weight_rms", "mean_bias", "bias_rms")


def optimizer_of(model: Model) -> Optimizer:
    """Optimizer that trained a model; what an early file does not know has its default."""
    defaults = {name: row.default for name, row in parameters.TABLE.items()}
    return Optimizer.of_parameters(defaults | dict(model.record.effective))


def stats_of(model: Model) -> tuple[LayerStats, ...]:
    """Figures of the layers of the network that came out; the dead units of its scoring, where they were counted."""
    network, record = model.network, model.record
    stats = layer_stats(network.topology, network.flat, network.states, optimizer_of(model), record.n_seen)
    scored = record.history.events[-1].layers
    if not scored or record.history.events[-1].samples != record.n_seen:
        return stats
    return tuple(now._replace(n_dead=then.n_dead) for now, then in zip(stats, scored, strict=True))


def summary(model: Model) -> pd.DataFrame:
    """Status of the layers (algorithm.md#layer-summary), one row each; the inputs are the first."""
    topology, optimizer, stats = model.network.topology, optimizer_of(model), stats_of(model)
    n_hidden, penalties = len(topology.hidden), optimizer.penalties
    kind = topology.activation.capitalize() + ("Dropout" if topology.dropout else "")
    output = {"softmax": "Softmax", "linear": "Linear", "activated": topology.activation.capitalize()}[topology.output]
    dropped = [round(1.0 - optimizer.input_kept, 12), *(topology.dropout or (0.0,) * n_hidden), np.nan]
    rows: list[dict[str, Any]] = [{"units": topology.n_inputs, "type": "Input"}]
    for units, name, layer in zip(topology.units, [kind] * n_hidden + [output], stats, strict=True):
        figures = {figure: getattr(layer, figure) for figure in FIGURES}
        rows.append({"units": units, "type": name, "l1": penalties.l1, "l2": penalties.l2, **figures})
    table = pd.DataFrame(rows, index=pd.RangeIndex(1, len(rows) + 1, name="layer"))
    table.insert(2, "dropout", 100.0 * np.array(dropped))
    dead = [layer.n_dead for layer in stats]
    if any(n is not None for n in dead):
        table["dead_units"] = pd.array([None, *dead], dtype="Int64")
    return table


def history(model: Model) -> pd.DataFrame:
    """Figures of layers at every scoring. Raises AttributeError where they were not kept."""
    table = model.record.history.layers_to_pandas()
    if table.empty:
        raise AttributeError("the figures of layers were not kept: train with layer_history=True.")
    return table


def faults(model: Model) -> list[str]:
    """Faults of the layers of the network that came out, in sentences."""
    return layer_faults(model.network.topology, stats_of(model), model.encoder.n_active)


def weights(model: Model, layer: int) -> pd.DataFrame:
    """Weights into a layer.

    Parameters
    ----------
    model : Model
    layer : int
        Number of the layer, from 0; that of the output is the number of hidden layers.

    Returns
    -------
    pandas.DataFrame of shape (units, inputs)
        Of maxout (units x 2, inputs), indexed by unit and channel.

    Raises
    ------
    ParameterError
        When there is no such layer.
    """
    k, topology = _checked(model, layer), model.network.topology
    matrix = topology.unpack(model.network.flat)[0][k]
    channels = topology.channels[k]
    table = matrix.reshape(topology.units[k], -1, channels).transpose(0, 2, 1).reshape(-1, matrix.shape[1])
    inputs = model.encoder.input_names if k == 0 else _names(topology.hidden[k - 1])
    return pd.DataFrame(table, index=_units(model, k), columns=pd.Index(inputs, name="input"))


def biases(model: Model, layer: int) -> pd.Series[Any]:
    """Biases of a layer, indexed as the rows of `weights`. Raises ParameterError when there is no such layer."""
    k = _checked(model, layer)
    vector = model.network.topology.unpack(model.network.flat)[1][k]
    found: pd.Series[Any] = pd.Series(vector, index=_units(model, k), name="bias")
    return found


def _units(model: Model, k: int) -> pd.Index[Any]:
    """Names of the units of a layer; of two channels each, where it has them."""
    topology, head = model.network.topology, model.head
    names: Sequence[Any] = _names(topology.units[k])
    if k == len(topology.hidden):
        of_output: Sequence[Any] = model.encoder.input_names if head.of_inputs else head.classes
        names = of_output if len(of_output) == topology.n_outputs else ["predict"]
    if topology.channels[k] == 1:
        index: pd.Index[Any] = pd.Index(names, name="unit")
        return index
    return pd.MultiIndex.from_product([names, range(1, topology.channels[k] + 1)], names=["unit", "channel"])


def _names(n: int) -> list[str]:
    return [f"C{j + 1}" for j in range(n)]


def _checked(model: Model, layer: Any) -> int:
    n = len(model.network.topology.units)
    if isinstance(layer, bool) or not isinstance(layer, (int, np.integer)) or not 0 <= layer < n:
        raise ParameterError(
            f"layer={layer!r}: the network has {n} layers with weights, 0 to {n - 1}; the last is the output."
        )
    return int(layer)
