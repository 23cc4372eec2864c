"""Validation and conversion of score maps that another program computed."""

import numpy as np
from numpy.typing import NDArray

from wsol.boxes.thresholds import FloatArray


def validate(score_map: NDArray[np.generic]) -> FloatArray:
    """Return a map ``(h, w)`` as float32, or as float64 if its type has more than 4 bytes.

    Raises:
        ValueError: The array is not a map, or has values that are not finite.
    """
    if score_map.ndim != 2 or not score_map.size:
        raise ValueError(f"has the shape {score_map.shape}, not (height, width)")
    if not (np.issubdtype(score_map.dtype, np.floating) or np.issubdtype(score_map.dtype, np.integer)):
        raise ValueError(f"holds {score_map.dtype}, not numbers")
    is_double = score_map.dtype.itemsize > 4  # bytes
    values: FloatArray = score_map.astype(np.float64) if is_double else score_map.astype(np.float32)
    if not np.isfinite(values).all():
        raise ValueError(f"has {int((~np.isfinite(values)).sum())} values that are not finite")
    return values


def to_float32(values: FloatArray) -> NDArray[np.float32]:
    """Convert a map to single precision, for conventions that are invariant to min-max normalization.

    A map with a small range around a large value would lose the range in single precision, so a map in double precision
    is normalized first.
    """
    if values.dtype == np.float32:
        return values.astype(np.float32)
    span = values.max() - values.min()
    single: NDArray[np.float32] = ((values - values.min()) / (span if 0 < span < np.inf else 1)).astype(np.float32)
    return single


def rescale_to_float32(values: FloatArray) -> NDArray[np.float32]:
    """Convert a map to single precision, for conventions that are invariant to a positive factor."""
    if values.dtype == np.float32:
        return values.astype(np.float32)
    return (values / (np.abs(values).max() or 1)).astype(np.float32)
