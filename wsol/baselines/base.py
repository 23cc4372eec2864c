"""What a baseline is."""

from typing import Protocol as Interface

import numpy as np
from numpy.typing import NDArray

from wsol.protocols import Protocol
from wsol.registry import Registry


class Baseline(Interface):
    """Gives the boxes of an image without looking at it."""

    def __call__(self, protocol: Protocol, image_id: str) -> NDArray[np.float64]:
        """Returns boxes at every threshold.

        Args:
            protocol: The conventions; boxes lie in its frame.
            image_id: The image; only what is random depends on it.

        Returns:
            ``(levels, 4)``, half-open edges, one box for each of the protocol's taus.
        """


BASELINES: Registry[Baseline] = Registry("baseline", "wsol.baselines")
