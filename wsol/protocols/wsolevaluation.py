"""The protocol of Choe et al., the field's standard."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from wsol.boxes.components import best_contour_ious
from wsol.boxes.contours import largest_contour_boxes
from wsol.boxes.resize import cubic_taps, resize_and_normalize
from wsol.boxes.thresholds import (
    FloatArray,
    highest_threshold_below,
    tau_grid,
    to_uint8,
    uint8_thresholds,
)
from wsol.datasets import Sample
from wsol.metrics.image_stats import ImageStats, peak_inside
from wsol.metrics.iou import best_iou
from wsol.protocols._external_maps import validate
from wsol.protocols._view import View
from wsol.protocols.base import PROTOCOLS, Protocol


@PROTOCOLS.register("wsolevaluation")
@dataclass(frozen=True)
class WsolEvaluation(Protocol):
    """Choe et al., "Evaluating Weakly Supervised Object Localization Methods Right", CVPR 2020 and TPAMI 2022.

    The image is squashed to ``size`` without crop. The map is first upsampled to it (bicubic, a = -0.75), then min-max
    normalized and truncated to 8 bit; a constant map, or one with NaN, becomes zeros. A pixel is foreground if it is
    strictly above ``trunc(tau * max)``. The contour of largest area gives the box (V1), or every contour gives one,
    including those of holes (V2): inclusive corners ``x, y, min(x + w, size - 1), min(y + h, size - 1)`` of its
    bounding rectangle, or (0, 0, 0, 0) if there is none. Ground truth is the published corners, clipped to width - 1
    and height - 1, scaled and truncated. The IoU counts corners as inclusive. Masks are resized by nearest neighbor.

    Maps that another program computed must be upsampled and normalized already: ``size`` x ``size``, in [0, 1].

    Attributes:
        step: Step of the threshold grid: 0.001 in their training script, 0.01 in their evaluation script.
        delta: IoU from which on a box is a hit, inclusive.
        size: Side of the square, in pixels; by default that of the weights, or 224.
    """

    shown_if_changed = ("delta", "size")
    uses_all_contours = True  # for MaxBoxAccV2

    step: float = 0.001
    delta: float = 0.5
    size: int = 224

    def __post_init__(self) -> None:
        if not 0.0001 <= self.step < 1 or not 2 <= self.size <= 4096 or not 0 < self.delta <= 1:
            raise ValueError("step must be from 0.0001 to 1, delta above 0 and up to 1, size from 2 to 4096")

    @property
    def view(self) -> View:
        """The whole image, squashed."""
        return View(self.size, self.size)

    @cached_property
    def taus(self) -> NDArray[np.float64]:
        """0, step, 2 step, ... < 1."""
        return tau_grid(self.step)

    def frame(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the square, whatever the size of the image."""
        return self.size, self.size

    def ground_truth(self, sample: Sample, size: tuple[int, int]) -> NDArray[np.float64]:
        """Return the published boxes ``(g, 4)``, clipped, scaled and truncated, as half-open edges."""
        width, height = size
        clipped = np.clip(sample.boxes, 0, [width - 1, height - 1] * 2)
        corners = np.trunc(clipped * self.size / [width, height, width, height])
        return np.add(corners, [0, 0, 1, 1])

    def prepare(self, maps: FloatArray, size: tuple[int, int]) -> NDArray[np.float32]:
        """Upsample and normalize raw maps ``(k, h, w)`` to ``(k, size, size)``."""
        return resize_and_normalize(maps, (self.size, self.size), cubic_taps)

    def prepare_external(self, score_map: NDArray[np.generic], size: tuple[int, int], raw: bool) -> FloatArray:
        """Return a map ``(size, size)`` in [0, 1] unchanged; prepare a raw one.

        Raises:
            ValueError: The map has another shape or range, or values that are not finite.
        """
        values = validate(score_map)
        if raw:
            prepared: FloatArray = self.prepare(values[None], size)[0]
            return prepared
        if values.shape != (self.size, self.size):
            raise ValueError(f"has the shape {values.shape}, not {(self.size, self.size)}")
        if values.min() < 0 or values.max() > 1:
            raise ValueError(f"ranges from {values.min():g} to {values.max():g}, outside [0, 1]")
        return values.astype(np.float64)  # in which their evaluator truncates to 8 bit

    def boxes(self, prepared: FloatArray, taus: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the boxes ``(k, taus, 4)`` of prepared maps ``(k, h, w)`` at ascending taus, as half-open edges."""
        gray = to_uint8(prepared)
        return self._largest_contour_boxes(gray, uint8_thresholds(taus, gray.max(axis=(1, 2))))

    def score_map_stats(self, prepared: FloatArray, ground_truth: NDArray[np.float64]) -> ImageStats:
        """Compare the largest contour's box, and the boxes of all contours, with ground truth at every tau."""
        gray = to_uint8(prepared[None])
        thresholds = uint8_thresholds(self.taus, gray.max(axis=(1, 2)))
        boxes = self._largest_contour_boxes(gray, thresholds)[0]
        tau_indices = highest_threshold_below(gray, thresholds)[0]
        best = best_contour_ious(tau_indices, len(self.taus), ground_truth, extension=1)
        return ImageStats(
            boxes,
            best_iou(boxes, ground_truth).astype(np.float32),
            peak_inside(prepared, ground_truth),
            contours=best.astype(np.float32),
        )

    def _largest_contour_boxes(self, gray: NDArray[np.uint8], thresholds: NDArray[np.int64]) -> NDArray[np.float64]:
        edges = largest_contour_boxes(gray, thresholds).astype(np.float64)
        edges[..., 2:] = np.minimum(edges[..., 2:], self.size - 1) + 1  # here x + w is the inclusive corner
        return edges
