"""Models in H2O's format MOJO, which its scorer for Java takes (`hex.genmodel`).

That scorer has rules of its own for missing numbers: after scaling they are 0. So numbers are written as centred where
missing ones lie, and what this moves is in the biases of the first layer.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
from typing import TYPE_CHECKING, Any

import numpy as np

from dask_dl.errors import ParameterError, warn
from dask_dl.export.mojo_archive import write_mojo_archive
from dask_dl.export.mojo_reader import ACTIVATIONS, DROPOUT, MAX_VERSION, SCHEMES
from dask_dl.parameters import show

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dask_dl.frame.encoder import Encoder
    from dask_dl.model import Model

CATEGORIES = {"classification": "Multinomial", "regression": "Regression", "autoencoder": "AutoEncoder"}


def write_mojo(model: Model, path: str | os.PathLike[str]) -> None:
    """Write a model as MOJO, whole or not at all.

    Raises
    ------
    ParameterError
        When the model has options that no MOJO can carry; all are named, and nothing is written.
    OSError
        The folder is missing, read-only or full; nothing was changed.
    """
    if faults := _faults(model):
        raise ParameterError(f"a MOJO cannot carry {'; '.join(faults)}. Save the model with `save` instead.")
    encoder, record = model.encoder, model.record
    if record.offset_name is not None:
        warn("H2O's scorer of MOJO archives ignores offsets: see the guide, MOJO archives of H2O.")
    codes = encoder.codes
    used = [
        *(c.name for c in encoder.categories),
        *(n.name for n in encoder.numbers),
        *(name for code in codes for name in code.input_names),
    ]
    offset = [record.offset_name or "offset"] if record.offset_name is not None else []
    target = [] if model.task == "autoencoder" else [_target_name(model)]
    columns = [*used, *offset, *target]
    labels = [str(label) for label in model.head.classes]
    domains: dict[int, Sequence[str]] = {k: category.levels for k, category in enumerate(encoder.categories)}
    if labels:
        domains[len(columns) - 1] = labels
    info = _description(model, len(used), len(columns), len(domains)) | _inputs(encoder)
    if offset:
        info["offset_column"] = offset[0]
    info |= _outputs(model) | _network(model)
    lines: dict[str, Sequence[str]] = {}
    info["_genmodel_encoding"] = "AUTO"
    if codes:
        originals = [(number.name, ()) for number in encoder.numbers] + [(code.name, code.levels) for code in codes]
        originals += [(name, ()) for name in offset] + [(name, tuple(labels)) for name in target]
        lines["_orig_names"] = [name for name, _ in originals]
        lines |= {f"_orig_domain_values_{k}": levels for k, (_, levels) in enumerate(originals) if levels}
        info["_genmodel_encoding"] = next(theirs for theirs, ours in SCHEMES.items() if ours == codes[0].scheme)
        info |= {"_n_orig_names": len(originals), "_n_orig_domain_values": len(originals)}
        info |= {f"_m_orig_domain_values_{k}": len(levels) for k, (_, levels) in enumerate(originals)}
    vector = [number for code in codes for number in code.vector]
    info["_orig_projection_array"] = vector or None
    write_mojo_archive(path, info, columns, domains, lines)


def _target_name(model: Model) -> str:
    """Name for the target, which tables have only if it was a column."""
    taken, name = {*model.encoder.columns, model.record.offset_name}, model.record.target_name or "target"
    while name in taken:
        name += "_"
    return name


def _faults(model: Model) -> list[str]:
    """Options that no MOJO can carry."""
    encoder, head, topology = model.encoder, model.head, model.network.topology
    found = []
    if encoder.hashing:
        asked = model.record.effective.get("max_categorical_features", encoder.hashing.n_inputs)
        found.append(f"max_categorical_features={show(asked)}: levels that share inputs")
    found += [
        f"categorical_encoding='enum_limited': rare levels of column {category.name!r} that share an input"
        for category in encoder.categories
        if category.has_others
    ][:1]
    if topology.output == "linear" and model.task == "autoencoder":
        found.append("output_activation='linear': outputs of an autoencoder that are not like its hidden units")
    is_moved = any(fill != shift for fill, shift, _ in _scales(encoder))
    if model.task == "autoencoder" and is_moved:
        found.append("standardize=False of an autoencoder: that missing numbers are the mean, for H2O's scorer takes 0")
    found += [
        f"categorical_encoding='label_encoder' of column {code.name!r}, whose levels H2O takes for their codes"
        for code in encoder.codes
        if code.scheme == "label_encoder" and code.levels[0].lstrip("+-").isdecimal()
    ][:1]
    labels = [str(label) for label in head.classes]
    if len(set(labels)) < len(labels):
        found.append("labels that are different and look the same as texts")
    names = [*encoder.columns, _target_name(model), *([model.record.offset_name] if model.record.offset_name else [])]
    odd = [
        name for name in names if name != name.strip() or not name or name[0] in "#[" or "\n" in name or "\r" in name
    ]
    if odd:
        found.append(f"column {odd[0]!r}: a name that is empty, begins with # or [, or has blanks or lines around it")
    levels = [level for category in encoder.categories for level in category.levels]
    levels += [level for code in encoder.codes for level in code.levels]
    blank = [level for level in (*levels, *labels) if level != level.strip()]
    if blank:
        found.append(f"level {blank[0]!r}: blanks around it")
    return found


def _scales(encoder: Encoder) -> list[tuple[float, float, float]]:
    """(what missing ones become, shift, factor) of every number, before scaling."""
    found = [(number.fill, number.shift, number.factor) for number in encoder.numbers]
    for code in encoder.codes:
        for mean, deviation in zip(code.means, code.deviations, strict=True):
            found.append((mean, mean, 1 / (deviation or 1.0)) if code.is_standardized else (mean, 0.0, 1.0))
    return found


def _description(model: Model, n_features: int, n_columns: int, n_domains: int) -> dict[str, Any]:
    """Keys that every MOJO has."""
    n_classes = len(model.head.classes)
    threshold = getattr(model.head, "threshold", None)
    correction = np.array(model.head.correction or np.ones(n_classes))
    digest = hashlib.sha256(model.network.flat.tobytes()).digest()
    return {
        "h2o_version": f"dask_dl {importlib.metadata.version('dask_dl')}",
        "mojo_version": f"{MAX_VERSION:.2f}",
        "algo": "deeplearning",
        "algorithm": "Deep Learning",
        "endianness": "LITTLE_ENDIAN",
        "category": "Binomial" if n_classes == 2 else CATEGORIES[model.task],
        "uuid": int.from_bytes(digest[:8], "little", signed=True),
        "supervised": model.task != "autoencoder",
        "n_features": n_features,
        "n_classes": n_classes or 1,
        "n_columns": n_columns,
        "n_domains": n_domains,
        "balance_classes": bool(model.head.correction),
        "default_threshold": 0.5 if threshold is None else float(threshold),
        # The scorer multiplies by one and divides by the other.
        "prior_class_distrib": correction / correction.sum() if n_classes else None,
        "model_class_distrib": np.full(n_classes, 1 / n_classes) if n_classes else None,
        "escape_domain_values": True,
        "mini_batch_size": 1,
    }


def _inputs(encoder: Encoder) -> dict[str, Any]:
    """Keys of what makes inputs of columns."""
    scales = np.array(_scales(encoder)).reshape(-1, 3)
    fill, _, factor = scales.T
    keeps_first = all(category.keeps_first for category in encoder.categories)
    n_levels = [category.n_levels for category in encoder.categories]
    modes = {"cat_modes": [n - (not keeps_first) for n in n_levels]} if n_levels else {}
    return {
        "nums": len(scales),
        "cats": len(n_levels),
        "cat_offsets": encoder.starts.tolist(),
        "norm_mul": factor if len(scales) else None,
        "norm_sub": fill if len(scales) else None,
        "use_all_factor_levels": keeps_first,
        "mean_imputation": True,
        **modes,
    }


def _outputs(model: Model) -> dict[str, Any]:
    """Keys of what makes answers of outputs."""
    numbers = model.head.numbers
    is_scaled = numbers is not None and model.head.to_json()["is_standardized"]
    return {
        "norm_resp_mul": [float(numbers.factor)] if numbers is not None and is_scaled else None,
        "norm_resp_sub": [float(numbers.shift)] if numbers is not None and is_scaled else None,
        "distribution": model.record.effective["distribution"],
    }


def _network(model: Model) -> dict[str, Any]:
    """Keys of layers and their weights."""
    topology = model.network.topology
    word = next(theirs for theirs, ours in ACTIVATIONS.items() if ours == topology.activation)
    weights, biases = topology.unpack(model.network.flat)
    vectors: list[NDArray[np.float64]] = [bias.astype(np.float64) for bias in biases]
    moved = np.array([(fill - shift) * factor for fill, shift, factor in _scales(model.encoder)])
    if moved.any():
        c, dense = topology.channels[0], topology.n_inputs - len(moved)
        first = weights[0].reshape(topology.units[0], topology.n_inputs, c)[:, dense:].astype(np.float64)
        vectors[0] += np.einsum("jik,i->jk", first, moved).ravel()
    found: dict[str, Any] = {
        "activation": word + DROPOUT * bool(topology.dropout),
        "neural_network_sizes": [topology.n_inputs, *topology.units],
    }
    for k, (matrix, vector) in enumerate(zip(weights, vectors, strict=True)):
        found |= {f"weight_layer{k}": matrix.ravel(), f"bias_layer{k}": vector}
    ratios = topology.dropout or (0.0,) * len(topology.hidden)
    return found | {"hidden_dropout_ratios": [*map(float, ratios), 0.0]}
