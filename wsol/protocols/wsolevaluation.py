"""The protocol of Choe et al., the field's standard."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from wsol.boxes.components import best_contour_ious
from wsol.boxes.contours import largest_contour_boxes
from wsol.boxes.resize import bicubic
from wsol.boxes.thresholds import Reals, entry_levels, normalize, tau_grid, thresholds, to_uint8
from wsol.datasets import Mask, Sample
from wsol.metrics.image_stats import ImageStats, peak_inside
from wsol.metrics.iou import best_iou
from wsol.protocols._external_maps import to_float32, validate
from wsol.protocols._view import View
from wsol.protocols.base import PROTOCOLS, pixel_counts


@dataclass(frozen=True)
class WsolEvaluation:
    """Choe et al., "Evaluating Weakly Supervised Object Localization Methods Right", CVPR 2020 and TPAMI 2022.

    The image is squashed to ``size`` without crop. The map is upsampled to it first (bicubic, a = -0.75), then min-max
    normalised and truncated to 8 bit; a constant map, or one with NaN, becomes zeros. A pixel is foreground if it lies
    strictly above ``trunc(tau * max)``. The contour of largest area gives the box (V1), or every contour gives one,
    those of holes too (V2): inclusive corners ``x, y, min(x + w, size - 1), min(y + h, size - 1)`` of its bounding
    rectangle, or (0, 0, 0, 0) where there is none. Ground truth is the published corners, clipped to width - 1 and
    height - 1, scaled and truncated. IoU counts corners as inclusive. Masks are resized by nearest neighbour.

    Maps that were made elsewhere are upsampled and normalised already: ``size`` x ``size``, in [0, 1].

    Attributes:
        step: Of the threshold grid: 0.001 in their training script, 0.01 in their evaluation script.
        delta: IoU from which on a box is a hit, inclusive.
        size: Side of the square, in pixels.
    """

    step: float = 0.001
    delta: float = 0.5
    size: int = 224

    def __post_init__(self) -> None:
        if not 0.0001 <= self.step < 1 or not 2 <= self.size <= 4096 or not 0 < self.delta <= 1:
            raise ValueError("step lies from 0.0001 to 1, delta above 0 up to 1, size from 2 to 4096")

    @property
    def signature(self) -> str:
        """The name, the step of the grid, and what differs from the default."""
        other = [f"delta={self.delta:g}"] * (self.delta != 0.5) + [f"size={self.size}"] * (self.size != 224)
        return ",".join([f"wsolevaluation:step={self.step:g}", *other])

    @property
    def view(self) -> View:
        """The whole image, squashed."""
        return View(self.size, self.size)

    @property
    def contours(self) -> bool:
        """For MaxBoxAccV2."""
        return True

    @cached_property
    def taus(self) -> NDArray[np.float64]:
        """0, step, 2 step, ... < 1."""
        return tau_grid(self.step)

    def frame(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the square, whatever the image's size."""
        return self.size, self.size

    def ground_truth(self, sample: Sample, size: tuple[int, int]) -> NDArray[np.float64]:
        """Return the published boxes ``(g, 4)``, clipped, scaled and truncated, as half-open edges."""
        width, height = size
        clipped = np.clip(sample.boxes, 0, [width - 1, height - 1] * 2)
        corners = np.trunc(clipped * self.size / [width, height, width, height])
        return np.add(corners, [0, 0, 1, 1])

    def prepare(self, maps: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
        """Return raw maps ``(k, h, w)`` upsampled and normalised, ``(k, size, size)``."""
        return normalize(bicubic(maps, (self.size, self.size)))

    def prepare_external(self, score_map: NDArray[np.generic], size: tuple[int, int], raw: bool) -> Reals:
        """Return a map ``(size, size)`` in [0, 1] as it is, and a raw one prepared.

        Raises:
            ValueError: Its shape or range is another, or it holds what is not finite.
        """
        values = validate(score_map)
        if raw:
            prepared: Reals = self.prepare(to_float32(values)[None], size)[0]
            return prepared
        if values.shape != (self.size, self.size):
            raise ValueError(f"has the shape {values.shape}, not {(self.size, self.size)}")
        if values.min() < 0 or values.max() > 1:
            raise ValueError(f"goes from {values.min():g} to {values.max():g}, outside [0, 1]")
        return values

    def boxes(self, prepared: Reals, taus: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the boxes ``(k, levels, 4)`` of prepared maps ``(k, h, w)`` at ascending taus, as half-open edges."""
        gray = to_uint8(prepared)
        return self._boxes(gray, thresholds(taus, gray.max(axis=(1, 2))))

    def score_map_stats(self, prepared: Reals, truth: NDArray[np.float64]) -> ImageStats:
        """Hold the largest contour's box, and every contour's, against ground truth at every tau."""
        gray = to_uint8(prepared[None])
        limits = thresholds(self.taus, gray.max(axis=(1, 2)))
        entries = entry_levels(gray, limits)[0]
        best = best_contour_ious(entries, len(self.taus), truth, reach=1)
        boxes = self._boxes(gray, limits)[0]
        return ImageStats(
            boxes,
            best_iou(boxes, truth).astype(np.float32),
            peak_inside(prepared, truth),
            contours=best.astype(np.float32),
        )

    def pixels(self, prepared: Reals, mask: Callable[[], Mask]) -> NDArray[np.uint32]:
        """Count pixels by score; the mask is resized by nearest neighbour."""
        return pixel_counts(prepared, self.taus, mask())

    def _boxes(self, gray: NDArray[np.uint8], limits: NDArray[np.int64]) -> NDArray[np.float64]:
        extents = largest_contour_boxes(gray, limits).astype(np.float64)
        extents[..., 2:] = np.minimum(extents[..., 2:], self.size - 1) + 1  # x + w is the inclusive corner here
        return extents


PROTOCOLS.register("wsolevaluation")(WsolEvaluation())
