"""Protocol of this package: original resolution, no truncation."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from wsol.boxes.components import boxes_at_taus
from wsol.boxes.resize import bilinear
from wsol.boxes.thresholds import FloatArray, normalize
from wsol.datasets import Sample
from wsol.protocols.base import PROTOCOLS, Protocol


@PROTOCOLS.register("exact")
@dataclass(frozen=True)
class Exact(Protocol):
    """Original geometry: the result of the other protocols without their truncations.

    The image is squashed to 224 x 224 for the network. The map is upsampled (bilinear) directly to the annotation's
    frame and min-max normalized in float32; a constant map becomes zeros. A pixel is foreground if its score is
    strictly above tau. The 8-connected component with the most pixels gives the box; ties go to the component whose
    topmost, then leftmost pixel comes first. Boxes are half-open edges, the IoU has no + 1, and without a component the
    box is empty. A mask of another size than its frame is resized by nearest neighbor.

    Maps that another program computed may have any size and range.

    Attributes:
        levels: Number of taus: 0, 1 / (levels - 1), ..., 1. With 256 they are the steps of 8 bit, 0.2 among them.
        delta: IoU from which on a box is a hit, inclusive.
    """

    levels: int = 256
    delta: float = 0.5

    def __post_init__(self) -> None:
        if not 2 <= self.levels <= 30000 or not 0 < self.delta <= 1:
            raise ValueError("levels must be from 2 to 30000, delta above 0 and up to 1")

    @cached_property
    def taus(self) -> NDArray[np.float64]:
        """0 to 1, both included."""
        return np.arange(self.levels) / (self.levels - 1)

    def ground_truth(self, sample: Sample, size: tuple[int, int]) -> NDArray[np.float64]:
        """Return the boxes ``(g, 4)`` as half-open edges, clipped to the frame."""
        return np.clip(sample.edges, 0, [*size, *size])

    def prepare(self, maps: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
        """Upsample and normalize raw maps ``(k, h, w)`` to ``(k, height, width)``."""
        return normalize(bilinear(maps, size[::-1]))

    def boxes(self, prepared: FloatArray, taus: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the box ``(k, taus, 4)`` of the largest component of prepared maps ``(k, h, w)`` at ascending taus."""
        return boxes_at_taus(prepared, taus)
