"""Compiled percentiles of the bootstrap: of resampled values, and of the resampled means of groups of images."""

import numpy as np
from numpy.typing import NDArray

from wsol.runtime.jit import as_input, jit


def find_quantiles(columns: NDArray[np.float64], shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``numpy.quantile(columns, shares, axis=1)`` of finite numbers ``(k, n)``, to the last bit."""
    out = np.empty((len(columns), len(shares)))
    _find_columns(np.array(columns, np.float64, order="C"), as_input(shares), out)
    return out.T


def find_group_quantiles(
    counts: NDArray[np.uint8],
    values: NDArray[np.float64],
    members: NDArray[np.int64],
    ends: NDArray[np.int64],
    shares: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return quantiles over the resamples of the means over groups of images.

    A resample without an image of a group is ignored for that group; NaN if none remains.

    Args:
        counts: ``(n, resamples)``, the number of times that each image is in each.
        values: ``(n, k)``, values whose sums have no rounding.
        members: The images of all groups in turn.
        ends: ``(groups,)``, where each group ends.
        shares: ``(q,)``, which quantiles.

    Returns:
        ``(groups, k, q)``.
    """
    out = np.empty((len(ends), values.shape[1], len(shares)))
    _find_groups(as_input(counts), as_input(values), as_input(members), as_input(ends), as_input(shares), out)
    return out


@jit
def _find_columns(columns: NDArray[np.float64], shares: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    for j in range(len(columns)):
        _find(columns[j], columns.shape[1], shares, out[j])


@jit
def _find_groups(
    counts: NDArray[np.uint8],
    values: NDArray[np.float64],
    members: NDArray[np.int64],
    ends: NDArray[np.int64],
    shares: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None:
    """Write ``find_group_quantiles``."""
    resamples, k = counts.shape[1], values.shape[1]
    sizes, sums, means = np.empty(resamples), np.empty((k, resamples)), np.empty(resamples)
    start = 0
    for g in range(len(ends)):
        own = members[start : ends[g]]
        _sum_group(counts, values, own, sizes, sums)
        for j in range(k):
            if j > 0 and _are_equal(values, own, j):
                for q in range(len(shares)):
                    out[g, j, q] = out[g, j - 1, q]
                continue
            present = 0
            for r in range(resamples):
                if sizes[r] > 0:
                    means[present] = sums[j, r] / sizes[r]
                    present += 1
            _find(means, present, shares, out[g, j])
        start = ends[g]


@jit
def _sum_group(
    counts: NDArray[np.uint8],
    values: NDArray[np.float64],
    members: NDArray[np.int64],
    sizes: NDArray[np.float64],
    sums: NDArray[np.float64],
) -> None:
    """Write the sums of a group, by the steps from one column to the next, of which an image has few."""
    k, resamples = sums.shape
    for r in range(resamples):
        sizes[r] = 0
        for j in range(k):
            sums[j, r] = 0
    for i in members:
        previous = 0.0
        for r in range(resamples):
            sizes[r] += counts[i, r]
        for j in range(k):
            step = values[i, j] - previous
            if step != 0:
                for r in range(resamples):
                    sums[j, r] += step * counts[i, r]
            previous = values[i, j]
    for j in range(1, k):
        for r in range(resamples):
            sums[j, r] += sums[j - 1, r]


@jit
def _are_equal(values: NDArray[np.float64], members: NDArray[np.int64], j: int) -> bool:
    """Return whether a column has the values of the one before it."""
    different = 0
    for i in members:
        different += values[i, j] != values[i, j - 1]
    return different == 0


@jit
def _find(values: NDArray[np.float64], count: int, shares: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    """Write the quantiles of the first ``count`` values, which are put in another order."""
    if count == 0:
        for q in range(len(shares)):
            out[q] = np.nan
        return
    least = most = values[0]
    for i in range(1, count):
        least, most = min(least, values[i]), max(most, values[i])
    for q in range(len(shares)):
        place = (count - 1) * shares[q]
        rank = int(place)
        if least == most or rank >= count - 1:
            out[q] = most
            continue
        _partition(values, count, rank)
        below, above = values[rank], most
        for i in range(rank + 1, count):
            above = min(above, values[i])
        share, step = place - rank, above - below
        out[q] = below + step * share if share < 0.5 else above - step * (1 - share)


@jit
def _partition(values: NDArray[np.float64], count: int, rank: int) -> None:
    """Move the value of a rank to its place: none before it is larger, none behind it is smaller (Hoare's FIND)."""
    first, last = 0, count - 1
    while first < last:
        pivot, low, high = values[(first + last) // 2], first, last
        while low <= high:
            while values[low] < pivot:
                low += 1
            while pivot < values[high]:
                high -= 1
            if low <= high:
                values[low], values[high] = values[high], values[low]
                low, high = low + 1, high - 1
        if high < rank:
            first = low
        if rank < low:
            last = high
