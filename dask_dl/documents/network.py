"""JSON of a network, and the arrays that belong to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from msgspec import Meta
from msgspec.structs import asdict

from dask_dl.checkpoint.codec import Document
from dask_dl.documents.encoder import MAX_INPUTS
from dask_dl.documents.target import MISMATCH
from dask_dl.errors import ArchiveError
from dask_dl.kernels.layout import Topology
from dask_dl.kernels.optimizers import ADADELTA, N_STATES
from dask_dl.node.stability import instability, overflows
from dask_dl.tasks import HEADS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from dask_dl.documents.encoder import EncoderDocument
    from dask_dl.documents.target import TargetDocument

if TYPE_CHECKING:
    Task = str
else:
    Task = Literal[tuple(HEADS)]
#: Inputs, or units of a layer.
Size = Annotated[int, Meta(ge=0, le=MAX_INPUTS)]
Units = Annotated[int, Meta(ge=1, le=MAX_INPUTS)]
#: Hidden layers, at most: of more no archive could hold the weights.
MAX_LAYERS = 2**11
#: Vectors of optimizer state.
StateCount = Annotated[int, Meta(ge=0, le=max(N_STATES.values()))]


class TopologyDocument(Document):
    """Sizes and functions of a network. What early files do not know was not used then."""

    n_onehot: Size
    n_dense: Size
    hidden: Annotated[tuple[Units, ...], Meta(max_length=MAX_LAYERS)]
    n_outputs: Units
    activation: Literal["rectifier", "tanh", "maxout"]
    output: Literal["linear", "softmax", "activated"]
    dropout: tuple[Annotated[float, Meta(ge=0, lt=1)], ...] = ()
    has_means: bool = False
    n_sparse: Size = 0

    def __post_init__(self) -> None:
        if self.dropout and len(self.dropout) != len(self.hidden):
            raise ValueError("shares of dropped units are not as many as hidden layers")
        if self.n_onehot + self.n_dense == 0:
            raise ValueError("the network has no inputs")
        self.topology()  # refuses functions that do not go together

    def topology(self) -> Topology:
        """Return the topology."""
        return Topology(**asdict(self))


def check_network(task: Task, encoder: EncoderDocument, target: TargetDocument, topology: TopologyDocument) -> None:
    """Refuse a network that does not belong to its encoder or its target.

    Parameters
    ----------
    task : str
        Name of the task.
    encoder : EncoderDocument
        The encoder, whose outputs are the network's inputs.
    target : TargetDocument
        The target, which tells the outputs.
    topology : TopologyDocument
        The network.

    Raises
    ------
    ValueError
        When inputs or outputs differ.
    """
    inputs = encoder.encoder()
    mine, theirs = (
        (topology.n_onehot, topology.n_dense, topology.n_sparse),
        (inputs.n_onehot, inputs.n_dense, inputs.n_sparse),
    )
    if mine != theirs:
        raise ValueError(f"the network has {mine} inputs, and the encoder {theirs} (one-hot, numeric, sparse)")
    head = target.head(task)
    if topology.output not in head.outputs or topology.n_outputs != head.n_outputs(inputs):
        raise ValueError(MISMATCH)


def names_of(prefix: str, n_states: int) -> list[str]:
    """Names of the vectors of a network: its weights and biases, then its states."""
    return [f"{prefix}network", *(f"{prefix}state/{k}" for k in range(n_states))]


def vectors_of(
    arrays: Mapping[str, NDArray[np.float32]], topology: Topology, names: Sequence[str], where: str
) -> list[NDArray[np.float32]]:
    """Return the flat vectors of a network whose arrays were read.

    Parameters
    ----------
    arrays : mapping
        All arrays of a file.
    topology : Topology
    names : sequence of str
        As `names_of` gives them.
    where : str
        Path of the file, for errors.

    Returns
    -------
    list of (size,) float32
        Weights and biases, then the state of the optimizer, as the topology lays them out.

    Raises
    ------
    ArchiveError
        An array is missing, or has another shape or type; or its numbers cannot be weights, or states of an optimizer.
    """
    vectors = []
    for name in names:
        for part, shape in shapes_of(topology, name).items():
            check_array(arrays, part, shape, where)
        vectors.append(topology.vector(name, arrays))
    unsound = instability(topology, vectors[0])
    if unsound:
        raise ArchiveError(f"{where}: {names[0]}: {unsound}.")
    if overflows(topology, vectors[0]):
        raise ArchiveError(f"{where}: {names[0]}: answers to inputs of ordinary size are beyond float32.")
    # ADADELTA's are means of squares.
    if len(vectors) - 1 == N_STATES[ADADELTA] and min(state.min() for state in vectors[1:]) < 0:
        raise ArchiveError(f"{where}: {names[1]} or {names[2]} holds negative means of squares.")
    return vectors


def shapes_of(topology: Topology, name: str) -> dict[str, tuple[int, ...]]:
    """Shapes of the arrays that make a vector, by name; see `Topology.named`."""
    return {f"{name}/{part}": shape for part, shape in topology.array_shapes.items()}


def check_array(
    arrays: Mapping[str, NDArray[np.float32]], name: str, shape: tuple[int, ...], where: str
) -> NDArray[np.float32]:
    """Return an array, if it is there and sound.

    Parameters
    ----------
    arrays : mapping of str to array
        Arrays of the file, by name.
    name : str
        Name of the array.
    shape : tuple of int
        Shape that the network needs.
    where : str
        What errors call the file.

    Returns
    -------
    (*shape) float32
        The array.

    Raises
    ------
    ArchiveError
        When it is missing, has another shape or dtype, or holds values that are not finite.
    """
    array = arrays.get(name)
    if array is None:
        raise ArchiveError(f"{where}: the array {name!r} is missing.")
    if array.shape != shape or array.dtype != np.float32:
        raise ArchiveError(
            f"{where}: the array {name!r} is {array.dtype} of shape {array.shape}; the network needs float32 of shape {shape}."
        )
    if not np.isfinite(array).all():
        raise ArchiveError(f"{where}: the array {name!r} holds values that are not finite.")
    return array


def check_no_more(arrays: Mapping[str, object], known: Iterable[str], where: str) -> None:
    """Refuse arrays that nothing in a file's document speaks of. Raises ArchiveError."""
    if strange := arrays.keys() - set(known):
        raise ArchiveError(f"{where}: {len(strange)} arrays belong to nothing, such as {min(strange)!r}.")
