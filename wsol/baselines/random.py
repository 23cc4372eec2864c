"""A box drawn by lot."""

import zlib

import numpy as np
from numpy.typing import NDArray

from wsol.baselines.base import BASELINES
from wsol.protocols import Protocol


@BASELINES.register("random")
def random(protocol: Protocol, image_id: str) -> NDArray[np.float64]:
    """Gives the box between two pixels drawn uniformly, whatever the threshold.

    Args:
        protocol: The conventions.
        image_id: Seeds the draw, so that an image gets the same box in every run.

    Returns:
        ``(levels, 4)``, half-open edges, all the same.
    """
    rng = np.random.RandomState(zlib.crc32(image_id.encode()))  # its stream is frozen
    corners = np.sort(rng.randint(0, protocol.image_size, (2, 2)), axis=0)
    corners[1] += 1  # the second pixel lies inside
    return np.tile(corners.reshape(4).astype(np.float64), (len(protocol.taus), 1))
