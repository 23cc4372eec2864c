"""Percentiles of resampled values, compared with those of NumPy."""

import numpy as np
import pytest

from wsol.metrics.bootstrap import group_intervals, intervals
from wsol.metrics.percentiles import find_quantiles
from wsol.metrics.resamples import RESAMPLES

RNG = np.random.default_rng(5)


@pytest.mark.parametrize("n", [1, 2, 3, 40, 41, 1000])
def test_quantiles_are_those_of_numpy_to_the_last_bit(n: int) -> None:
    few = RNG.integers(0, 4, (3, n)) / 7  # many ties
    columns = np.concatenate([RNG.random((4, n)), few, np.sort(few), np.ones((1, n)), -RNG.random((2, n))])
    shares = np.array([0, 0.025, 0.3, 0.5, 0.975, 1])
    before = columns.copy()
    np.testing.assert_array_equal(find_quantiles(columns, shares), np.quantile(columns, shares, axis=1))
    np.testing.assert_array_equal(columns, before)


def test_intervals_of_groups_are_percentiles_over_the_resamples_that_have_an_image_of_the_group() -> None:
    n = 12
    parts = RNG.integers(0, 5, n) / 4
    columns = np.stack([RNG.random(n) < 0.5, parts, parts, RNG.integers(0, 9, n) / 16], 1).astype(np.float64)
    groups = [np.array([3]), np.array([5, 0]), np.array([9, 1, 2, 4, 8, 11])]
    ends = group_intervals(columns, groups)
    assert ends.shape == (3, 4, 2)
    counts = np.stack(
        [np.bincount(np.random.RandomState([0, r]).randint(0, n, n), minlength=n) for r in range(RESAMPLES)]
    )
    for group, found in zip(groups, ends, strict=True):
        size = counts[:, group].sum(1)
        means = (counts[:, group] @ columns[group])[size > 0] / size[size > 0][:, None]
        np.testing.assert_allclose(found, np.percentile(means, [2.5, 97.5], axis=0).T, rtol=0, atol=1e-12)
    assert (ends[0] == columns[3][:, None]).all()  # a single image is all there is


def test_intervals_leave_out_resamples_with_gaps() -> None:
    draws = RNG.random((50, 2))
    draws[7, 0] = draws[9, 1] = np.nan
    kept = np.delete(draws, [7, 9], axis=0)
    np.testing.assert_array_equal(intervals(draws, 0.5), np.percentile(kept, [25, 75], axis=0))
    assert np.isnan(intervals(np.full((4, 2), np.nan))).all()
