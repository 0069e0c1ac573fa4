"""Inputs as values of the table again: numbers in their units, and probabilities of levels."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from tables import UNSCORED, make_table

from dask_dl import DeepLearningRegressor
from dask_dl.frame.decoding import decoded

N = 40


@pytest.fixture(scope="module")
def table():
    return make_table(N)[["a", "b", "level", "y"]].assign(b=lambda t: 1000 + 50 * t["b"])


@pytest.fixture(scope="module")
def encoder(table):
    return DeepLearningRegressor(hidden=(3,), epochs=1, **UNSCORED).fit(table, "y").encoder_


def inputs_of(encoder, table):
    """Inputs of the network, written out."""
    dense, active, _ = encoder.encode(table[list(encoder.columns)], "the table")
    inputs = np.zeros((len(table), len(encoder.input_names)), np.float32)
    inputs[np.arange(len(table)), active[:, 0]] = 1
    inputs[:, encoder.n_level_inputs :] = dense[:, : inputs.shape[1] - encoder.n_level_inputs]
    return inputs


def test_numbers_come_back_in_their_units_and_levels_as_certain(encoder, table):
    found = pd.DataFrame(decoded(encoder, inputs_of(encoder, table)), columns=encoder.input_names)
    np.testing.assert_allclose(found[["a", "b"]], table[["a", "b"]], rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(found[["level.u", "level.v", "level.w"]], pd.get_dummies(table["level"]))


def test_probabilities_of_levels_are_shares_of_what_is_positive(encoder):
    inputs = np.zeros((2, len(encoder.input_names)), np.float32)
    inputs[:, :4] = [[0.5, -1.0, 1.5, 0.0], [-3.0, -1.0, -2.0, -4.0]]  # of none positive the largest has all
    np.testing.assert_allclose(decoded(encoder, inputs)[:, :4], [[0.25, 0, 0.75, 0], [0, 1, 0, 0]])
    assert inputs[0, 0] == 0.5  # the outputs of the network stay as they are
