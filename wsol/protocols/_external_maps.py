"""Validation of score maps that another program computed."""

import numpy as np
from numpy.typing import NDArray

from wsol.boxes.thresholds import FloatArray


def validate(score_map: NDArray[np.generic]) -> FloatArray:
    """Return a map ``(h, w)`` as float32, or as float64 if float32 cannot hold all values of its type.

    Raises:
        ValueError: The array is not a map, or has values that are not finite.
    """
    if score_map.ndim != 2 or not score_map.size:
        raise ValueError(f"has the shape {score_map.shape}, not (height, width)")
    if not (np.issubdtype(score_map.dtype, np.floating) or np.issubdtype(score_map.dtype, np.integer)):
        raise ValueError(f"holds {score_map.dtype}, not numbers")
    is_single = np.can_cast(score_map.dtype, np.float32)
    values: FloatArray = score_map.astype(np.float32) if is_single else score_map.astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError(f"has {int((~np.isfinite(values)).sum())} values that are not finite")
    return values


def validate_unit(values: FloatArray, side: int) -> NDArray[np.float64]:
    """Return a map that ``validate`` returned and that is ready for thresholds: ``side`` x ``side``, in [0, 1].

    Raises:
        ValueError: It has another shape or range.
    """
    if values.shape != (side, side):
        raise ValueError(f"has the shape {values.shape}, not {(side, side)}")
    if values.min() < 0 or values.max() > 1:
        raise ValueError(f"ranges from {values.min():g} to {values.max():g}, outside [0, 1]")
    return values.astype(np.float64)  # in which Choe et al. truncate to 8 bit
