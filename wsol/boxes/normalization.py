"""Normalization of score maps to [0, 1]: min-max, by the maximum, and by percentiles."""

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from wsol.boxes.resize import Taps, resize_and_normalize, resize_to_double
from wsol.boxes.thresholds import FloatArray, are_constant
from wsol.runtime.jit import jit

Norm = Literal["minmax", "max", "pas", "ivr"]
NORMS: tuple[Norm, ...] = get_args(Norm)
"""The normalizations of Kim et al. 2021, see ``normalize_maps``."""

PAS_PERCENTILE = 0.9
"""Share of the pixels below the value that ``pas`` maps to 1 (Bae et al. 2020)."""

IVR_PERCENTILE = 0.45
"""Share of the pixels that ``ivr`` maps to 0, by default: that of the authors' command."""

_BINS = 4096
_FEW = 100  # values that are sorted instead of counted
_SAMPLE, _MARGIN = 512, 25  # values of a large map that bracket a rank, and how many of them to either side


def normalize_maps(maps: FloatArray, norm: Norm, percentile: float | None = None) -> NDArray[np.float32]:
    """Normalize maps at their own size.

    Kim et al., "Normalization Matters in Weakly Supervised Object Localization", ICCV 2021, section 3, as in their
    code. With the ``n`` values of a map sorted in ascending order as ``s``, a value ``x`` becomes

    - ``minmax``: ``(x - s[0]) / (s[n - 1] - s[0])``;
    - ``max``: ``max(0, x) / s[n - 1]``;
    - ``pas``, percentile as standard (Bae et al., "Rethinking Class Activation Mapping for Weakly Supervised Object
      Localization", ECCV 2020): ``min(1, (x - s[0]) / (s[int(0.9 n)] - s[0]))``;
    - ``ivr``, inferior value removal: ``max(0, x - s[int(p n)]) / (s[n - 1] - s[int(p n)])``.

    Where a denominator is zero, values above ``s[0]`` (``pas``) become 1 and all others 0. Their code has 0 / 0 there,
    which it stores as 0 in 8 bits.

    Args:
        maps: ``(k, h, w)``.
        norm: One of ``NORMS``.
        percentile: ``p`` of ``ivr``, or the 0.9 of ``pas``, in [0, 1]; None for the default. The others have none.

    Returns:
        float32 ``(k, h, w)``, computed in double precision; all zeros for a map that is constant, has a value that is
        not finite, or, with ``max``, is nowhere positive.
    """
    out = np.empty(maps.shape, np.float32)
    base, top = _ranks(norm, percentile, maps.shape[1] * maps.shape[2])
    for values, is_constant, normalized in zip(_to_unit(maps), are_constant(maps), out, strict=True):
        if is_constant or np.isnan(values[0, 0]):
            normalized[:] = 0
        else:
            _rescale(values.ravel(), values.min(), values.max(), base, top, normalized.ravel())
    return out


def upsample_and_normalize(
    maps: FloatArray, size: tuple[int, int], taps: Taps, norm: Norm, percentile: float | None = None
) -> NDArray[np.float32]:
    """Resize maps, then normalize each as ``normalize_maps`` does; only the result is rounded to single precision.

    Args:
        maps: Raw maps ``(k, h, w)``.
        size: Target ``(height, width)``.
        taps: The filter.
        norm: One of ``NORMS``.
        percentile: As in ``normalize_maps``.

    Returns:
        float32 ``(k, height, width)``; all zeros for a raw map that is constant or has a value that is not finite.
    """
    if norm == "minmax":
        return resize_and_normalize(maps, size, taps)
    out = np.empty((len(maps), *size), np.float32)
    base, top = _ranks(norm, percentile, size[0] * size[1])
    large = np.empty(size)  # for all maps, so that it stays in the cache
    for values, is_constant, normalized in zip(_to_unit(maps), are_constant(maps), out, strict=True):
        if is_constant or np.isnan(values[0, 0]):
            normalized[:] = 0
            continue
        # Rounding errors of the filter are relative to the values, so a constant part is subtracted first.
        shifted = values if norm == "max" else values - values.min()
        resize_to_double(shifted, taps, large)
        _rescale(large.ravel(), large.min(), large.max(), base, top, normalized.ravel())
    return out


