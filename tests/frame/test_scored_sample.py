"""The sample of rows to score on: its size, of each class its share, and that nothing but seed and row number decides."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dask_dl.frame.order import keys_of
from dask_dl.frame.scored_sample import Candidates, ScoredSample, shares
from dask_dl.state import Rows

#: The value that a chi-square variable of 49 degrees of freedom passes once in a thousand times.
CHI2_49 = 85.35


def rows_of(classes):
    nothing = np.zeros(0, np.float32)
    return Rows(np.zeros((len(classes), 0), np.float32), np.zeros((len(classes), 0), np.int32),
                np.asarray(classes, np.float32), nothing, nothing)  # fmt: skip


def drawn(sample, numbers, classes, n_parts=1):
    """Rows of a sample, whose candidates are found in parts of the table."""
    parts = np.array_split(np.arange(len(numbers)), n_parts)
    kept = [part[sample.may_have(numbers[part], rows_of(classes[part]))] for part in parts]
    cut = sample.cut([Candidates(sample.keys(numbers[k]), sample.strata(rows_of(classes[k]))) for k in kept])
    if cut is None:
        return numbers
    return np.concatenate([numbers[k][sample.has(numbers[k], rows_of(classes[k]), cut)] for k in kept])


def uniform(rows, n, seed, purpose="x"):
    return drawn(ScoredSample.of(seed, purpose, n, [len(rows)]), rows, np.zeros(len(rows)))


@settings(derandomize=True, database=None, deadline=None)
@given(n_rows=st.integers(0, 300), n=st.integers(0, 300), seed=st.integers(0, 2**32))
def test_a_sample_has_its_size_and_is_sorted_and_repeatable(n_rows, n, seed):
    rows = np.arange(n_rows) * 3
    sample = uniform(rows, n, seed, "training sample")
    assert len(sample) == (n_rows if n == 0 else min(n, n_rows))
    assert set(sample) <= set(rows)
    assert (np.diff(sample) > 0).all()
    np.testing.assert_array_equal(uniform(rows, n, seed, "training sample"), sample)


def test_samples_differ_by_seed_and_purpose():
    rows = np.arange(10_000)
    samples = [uniform(rows, 100, seed, what) for seed in (1, 2) for what in ("training", "validation")]
    assert len({sample.tobytes() for sample in samples}) == 4
    # Two samples of a hundredth share a hundredth of their rows.
    assert all(len(np.intersect1d(samples[0], other)) < 10 for other in samples[1:])


def test_every_row_is_as_likely_to_be_sampled():
    chosen = np.concatenate([uniform(np.arange(50), 10, seed) for seed in range(3000)])
    counts = np.bincount(chosen, minlength=50)
    assert float(((counts - 600) ** 2 / 600).sum()) < CHI2_49


COUNTS = st.lists(st.integers(0, 60), min_size=1, max_size=8).filter(any)


@settings(derandomize=True, database=None, deadline=None)
@given(counts=COUNTS, n=st.integers(0, 200), seed=st.integers(0, 99), n_parts=st.integers(1, 4))
def test_each_class_has_the_rows_of_its_share_with_the_least_keys(counts, n, seed, n_parts):
    classes = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    numbers = np.arange(len(classes)) * 2 + 5
    sample = ScoredSample.of(seed, "x", n, counts)
    keys, expected = keys_of(numbers, seed, "x"), []
    for k, size in enumerate(shares(n, counts)):
        of_class = np.flatnonzero(classes == k)
        expected += numbers[of_class[np.argsort(keys[of_class])[:size]]].tolist()
    assert drawn(sample, numbers, classes, n_parts).tolist() == sorted(expected)
    assert sample.is_drawn == (len(expected) < len(numbers))


@settings(derandomize=True, database=None, deadline=None)
@given(counts=COUNTS, n=st.integers(0, 400))
def test_shares_are_exact_and_of_every_class(counts, n):
    sizes, n_rows, n_classes = shares(n, counts), sum(counts), sum(map(bool, counts))
    assert all(min(count, 1) <= size <= count for size, count in zip(sizes, counts, strict=True))
    assert sum(sizes) == (n_rows if n == 0 else min(n_rows, max(n, n_classes)))
    if n_classes < n < n_rows:  # those above one row are nearly proportional, and larger classes never have fewer
        pairs = sorted(zip(counts, sizes, strict=True))
        assert [size for _, size in pairs] == sorted(sizes)
        assert all(size == 1 or abs(size - Fraction(n * count, n_rows)) < n_classes for count, size in pairs)


@pytest.mark.parametrize(
    ("n", "counts", "sizes"),
    [
        (10, [50, 30, 20], (5, 3, 2)),
        (7, [1, 1, 1], (1, 1, 1)),
        (10, [55, 30, 15], (6, 3, 1)),  # 5.5, 3, 1.5: of equal remainders the first class
        (40, [1000, 150, 9, 1], (33, 5, 1, 1)),
        (2, [50, 30, 20], (1, 1, 1)),  # one of every class, even where that is more
        (10, [100, 0, 100], (5, 0, 5)),
        (0, [3, 4], (3, 4)),
        (10**9, [10**12, 3 * 10**12], (250_000_000, 750_000_000)),
    ],
)
def test_shares(n, counts, sizes):
    assert shares(n, counts) == sizes


def test_few_more_rows_are_set_aside_than_are_drawn():
    rng = np.random.default_rng(0)
    classes = rng.permutation(np.repeat([0, 1, 2], [190_000, 9_900, 100]))
    sample = ScoredSample.of(1, "x", 10_000, np.bincount(classes))
    n = np.bincount(classes[sample.may_have(np.arange(200_000), rows_of(classes))])
    assert sample.sizes == (9500, 495, 5)
    assert (n > sample.sizes).all() and n.sum() < 11_500
    assert abs(n.sum() - sample.n_aside) < 400
