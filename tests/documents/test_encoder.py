"""JSON of encoders that does not hold together."""

from __future__ import annotations

import json

import pytest

from dask_dl.checkpoint.codec import decode
from dask_dl.documents.encoder import EncoderDocument, check_columns
from dask_dl.errors import ArchiveError
from dask_dl.model.files import load_model


def document_of(encoder, **changes):
    return decode(json.dumps(encoder.to_json() | changes).encode(), EncoderDocument, "the encoder")


@pytest.fixture(scope="module")
def encoder(model_file):
    return load_model(model_file).encoder


def test_an_encoder_comes_back(encoder):
    assert document_of(encoder).encoder() == encoder


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hashing": {"n_inputs": 99, "seed": 0}}, "hashed to more inputs than they have"),
        ({"categories": [{"name": "c", "levels": ["u", "u"], "keeps_first": True}]}, "levels of column 'c' repeat"),
        ({"categories": [{"name": "a", "levels": ["u"], "keeps_first": True}]}, "names of columns repeat"),
        ({"codes": [{"name": "c", "levels": ["u"], "scheme": "eigen", "means": [0.0], "deviations": [1.0],
                     "is_standardized": True}]}, "does not have a mean and a deviation for each of its inputs"),
        ({"numbers": [{"name": "a", "fill": 0.0, "shift": 0.0, "factor": 9.0, "deviation": 2.0}]}, "its deviation is 2"),
        ({"numbers": [{"name": "a", "fill": 0.0, "shift": 1e6, "factor": 1.0}]}, "which is not its mean"),
    ],
)  # fmt: skip
def test_what_does_not_fit_together_is_refused(encoder, changes, message):
    with pytest.raises(ArchiveError, match=message):
        document_of(encoder, **changes)


def test_columns_are_among_those_of_the_table(encoder):
    document = document_of(encoder)
    check_columns(document, ["b", "c", "a"])
    with pytest.raises(ValueError, match="column 'b' is not among those of the table"):
        check_columns(document, ["a", "c"])
    with pytest.raises(ValueError, match="names of columns repeat"):
        check_columns(document, ["a", "b", "a"])
