"""Models of H2O's Deep Learning, as its archives (MOJO) hold them, as models of this package.

What an archive does not hold is not known afterwards: the optimizer's state, history and metrics, most parameters.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from dask_dl import parameters
from dask_dl.checkpoint.plain import plain
from dask_dl.documents.encoder import EncoderDocument, check_columns
from dask_dl.documents.network import TopologyDocument, check_network
from dask_dl.documents.target import TargetDocument
from dask_dl.errors import ArchiveError
from dask_dl.export.mojo_archive import MojoArchive, read_mojo_archive
from dask_dl.frame.categorical import CodedColumn, OneHotColumn
from dask_dl.frame.encoder import Encoder, Number
from dask_dl.kernels.layout import Topology
from dask_dl.metrics.history import History
from dask_dl.model import Model
from dask_dl.model.model import TrainedNetwork
from dask_dl.model.record import TrainingRecord
from dask_dl.node.stability import instability, overflows
from dask_dl.parameters.table import FOR_NUMBERS
from dask_dl.tasks import Classes, Numbers, Reconstruction

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

    from dask_dl.tasks.head import Head

#: The newest version of archives whose rules are known.
MAX_VERSION = 1.10
TASKS: dict[str, parameters.Task] = {
    "Binomial": "classification",
    "Multinomial": "classification",
    "Regression": "regression",
    "AutoEncoder": "autoencoder",
}
ACTIVATIONS = {"Rectifier": "rectifier", "Tanh": "tanh", "Maxout": "maxout"}
DROPOUT = "WithDropout"
#: Encodings by H2O's name.
SCHEMES = {"Binary": "binary", "LabelEncoder": "label_encoder", "Eigen": "eigen"}
#: Labels that are numbers, as H2O's clients and pandas read its answers.
_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,17}")


class _Inputs(NamedTuple):
    """Encoder, and where its inputs are among those of the archive."""

    encoder: Encoder
    columns: tuple[str, ...]  #: predictors, as tables have them
    order: NDArray[np.intp]
    scheme: str


def read_mojo(path: str | os.PathLike[str]) -> Model:
    """Read a model that H2O wrote as MOJO. No code in the file is run.

    Raises
    ------
    ArchiveError
        When the file is damaged, of another algorithm, or of a model that this package cannot express; the text says why.
    FileNotFoundError
    """
    mojo = read_mojo_archive(path)
    _check_kind(mojo)
    task = TASKS[mojo.text("category")]
    try:
        inputs = _inputs(mojo)
        head = _head(mojo, task)
        topology = _topology(mojo, task, inputs.encoder, head)
        encoder_document = msgspec.convert(plain(inputs.encoder.to_json()), EncoderDocument)
        check_columns(encoder_document, inputs.columns)
        target_document = msgspec.convert(plain(head.to_json()), TargetDocument)
        described = {name: getattr(topology, name) for name in TopologyDocument.__struct_fields__}
        check_network(task, encoder_document, target_document, msgspec.convert(plain(described), TopologyDocument))
    except ArchiveError:
        raise
    except (ValueError, OverflowError) as error:  # msgspec's ValidationError among them
        raise mojo.fault(str(error)) from error
    flat = _flat(mojo, topology, inputs)
    record = _record(mojo, task, inputs, head, topology)
    return Model(inputs.encoder, TrainedNetwork(topology, flat, ()), head, record)


def _check_kind(mojo: MojoArchive) -> None:
    """Refuse archives of other algorithms and later versions. Raises ArchiveError."""
    if mojo.text("algorithm") != "Deep Learning":
        raise mojo.fault(f"its model is of the algorithm {mojo.text('algorithm')[:60]!r}, and not of Deep Learning")
    if not mojo.real("mojo_version") <= MAX_VERSION:
        raise mojo.fault(
            f"it is of version {mojo.text('mojo_version')[:20]}, and versions up to {MAX_VERSION} are known"
        )
    if mojo.text("category") not in TASKS:
        raise mojo.fault(f"its category is {mojo.text('category')[:60]!r}, and not one of {', '.join(TASKS)}")
    if mojo.count("n_columns") != len(mojo.columns):
        raise mojo.fault(f"it says n_columns = {mojo.count('n_columns')}, and has {len(mojo.columns):,}")
    n_features = mojo.count("n_features")
    if mojo.count("nums") + mojo.count("cats") != n_features or n_features > len(mojo.columns):
        raise mojo.fault("its numbers of columns, n_columns, n_features, nums and cats, do not go together")


def _inputs(mojo: MojoArchive) -> _Inputs:
    """Encoder of the columns, in the order of the archive."""
    encoding = mojo.info.get("_genmodel_encoding", "AUTO")
    n_categories, n_numbers = mojo.count("cats"), mojo.count("nums")
    if encoding not in {"AUTO", *SCHEMES}:
        raise mojo.fault(
            f"its categorical_encoding is not known ({encoding[:40]}): H2O cannot read it either (enum_limited)"
        )
    scheme = SCHEMES.get(encoding, "one_hot_internal")
    if scheme != "one_hot_internal" and n_categories:
        raise mojo.fault(f"it has columns of levels after the encoding {encoding}")
    if any((place in mojo.domains) != (place < n_categories) for place in range(n_categories + n_numbers)):
        raise mojo.fault("its domains are not those of its columns of levels")
    keeps_first = mojo.flag("use_all_factor_levels") or mojo.text("category") == "AutoEncoder"
    categories = [OneHotColumn(mojo.columns[k], mojo.domains[k], keeps_first) for k in range(n_categories)]
    widths = [category.width for category in categories]
    if mojo.counts("cat_offsets") != [0, *np.cumsum(widths, dtype=np.int64).tolist()]:
        raise mojo.fault("its cat_offsets are not those of its levels")
    factors, shifts = np.ones(n_numbers), np.zeros(n_numbers)
    if mojo.has("norm_mul"):
        factors = mojo.reals("norm_mul", n_numbers)
        shifts = mojo.reals("norm_sub", n_numbers) if mojo.has("norm_sub") else shifts
    if (factors <= 0).any():
        raise mojo.fault("norm_mul has numbers that are not positive")
    names = mojo.columns[n_categories : n_categories + n_numbers]
    scales = {
        name: (shift, factor) for name, shift, factor in zip(names, shifts.tolist(), factors.tolist(), strict=True)
    }
    codes: list[CodedColumn] = []
    columns = mojo.columns[: n_categories + n_numbers]
    if scheme != "one_hot_internal":
        codes, columns = _codes(mojo, scheme, scales)
    coded = {name for code in codes for name in code.input_names}
    # A missing number is 0 after scaling, which is its shift before.
    numbers = [Number(name, shift, shift, factor) for name, (shift, factor) in scales.items() if name not in coded]
    encoder = Encoder(tuple(categories), tuple(numbers), tuple(codes))
    place = {name: k for k, name in enumerate(names)}
    ours = [
        place[name] for name in (*(n.name for n in numbers), *(name for code in codes for name in code.input_names))
    ]
    order = np.array([*range(sum(widths)), *(sum(widths) + k for k in ours)], np.intp)
    return _Inputs(encoder, tuple(columns), order, scheme)


def _codes(
    mojo: MojoArchive, scheme: str, scales: dict[str, tuple[float, float]]
) -> tuple[list[CodedColumn], tuple[str, ...]]:
    """Columns of levels that are numbers; and the predictors of a table."""
    names = mojo.lines.get("_orig_names", ())
    if len(names) != mojo.count("_n_orig_names"):
        raise mojo.fault("its columns before the encoding, _orig_names, are not as many as _n_orig_names says")
    ignored = set(mojo.columns[mojo.count("n_features") :])
    is_scaled = mojo.has("norm_mul")
    codes, columns, at = [], [], 0
    projections = mojo.reals("_orig_projection_array") if scheme == "eigen" else np.zeros(0)
    for k, name in enumerate(names):
        levels = mojo.lines.get(f"_orig_domain_values_{k}")
        n = len(levels or ())
        if n != mojo.count(f"_m_orig_domain_values_{k}"):
            raise mojo.fault(f"_m_orig_domain_values_{k} is not {n:,}, the number of levels of {name[:60]!r}")
        vector, at = projections[at : at + n], at + n
        if name in ignored:
            continue
        columns.append(name)
        if not n or levels is None:
            continue
        if len(vector) != (n if scheme == "eigen" else 0):
            raise mojo.fault(f"_orig_projection_array has no number for some levels of {name[:60]!r}")
        if scheme == "label_encoder" and _is_integer(levels[0]):
            raise mojo.fault(
                f"label_encoder takes the levels of column {name[:60]!r}, which are numbers, for their codes"
            )
        width = 1 + int(math.log2(n)) if scheme == "binary" else 1
        bare = CodedColumn(name, levels, scheme, (0.0,) * width, (1.0,) * width, is_scaled, tuple(vector.tolist()))
        if lacking := [new for new in bare.input_names if new not in scales]:
            raise mojo.fault(f"it has no column {lacking[0][:60]!r}, which the encoding makes of {name[:60]!r}")
        shifts, factors = zip(*(scales[new] for new in bare.input_names), strict=True)
        means = tuple(shifts)
        deviations = tuple(1 / factor for factor in factors)
        codes.append(CodedColumn(name, levels, scheme, means, deviations, is_scaled, bare.vector))
    return codes, tuple(columns)


def _is_integer(level: str) -> bool:
    try:
        int(level)
    except ValueError:
        return False
    return True


def _head(mojo: MojoArchive, task: str) -> Head:
    """Meaning of the outputs."""
    if task == "autoencoder":
        return Reconstruction()
    if task == "regression":
        link = "log" if mojo.text("distribution") in {"poisson", "gamma", "tweedie"} else "identity"
        if not mojo.has("norm_resp_mul"):
            return Numbers(link=link)
        (factor,), (shift,) = mojo.reals("norm_resp_mul", 1), mojo.reals("norm_resp_sub", 1)
        return Numbers(float(shift), float(factor), is_standardized=True, link=link)
    labels: tuple[Any, ...] = mojo.domains.get(len(mojo.columns) - 1, ())
    if len(labels) != mojo.count("n_classes"):
        raise mojo.fault(f"its last column has {len(labels):,} levels, and n_classes is {mojo.count('n_classes'):,}")
    if all(map(_WHOLE.fullmatch, labels)):
        labels = tuple(map(int, labels))
    correction: tuple[float, ...] = ()
    if mojo.flag("balance_classes") and mojo.has("model_class_distrib"):
        prior, drawn = (mojo.reals(key, len(labels)) for key in ("prior_class_distrib", "model_class_distrib"))
        if not ((prior > 0) & (drawn > 0)).all():
            raise mojo.fault("prior_class_distrib or model_class_distrib has numbers that are not positive")
        correction = tuple((prior / drawn).tolist())
    head = Classes(labels, correction)
    return head.with_threshold(mojo.real("default_threshold")) if len(labels) == 2 else head


def _topology(mojo: MojoArchive, task: str, encoder: Encoder, head: Head) -> Topology:
    """Sizes and functions of the network, as the archive has them."""
    name = mojo.text("activation").removesuffix(DROPOUT)
    if name not in ACTIVATIONS:
        raise mojo.fault(f"its units are of {name[:40]!r}; those of {', '.join(ACTIVATIONS)} are known")
    n_inputs, *hidden, n_outputs = mojo.counts("neural_network_sizes") or [0, 0]
    if n_inputs != encoder.n_onehot + encoder.n_dense:
        raise mojo.fault(
            f"its network has {n_inputs:,} inputs, and its columns {encoder.n_onehot + encoder.n_dense:,}. If "
            f"max_categorical_features made levels share inputs: a MOJO does not say how, and H2O cannot read it either"
        )
    if n_outputs != head.n_outputs(encoder):
        raise mojo.fault(f"its network has {n_outputs:,} outputs, and its task {head.n_outputs(encoder):,}")
    dropout: tuple[float, ...] = ()
    if mojo.has("hidden_dropout_ratios"):
        ratios = mojo.reals("hidden_dropout_ratios", len(hidden) + 1)
        dropout = tuple(ratios[:-1].tolist()) if ratios.any() else ()
    output = {"classification": "softmax", "regression": "linear", "autoencoder": "activated"}[task]
    return Topology(
        encoder.n_onehot, encoder.n_dense, tuple(hidden), n_outputs, ACTIVATIONS[name], output, dropout
    )  # fmt: skip


def _flat(mojo: MojoArchive, topology: Topology, inputs: _Inputs) -> NDArray[np.float32]:
    """Weights and biases, inputs in the order of the encoder. Raises ArchiveError where they are not sound."""
    last = len(topology.units) - 1
    weights, biases = [], []
    for k, (n_out, n_in) in enumerate(topology.shapes):
        c = topology.channels[k]
        with np.errstate(over="ignore"):
            # Weight i of unit j and channel k is at 2 (j inputs + i) + k, as in files of our own.
            matrix = mojo.reals(f"weight_layer{k}", n_out * n_in).astype(np.float32).reshape(n_out // c, n_in, c)
            bias = mojo.reals(f"bias_layer{k}", n_out).astype(np.float32)
        if k == 0:
            matrix = matrix[:, inputs.order]
        if k == last and topology.output == "activated":
            matrix, bias = matrix[inputs.order], bias[inputs.order]
        weights.append(matrix.reshape(n_out, n_in))
        biases.append(bias)
    flat = topology.pack(weights, biases)
    if unsound := instability(topology, flat):
        raise mojo.fault(unsound)
    if overflows(topology, flat):
        raise mojo.fault("answers to inputs of ordinary size are beyond float32")
    return flat


def _record(
    mojo: MojoArchive, task: parameters.Task, inputs: _Inputs, head: Head, topology: Topology
) -> TrainingRecord:
    """Record of the training: the parameters that the archive tells, others by default."""
    family = mojo.text("distribution")
    activation = topology.activation + ("_with_dropout" if mojo.text("activation").endswith(DROPOUT) else "")
    given: dict[str, Any] = parameters.constructor_defaults() | {
        "hidden": topology.hidden,
        "activation": activation,
        "standardize": mojo.has("norm_mul"),
        "use_all_factor_levels": mojo.flag("use_all_factor_levels"),
        "missing_values_handling": "mean_imputation" if mojo.flag("mean_imputation") else "skip",
        "categorical_encoding": "auto" if inputs.scheme == "one_hot_internal" else inputs.scheme,
    }
    if task == "regression" and family not in FOR_NUMBERS:
        raise mojo.fault(f"its distribution is {family[:40]!r}, and not one of {', '.join(FOR_NUMBERS[1:])}")
    if task == "regression" and family != "gaussian":
        given["distribution"] = family
    if task == "autoencoder":
        given["output_activation"] = "same"
    if "_with_dropout" in activation:
        given["hidden_dropout_ratios"] = topology.dropout or (0.0,) * len(topology.hidden)
    effective = parameters.effective(given, task=task, n_classes=len(head.classes) or None)
    history = History(head.kind, has_validation=False)
    history.start()
    used = mojo.columns[mojo.count("n_features") :]
    offset_name = mojo.text("offset_column") if mojo.has("offset_column") else None
    if offset_name is not None and (offset_name not in used or not head.takes_offsets):
        raise mojo.fault(f"offset_column is {offset_name[:60]!r}, which is no such column, or its task takes none")
    return TrainingRecord(
        requested=given,
        effective=effective | {"random_state": 0},
        history=history,
        n_seen=0,
        n_rounds=0,
        n_rows=1,
        feature_names=inputs.columns,
        is_named=True,
        offset_name=offset_name,
        target_name=used[-1] if used and task != "autoencoder" else None,
        versions={"h2o": mojo.info.get("h2o_version", "unknown")[:60]},
    )
