"""The whole image as box."""

import numpy as np
from numpy.typing import NDArray

from wsol.baselines.base import BASELINES
from wsol.protocols import Protocol


@BASELINES.register("full-image")
def full_image(protocol: Protocol, image_id: str) -> NDArray[np.float64]:
    """Gives the frame itself, whatever the threshold.

    Args:
        protocol: The conventions.
        image_id: Has no influence.

    Returns:
        ``(levels, 4)``, half-open edges, all the same.
    """
    side = float(protocol.image_size)
    return np.tile([0.0, 0.0, side, side], (len(protocol.taus), 1))
