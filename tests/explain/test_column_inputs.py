"""A column's inputs of other rows are those that the encoder makes of the rows with that column's cells of the others."""

from __future__ import annotations

import numpy as np
import pytest
from tables import UNSCORED, make_table

from dask_dl import DeepLearningRegressor
from dask_dl.explain.column_inputs import ColumnInputs
from dask_dl.explain.responses import encoded

N = 200
TABLE = make_table(N, gaps=0.2)[["a", "b", "c", "level", "y"]].assign(more=np.arange(N) % 5)
TABLE["more"] = TABLE["more"].astype(str)
TABLE.loc[::3, "a"] = 0.0
X = TABLE.drop(columns="y")


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"use_all_factor_levels": False},
        {"sparse": True},
        {"sparse": True, "max_categorical_features": 3},
        *({"categorical_encoding": scheme} for scheme in ("label_encoder", "binary", "eigen", "enum_limited")),
        {"categorical_encoding": "binary", "sparse": True},
    ],
    ids=str,
)
def test_inputs_are_those_of_cells_that_were_exchanged(given):
    model = DeepLearningRegressor(hidden=(2,), epochs=0.1, n_jobs=1, **given, **UNSCORED).fit(TABLE, "y")
    encoder = model.encoder_
    rows, which = encoded(X, None, encoder, "a table"), np.random.default_rng(0).integers(0, N, 60)
    some = rows.take(np.arange(100, 160))  # whose entries lie in the pools of all
    for column in X:
        if encoder.hashing and column in {"level", "more"}:
            with pytest.raises(ValueError, match="shares its inputs with others"):
                ColumnInputs(encoder, column)
            continue
        before = some.copy()
        found = ColumnInputs(encoder, column).copied(some, rows, which).compact()
        cells = X[100:160].assign(**{column: X[column].to_numpy()[which]})
        for mine, expected in zip(found.parts, encoded(cells, None, encoder, "a table").compact().parts, strict=True):
            np.testing.assert_array_equal(mine, expected)
        for mine, expected in zip(
            some.compact().parts, before.parts, strict=True
        ):  # the rows themselves are as they were
            np.testing.assert_array_equal(mine, expected)
    with pytest.raises(ValueError, match="there is no column 'nothing'"):
        ColumnInputs(encoder, "nothing")
