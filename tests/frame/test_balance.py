"""Class balance (algorithm.md#class-balance): ratios, draws, and the stream of visits that follows from them."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
from frame.test_block_store import rows_of, store_of

from dask_dl.cluster.row_stream import RowStream
from dask_dl.frame.balance import Balance
from dask_dl.frame.blocks import BlockOptions, Blocks
from dask_dl.frame.subset import Subset
from dask_dl.frame.view import View
from dask_dl.tasks import Classes

COUNTS = (900, 90, 10)


@pytest.mark.parametrize(
    ("maximum", "ratios", "n_rows"),
    [(5.0, (1, 10, 90), 2700), (1.0, (0.37037, 3.7037, 33.333), 1000)],
)
def test_ratios_are_those_of_the_worked_example(maximum, ratios, n_rows):
    balance = Balance.of(COUNTS, None, maximum, seed=0)
    assert balance.ratios == pytest.approx(ratios, rel=1e-4)
    assert balance.n_visits(COUNTS) == pytest.approx(n_rows)


def test_factors_are_ratios_within_the_limit():
    assert Balance.of((10, 20), (2.0, 0.5), 5.0, 0).ratios == (2.0, 0.5)
    assert Balance.of((10, 20), (2.0, 0.5), 0.5, 0).ratios == (1.0, 0.25)
    assert Balance.of((10, 20), (0.0, 0.0), 5.0, 0) == Balance.of((10, 20), None, 5.0, 0)
    assert Balance.of((1, 1, 1), None, 1e-9, 0).n_visits((1, 1, 1)) == pytest.approx(3)  # as many as there are classes


def test_probabilities_are_corrected_as_in_the_worked_example():
    balance = Balance.of(COUNTS, None, 5.0, seed=0)
    head = Classes(("a", "b", "c")).corrected(balance.correction(COUNTS))
    found = head.answers(np.array([[0.2, 0.3, 0.5]], np.float32))
    np.testing.assert_allclose(found, [[0.849057, 0.127358, 0.023585]], rtol=1e-5)
    assert Balance.of((5, 5), (0.0, 1.0), 5.0, 0).correction((5, 5)) == (1.0, 0.5)  # a class that is never visited


def test_fractions_are_drawn_by_row():
    balance, numbers = Balance((2.25, 0.5), 3), np.arange(20_000)
    visits = balance.visits(numbers % 2, numbers)
    even, odd = visits[::2], visits[1::2]
    assert set(even) == {2, 3} and set(odd) == {0, 1}
    assert abs(even.mean() - 2.25) < 6 * (0.25 * 0.75 / 10_000) ** 0.5
    assert abs(odd.mean() - 0.5) < 6 * (0.25 / 10_000) ** 0.5
    np.testing.assert_array_equal(balance.visits(numbers[70:] % 2, numbers[70:]), visits[70:])
    assert (balance._replace(seed=4).visits(numbers % 2, numbers) != visits).any()


RATIOS = (0.5, 3.3)


def balanced(kind, folder, lengths, **layout):
    """Rows of two classes, every fifth row of the second."""
    starts = np.cumsum([0, *lengths], dtype=np.int64)
    view = View("training", balance=Balance(RATIOS, 7))
    store = Blocks(starts, BlockOptions(groups=("class",)), store_of(kind, folder, 400))
    for k, n in enumerate(lengths):
        rows = rows_of(n, first=int(starts[k]), **layout)
        rows = rows._replace(target=(np.arange(starts[k], starts[k] + n) % 5 == 0).astype(np.float32))
        store.put(k, store.stored(k, rows, lambda rows=rows: rows))
    return Subset(store, view)


def stream(visits, epoch):
    """(row number, dropout key) in the order of an epoch."""
    start = epoch * visits.n_rows
    return [
        pair
        for rows in visits.slices(start, start + visits.n_rows)
        for pair in zip(rows.dense[:, 0].astype(int).tolist(), rows.key.tolist(), strict=True)
    ]


@pytest.mark.parametrize("weighted", [False, True])
def test_an_epoch_visits_rows_as_often_as_was_drawn_wherever_they_are(tmp_path, weighted):
    numbers = np.arange(300)
    counts = Balance(RATIOS, 7).visits((numbers % 5 == 0).astype(np.uint16), numbers)
    counts = counts * (numbers % 3 > 0) if weighted else counts
    expected = Counter(dict(enumerate(counts.tolist()))) + Counter()
    keys = []
    for k, (kind, lengths, window) in enumerate(
        [("memory", [300], 0), ("memory", [7, 0, 200, 93], 0), ("disk", [100] * 3, 2000), ("stream", [30] * 10, 1000)]
    ):
        (tmp_path / str(k)).mkdir()
        subset = balanced(kind, tmp_path / str(k), lengths, weighted=weighted)
        visits = RowStream(subset, seed=4, shuffle=True, window=window, drops=True)
        assert visits.n_rows == sum(subset.n_visits().values()) == sum(expected.values())
        epochs = [stream(visits, epoch) for epoch in range(2)]
        visits.close()
        for epoch in epochs:
            assert Counter(row for row, _ in epoch) == expected
        assert epochs[0] != epochs[1]
        assert len({key for epoch in epochs for _, key in epoch}) == 2 * visits.n_rows  # each visit draws anew
        keys.append([sorted(epoch) for epoch in epochs])
    assert all(other == keys[0] for other in keys)


def test_visits_to_a_row_lie_apart(tmp_path):
    visits = RowStream(balanced("memory", tmp_path, [1000]), seed=1, shuffle=True, drops=True)
    rows = [row for row, _ in stream(visits, 0)]
    assert sum(a == b for a, b in itertools.pairwise(rows)) < 10  # some 600 if copies followed each other


def test_stored_order_visits_a_row_again_at_once(tmp_path):
    for kind in ("memory", "disk"):
        (tmp_path / kind).mkdir()
        visits = RowStream(balanced(kind, tmp_path / kind, [40, 60]), seed=1, shuffle=False, window=500, drops=True)
        rows = [row for row, _ in stream(visits, 0)]
        visits.close()
        assert rows == sorted(rows)
