"""Our own protocol: original resolution, nothing truncated."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from wsol.boxes.components import largest_component_boxes
from wsol.boxes.resize import bilinear
from wsol.boxes.thresholds import Reals, levels_above, normalize
from wsol.datasets import Mask, Sample
from wsol.metrics.image_stats import ImageStats, peak_inside
from wsol.metrics.iou import best_iou
from wsol.protocols._external_maps import to_float32, validate
from wsol.protocols._view import View
from wsol.protocols.base import PROTOCOLS, pixel_counts


@dataclass(frozen=True)
class Exact:
    """Original geometry: what the other protocols would give without their truncations.

    The image is squashed to 224 x 224 for the network. The map is upsampled (bilinear) straight to the annotation's
    frame and min-max normalised in float32; a constant map becomes zeros. A pixel is foreground if it lies strictly
    above tau. The 8-connected component of most pixels gives the box; of equally large ones that whose topmost, then
    leftmost pixel comes first. Boxes are half-open edges, IoU has no + 1, without a component the box is empty.

    Maps that were made elsewhere may have any size and range.

    Attributes:
        levels: Number of taus: 0, 1 / (levels - 1), ..., 1. With 256 they are the steps of 8 bit, 0.2 among them.
        delta: IoU from which on a box is a hit, inclusive.
    """

    levels: int = 256
    delta: float = 0.5

    def __post_init__(self) -> None:
        if not 2 <= self.levels <= 30000 or not 0 < self.delta <= 1:
            raise ValueError("levels lies from 2 to 30000, delta above 0 up to 1")

    @property
    def signature(self) -> str:
        """The name, the number of levels, and delta where it is not 0.5."""
        return f"exact:levels={self.levels}" + (f",delta={self.delta:g}" if self.delta != 0.5 else "")

    @property
    def view(self) -> View:
        """The whole image, squashed to 224 x 224."""
        return View(224, 224)

    @property
    def contours(self) -> bool:
        """One box alone."""
        return False

    @cached_property
    def taus(self) -> NDArray[np.float64]:
        """0 to 1, both included."""
        return np.arange(self.levels) / (self.levels - 1)

    def frame(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the annotation's frame."""
        return size

    def ground_truth(self, sample: Sample, size: tuple[int, int]) -> NDArray[np.float64]:
        """Return the boxes ``(g, 4)`` as half-open edges, cut off at the frame."""
        return np.clip(sample.edges, 0, [*size, *size])

    def prepare(self, maps: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
        """Return raw maps ``(k, h, w)`` upsampled and normalised, ``(k, height, width)``."""
        return normalize(bilinear(maps, size[::-1]))

    def prepare_external(self, score_map: NDArray[np.generic], size: tuple[int, int], raw: bool) -> NDArray[np.float32]:
        """Return a map ``(h, w)`` prepared; it is always taken as a raw one.

        Raises:
            ValueError: It is no map, or holds what is not finite.
        """
        prepared: NDArray[np.float32] = self.prepare(to_float32(validate(score_map))[None], size)[0]
        return prepared

    def boxes(self, prepared: Reals, taus: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the boxes ``(k, levels, 4)`` of prepared maps ``(k, h, w)`` at ascending taus."""
        found = [largest_component_boxes(levels_above(score_map, taus), len(taus)) for score_map in prepared]
        return np.stack(found).astype(np.float64)

    def score_map_stats(self, prepared: Reals, truth: NDArray[np.float64]) -> ImageStats:
        """Hold the largest component's box against ground truth at every tau."""
        boxes = largest_component_boxes(levels_above(prepared, self.taus), self.levels).astype(np.float64)
        return ImageStats(boxes, best_iou(boxes, truth).astype(np.float32), peak_inside(prepared, truth))

    def pixels(self, prepared: Reals, mask: Callable[[], Mask]) -> NDArray[np.uint32]:
        """Count pixels by score; a mask of another size than its frame is resized by nearest neighbour."""
        return pixel_counts(prepared, self.taus, mask())


PROTOCOLS.register("exact")(Exact())
