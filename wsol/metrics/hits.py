"""Is a box a hit: does its IoU reach delta, or is it above it?"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Strict = Literal["none", "predictions", "all"]
"""Which boxes are hits only if their IoU is above delta, not if it is equal: none, those of predicted classes, all."""


def are_hits(ious: NDArray[np.floating], delta: float, strict: bool) -> NDArray[np.bool_]:
    """Return whether IoUs reach delta, or are above it if ``strict``.

    They are compared in single precision, in which curves are stored. A ratio of integers below a million keeps its
    side of a delta in tenths there, and is equal to it if it is so exactly: the nearest other ratio is further away
    than rounding moves it.
    """
    values, limit = ious.astype(np.float32, copy=False), np.float32(delta)
    hits: NDArray[np.bool_] = values > limit if strict else values >= limit
    return hits
