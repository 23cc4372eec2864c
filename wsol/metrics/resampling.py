"""Compiled loops of the bootstrap: drawing resamples, and sums over them by the steps between columns."""

import numpy as np
from numpy.typing import NDArray

from wsol.runtime.jit import as_input, jit

_STATE = 624  # 32-bit words of the generator
_SHIFT = 397
_AT_ONCE = 64  # resamples that are drawn before their counts are stored, a cache line of each image


def draw_counts(n: int, resamples: int, seed: int) -> NDArray[np.uint8]:
    """Draw resamples of ``n`` images with replacement.

    Resample ``r`` holds the images ``numpy.random.RandomState([seed, r]).randint(0, n, n)``, whose stream NumPy keeps
    frozen: the Mersenne Twister, and rejection of what exceeds the range.

    Args:
        n: Number of images, at least one.
        resamples: Number of resamples.
        seed: Their seed.

    Returns:
        ``(resamples, n)``, the number of times that each image is in each, stored image by image.
    """
    counts = np.empty((n, resamples), np.uint8)
    _draw_counts(counts, seed, (1 << (n - 1).bit_length()) - 1)
    return counts.T


@jit
def _draw_counts(out: NDArray[np.uint8], seed: int, mask: int) -> None:
    n, resamples = out.shape
    rows = np.empty((_AT_ONCE, mask + 1), np.uint8)
    state, numbers = np.empty(_STATE, np.uint32), np.empty(_STATE, np.uint32)
    for first in range(0, resamples, _AT_ONCE):
        count = min(_AT_ONCE, resamples - first)
        for r in range(count):
            for place in range(n):
                rows[r, place] = 0
            _seed_state(state, seed, first + r)
            row, accepted = rows[r], 0
            while accepted < n:
                _next_numbers(state, numbers)
                for place in range(_STATE):
                    image = numbers[place] & np.uint32(mask)
                    row[image] += 1  # images from n on are rejected; their counts are not used
                    accepted += image < n
                    if accepted == n:
                        break
        for i in range(n):
            for r in range(count):
                out[i, first + r] = rows[r, i]


@jit
def _seed_state(state: NDArray[np.uint32], seed: int, resample: int) -> None:
    """Seed the Mersenne Twister by the key ``[seed, resample]`` (``init_by_array``)."""
    low = np.uint64(0xFFFFFFFF)
    state[0] = 19650218
    for i in range(1, _STATE):
        last = np.uint64(state[i - 1])
        state[i] = (np.uint64(1812433253) * (last ^ (last >> np.uint64(30))) + np.uint64(i)) & low
    keys = (np.uint64(seed), np.uint64(resample))
    i, j = 1, 0
    for step in range(2 * _STATE - 1):
        last = np.uint64(state[i - 1])
        mixed = last ^ (last >> np.uint64(30))
        if step < _STATE:
            mixed = (np.uint64(state[i]) ^ (mixed * np.uint64(1664525))) + keys[j] + np.uint64(j)
            j = 1 - j
        else:
            mixed = (np.uint64(state[i]) ^ (mixed * np.uint64(1566083941))) - np.uint64(i)
        state[i] = mixed & low
        i += 1
        if i == _STATE:
            state[0] = state[_STATE - 1]
            i = 1
    state[0] = np.uint32(0x80000000)


@jit
def _next_numbers(state: NDArray[np.uint32], numbers: NDArray[np.uint32]) -> None:
    """Advance the state, and temper it to the next 624 numbers; each loop fits the processor's vector units."""
    rest = _STATE - _SHIFT
    for i in range(rest):
        mixed = (state[i] & np.uint32(0x80000000)) | (state[i + 1] & np.uint32(0x7FFFFFFF))
        state[i] = state[i + _SHIFT] ^ (mixed >> np.uint32(1)) ^ ((mixed & np.uint32(1)) * np.uint32(0x9908B0DF))
    for i in range(rest, _STATE - 1):
        mixed = (state[i] & np.uint32(0x80000000)) | (state[i + 1] & np.uint32(0x7FFFFFFF))
        state[i] = state[i - rest] ^ (mixed >> np.uint32(1)) ^ ((mixed & np.uint32(1)) * np.uint32(0x9908B0DF))
    last = _STATE - 1
    mixed = (state[last] & np.uint32(0x80000000)) | (state[0] & np.uint32(0x7FFFFFFF))
    state[last] = state[_SHIFT - 1] ^ (mixed >> np.uint32(1)) ^ ((mixed & np.uint32(1)) * np.uint32(0x9908B0DF))
    for i in range(_STATE):
        y = state[i]
        y ^= y >> np.uint32(11)
        y ^= (y << np.uint32(7)) & np.uint32(0x9D2C5680)
        y ^= (y << np.uint32(15)) & np.uint32(0xEFC60000)
        numbers[i] = y ^ (y >> np.uint32(18))


