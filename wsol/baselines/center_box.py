"""The same box for every image."""

import numpy as np
from numpy.typing import NDArray

from wsol.baselines.base import BASELINES
from wsol.protocols import Protocol


@BASELINES.register("center-box")
def center_box(protocol: Protocol, image_id: str) -> NDArray[np.float64]:
    """Gives the central square that covers half of the frame's area, whatever the threshold.

    Args:
        protocol: The conventions.
        image_id: Has no influence.

    Returns:
        ``(levels, 4)``, half-open edges, all the same.
    """
    side = protocol.image_size
    margin = round(side * (1 - 0.5**0.5) / 2)
    return np.tile(np.array([margin, margin, side - margin, side - margin], np.float64), (len(protocol.taus), 1))