def _ranks(norm: Norm, percentile: float | None, n: int) -> tuple[int, int]:
    """Return the ranks of the values that become 0 and 1 among ``n`` sorted ones; -1 for the value 0."""
    if norm == "minmax":
        return 0, n - 1
    if norm == "max":
        return -1, n - 1
    if norm == "pas":
        return 0, min(int(n * (PAS_PERCENTILE if percentile is None else percentile)), n - 1)
    return min(int(n * (IVR_PERCENTILE if percentile is None else percentile)), n - 1), n - 1


def _to_unit(maps: FloatArray) -> NDArray[np.float64]:
    """Multiply each map by the power of two that brings it into [-1, 1], which is exact, so that no result overflows.

    Returns:
        A new array; all NaN for a map with a value that is not finite.
    """
    values = maps.astype(np.float64)
    most = np.abs(values).max(axis=(1, 2))
    is_finite = np.isfinite(most)
    factors = np.ldexp(1.0, np.minimum(1023, -np.frexp(np.where(is_finite, most, 1))[1]))
    values[is_finite] *= factors[is_finite, None, None]
    values[~is_finite] = np.nan
    return values


@jit
def _rescale(
    values: NDArray[np.float64], low: float, high: float, base_rank: int, top_rank: int, out: NDArray[np.float32]
) -> None:
    """Map the value of one rank to 0, that of another to 1, linearly between them, and clip.

    Args:
        values: ``(n,)``.
        low: The lowest value.
        high: The highest value.
        base_rank: Rank of the value that becomes 0, from 0 for the lowest; -1 for the value 0 itself.
        top_rank: Rank of the value that becomes 1.
        out: ``(n,)``, which gets the result.
    """
    base = 0.0 if base_rank < 0 else _value_of_rank(values, low, high, base_rank)
    top = _value_of_rank(values, low, high, top_rank)
    factor = 1 / (top - base) if top > base else np.inf
    if factor == np.inf:
        for i in range(len(values)):
            out[i] = values[i] > base
        return
    for i in range(len(values)):
        score = (values[i] - base) * factor
        score = score if score > 0.0 else 0.0
        out[i] = score if score < 1.0 else 1.0


@jit
def _narrow(
    values: NDArray[np.float64], low: float, high: float, rank: int
) -> tuple[NDArray[np.float64], int, float, float]:
    """Leave out most values that cannot be the one of a rank, judged by a sample of them.

    Returns:
        The remaining values, the rank among them, and the lowest and the highest.
    """
    n = len(values)
    if n < 8 * _SAMPLE or rank == 0 or rank == n - 1:
        return values, rank, low, high
    sample = np.sort(values[:: n // _SAMPLE])
    place = rank * len(sample) // n
    first = sample[place - _MARGIN] if place >= _MARGIN else low
    last = sample[place + _MARGIN] if place + _MARGIN < len(sample) else high
    below, inside = 0, 0
    for i in range(n):
        below += values[i] < first
        inside += (values[i] >= first) & (values[i] <= last)
    if not below <= rank < below + inside:  # an unlucky sample
        return values, rank, low, high
    rest = np.empty(inside)
    found = 0
    for i in range(n):
        if first <= values[i] <= last:
            rest[found] = values[i]
            found += 1
    return rest, rank - below, first, last


@jit
def _value_of_rank(values: NDArray[np.float64], low: float, high: float, rank: int) -> float:
    """Return the value that is at an index of the sorted values.

    Values are counted in bins of equal width, and those in the bin of the rank take the place of all values, until few
    are left. The bin is a nondecreasing function of the value, in floating point too, so no value in a lower bin is
    above one in a higher bin, and the lowest and the highest value are in different bins.
    """
    rest, rank, low, high = _narrow(values, low, high, rank)
    while True:
        if rank == 0 or low == high:
            return low
        if rank == len(rest) - 1:
            return high
        scale = (_BINS - 1) / (high - low)
        if len(rest) <= _FEW or scale == np.inf:
            return float(np.sort(rest)[rank])
        counts = np.zeros(_BINS, np.int32)
        for i in range(len(rest)):
            counts[np.uint32((rest[i] - low) * scale)] += 1
        place = 0
        while rank >= counts[place]:
            rank -= counts[place]
            place += 1
        chosen = np.empty(counts[place])
        found = 0
        for i in range(len(rest)):
            if np.uint32((rest[i] - low) * scale) == place:
                chosen[found] = rest[i]
                found += 1
        rest, low, high = chosen, chosen.min(), chosen.max()