def sum_hits(counts: NDArray[np.uint8], hits: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Count the hits in every resample, by the steps from one column to the next, of which an image has few.

    Args:
        counts: ``(n, resamples)``, the number of times that each image is in each.
        hits: bool ``(n, k)``, for example at ``k`` thresholds.

    Returns:
        int32 ``(k, resamples)``.
    """
    sums: NDArray[np.int32] = _sum_hits(as_input(counts), as_input(hits))
    return sums


@jit
def _sum_hits(counts: NDArray[np.uint8], hits: NDArray[np.bool_]) -> NDArray[np.int32]:
    out = np.zeros((hits.shape[1], counts.shape[1]), np.int32)
    for i in range(len(hits)):
        previous = False
        for j in range(hits.shape[1]):
            if hits[i, j] != previous:
                previous = hits[i, j]
                sign = np.int32(1) if previous else np.int32(-1)
                for r in range(counts.shape[1]):
                    out[j, r] += sign * counts[i, r]
    for j in range(1, len(out)):
        for r in range(counts.shape[1]):
            out[j, r] += out[j - 1, r]
    return out


def sum_values(counts: NDArray[np.uint8], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum a few columns of values in every resample; arguments as for ``sum_hits``.

    Returns:
        ``(k, resamples)``.
    """
    sums: NDArray[np.float64] = _sum_values(as_input(counts), as_input(values))
    return sums


@jit
def _sum_values(counts: NDArray[np.uint8], values: NDArray[np.float64]) -> NDArray[np.float64]:
    out = np.zeros((values.shape[1], counts.shape[1]))
    for i in range(len(values)):
        for j in range(values.shape[1]):
            value = values[i, j]
            for r in range(counts.shape[1]):
                out[j, r] += value * counts[i, r]
    return out


def count_hits(hits: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Count the hits ``(n, k)`` of each column, ``(k,)``."""
    total: NDArray[np.int64] = _count_hits(as_input(hits))
    return total


@jit
def _count_hits(hits: NDArray[np.bool_]) -> NDArray[np.int64]:
    out = np.zeros(hits.shape[1], np.int64)
    for i in range(len(hits)):
        for j in range(hits.shape[1]):
            out[j] += hits[i, j]
    return out


def sum_weighted(
    counts: NDArray[np.uint8],
    weights: NDArray[np.float64],
    which: NDArray[np.int64],
    values: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Sum values times weights in every resample, by the steps from one column to the next.

    Args:
        counts: ``(n, resamples)``, the number of times that each image is in each.
        weights: ``(w, resamples)``.
        which: ``(n,)``, the row of the weights of each image.
        values: ``(n, k)``.

    Returns:
        ``(k, resamples)``.
    """
    sums: NDArray[np.float64] = _sum_weighted(as_input(counts), as_input(weights), as_input(which), as_input(values))
    return sums


@jit
def _sum_weighted(
    counts: NDArray[np.uint8], weights: NDArray[np.float64], which: NDArray[np.int64], values: NDArray[np.float64]
) -> NDArray[np.float64]:
    resamples = counts.shape[1]
    out, weight = np.zeros((values.shape[1], resamples)), np.empty(resamples)
    for i in range(len(values)):
        for r in range(resamples):
            weight[r] = counts[i, r] * weights[which[i], r]
        previous = 0.0
        for j in range(values.shape[1]):
            step = values[i, j] - previous
            if step != 0:
                for r in range(resamples):
                    out[j, r] += step * weight[r]
            previous = values[i, j]
    for j in range(1, len(out)):
        for r in range(resamples):
            out[j, r] += out[j - 1, r]
    return out


def sum_by_class(counts: NDArray[np.uint8], class_index: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """Return the number of images of each class in every resample, int64 ``(classes, resamples)``."""
    sums: NDArray[np.int64] = _sum_by_class(as_input(counts), as_input(class_index), classes)
    return sums


@jit
def _sum_by_class(counts: NDArray[np.uint8], class_index: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    out = np.zeros((classes, counts.shape[1]), np.int64)
    for i in range(len(counts)):
        for r in range(counts.shape[1]):
            out[class_index[i], r] += counts[i, r]
    return out
