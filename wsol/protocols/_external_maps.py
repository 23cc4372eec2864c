"""Maps that were made elsewhere."""

import numpy as np
from numpy.typing import NDArray

from wsol.boxes.thresholds import Reals


def validate(score_map: NDArray[np.generic]) -> Reals:
    """Return a map as float32 or float64 ``(h, w)``.

    Raises:
        ValueError: It is no such thing, or holds what is not finite.
    """
    if score_map.ndim != 2 or not score_map.size:
        raise ValueError(f"has the shape {score_map.shape}, not (height, width)")
    if not (np.issubdtype(score_map.dtype, np.floating) or np.issubdtype(score_map.dtype, np.integer)):
        raise ValueError(f"holds {score_map.dtype}, not numbers")
    precise = score_map.dtype.itemsize > 4  # bytes
    values: Reals = score_map.astype(np.float64) if precise else score_map.astype(np.float32)
    if not np.isfinite(values).all():
        raise ValueError(f"holds {int((~np.isfinite(values)).sum())} values that are not finite")
    return values


def to_float32(values: Reals) -> NDArray[np.float32]:
    """Return a map in single precision, for conventions that a min-max normalisation does not touch.

    What is large beside its range would lose it in single precision, so double precision is normalised first.
    """
    if values.dtype == np.float32:
        return values.astype(np.float32)
    span = values.max() - values.min()
    own: NDArray[np.float32] = ((values - values.min()) / (span if 0 < span < np.inf else 1)).astype(np.float32)
    return own


def rescale_to_float32(values: Reals) -> NDArray[np.float32]:
    """Return a map in single precision, for conventions that a positive factor does not touch."""
    if values.dtype == np.float32:
        return values.astype(np.float32)
    return (values / (np.abs(values).max() or 1)).astype(np.float32)
