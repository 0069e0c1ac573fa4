"""The head of numbers: units of training on the way in, those of the target on the way out."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
from tasks.rows import TOPOLOGY, roles_of, rows_of

from dask_dl.errors import SchemaError
from dask_dl.tasks import Numbers


@pytest.mark.parametrize("link", ["identity", "log"])
def test_numbers_come_back_in_their_unit(link):
    head = Numbers(50.0, 1 / 20.0, is_standardized=True) if link == "identity" else Numbers(link=link)
    numbers = np.array([10.0, 50.0, 90.0])
    encoded = head.encode(roles_of(targets=numbers))
    np.testing.assert_allclose(head.truth(rows_of(encoded), TOPOLOGY), numbers, rtol=1e-6)
    outputs = (encoded if link == "identity" else np.log(encoded)).astype(np.float32)[:, None]
    np.testing.assert_allclose(head.answers(outputs), numbers, rtol=1e-5)
    assert head.predicted(head.answers(outputs)).shape == (3,) and not head.classes


def test_units_are_those_of_the_rows_that_train():
    head = Numbers(50.0, 1 / 20.0, is_standardized=True)
    own = head.rescaled(0.5, 2.0)  # of rows whose encoded targets have this mean and deviation
    assert (own.shift, own.factor) == pytest.approx((60.0, 1 / 40.0))
    assert Numbers().rescaled(0.5, 2.0) == Numbers()
    assert head.encoded_residual(10.0) == 0.5 and head.offsets(np.array([70.0])).tolist() == [1.0]
    assert head.start_of_bias(70.0, has_offset=False) == 1.0 and head.start_of_bias(20.0, has_offset=True) == 1.0


def test_what_cannot_be_learned_is_refused():
    for m2, message in ((math.inf, "too large for a mean"), (0.0, r"is constant \(3\)")):
        with pytest.raises(SchemaError, match=message):
            Numbers.check(SimpleNamespace(target=SimpleNamespace(mean=3.0, m2=m2), n_used=5), "the target")
