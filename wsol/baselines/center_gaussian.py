"""A Gaussian in the middle as score map."""

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsol.baselines.base import BASELINES
from wsol.protocols import Protocol


@BASELINES.register("center-gaussian")
def center_gaussian(protocol: Protocol, image_id: str) -> NDArray[np.float64]:
    """Scores by the distance from the image's centre, so that the thresholds give central squares of every size.

    Choe et al., "Evaluating Weakly Supervised Object Localization Methods Right", CVPR 2020, section 5: on the frame of
    side s, ``exp(-((x - (s - 1) / 2)^2 + (y - (s - 1) / 2)^2) / (2 (s / 2)^2))``.

    Args:
        protocol: The conventions.
        image_id: Has no influence.

    Returns:
        ``(levels, 4)``, half-open edges.
    """
    return _boxes(protocol)


@cache
def _boxes(protocol: Any) -> NDArray[np.float64]:
    side = protocol.image_size
    bell = np.exp(-((np.arange(side) - (side - 1) / 2) ** 2) / (2 * (side / 2) ** 2))
    boxes: NDArray[np.float64] = protocol.boxes(np.outer(bell, bell).astype(np.float32)[None], protocol.taus)[0]
    return boxes
