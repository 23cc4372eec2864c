"""Ground truth in a protocol's frame, and a prepared map held against it."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from wsol.boxes.levels import Reals
from wsol.datasets import Sample
from wsol.metrics.trace import Trace
from wsol.protocols.base import Protocol


@dataclass(frozen=True, eq=False)
class Truth:
    """The ground truth of one image.

    Attributes:
        sample: The image.
        size: ``(width, height)`` of its annotation's frame.
        boxes: ``(g, 4)``, half-open edges in the protocol's frame.
    """

    sample: Sample
    size: tuple[int, int]
    boxes: NDArray[np.float64]

    def pixels(self, protocol: Protocol, prepared: Reals) -> NDArray[np.uint32] | None:
        """Counts the pixels of a prepared map by score; None without a mask, or if the protocol does not look at it."""
        return None if self.sample.mask is None else protocol.pixels(prepared, self.sample.mask)

    def trace(self, protocol: Protocol, prepared: Reals) -> Trace:
        """Holds a prepared map ``(h, w)`` against boxes and mask."""
        return replace(protocol.trace(prepared, self.boxes), pixels=self.pixels(protocol, prepared))


def truth_of(protocol: Protocol, sample: Sample, size: tuple[int, int]) -> Truth:
    """Returns the ground truth of a sample whose annotation's frame is ``size``."""
    return Truth(sample, size, protocol.ground_truth(sample, size))
