"""The protocol of Choe et al., the field's standard."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from wsol.boxes.components import best_contour_ious
from wsol.boxes.contours import largest_contour_boxes
from wsol.boxes.levels import entry_levels, tau_grid, thresholds, to_uint8
from wsol.boxes.resize import bicubic
from wsol.datasets import Sample
from wsol.metrics.iou import best_iou
from wsol.protocols.base import PROTOCOLS


@dataclass(frozen=True)
class WsolEvaluation:
    """Choe et al., "Evaluating Weakly Supervised Object Localization Methods Right", CVPR 2020 and TPAMI 2022.

    The image is squashed to ``image_size`` without crop. The map is upsampled to it first (bicubic, a = -0.75), then
    min-max normalised and truncated to 8 bit; a constant map, or one with NaN, becomes zeros. A pixel is foreground if
    it lies strictly above ``trunc(tau * max)``. The contour of largest area gives the box (V1), or every contour gives
    one, those of holes too (V2): inclusive corners ``x, y, min(x + w, side - 1), min(y + h, side - 1)`` of its bounding
    rectangle, or (0, 0, 0, 0) where there is none. Ground truth is the
    published corners, clipped to width - 1 and height - 1, scaled and truncated. IoU counts corners as inclusive.

    Attributes:
        image_size: Side of the square, in pixels.
        tau_step: Step of the threshold grid: 0.001 in their training script, 0.01 in their evaluation script.
        delta: IoU from which on a box is a hit, inclusive.
    """

    image_size: int = 224
    tau_step: float = 0.001
    delta: float = 0.5

    @property
    def signature(self) -> str:
        """The name, with the boxes looked at and the step of the grid."""
        return f"wsolevaluation:v1+v2,step={self.tau_step:g}"

    @cached_property
    def taus(self) -> NDArray[np.float64]:
        """0, step, 2 step, ... < 1."""
        return tau_grid(self.tau_step)

    def ground_truth(self, sample: Sample, size: tuple[int, int]) -> NDArray[np.float64]:
        """Returns the published boxes ``(g, 4)``, clipped, scaled and truncated, as half-open edges."""
        width, height = size
        clipped = np.clip(sample.boxes, 0, [width - 1, height - 1] * 2)
        corners = np.trunc(clipped * self.image_size / [width, height, width, height])
        return np.add(corners, [0, 0, 1, 1])

    def boxes(self, maps: NDArray[np.float32], taus: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns the boxes ``(k, levels, 4)`` of raw maps ``(k, h, w)`` at ascending taus, as half-open edges."""
        gray = self._gray(maps)
        return self._boxes(gray, thresholds(taus, gray.max(axis=(1, 2))))

    def curves(
        self, score_map: NDArray[np.float32], truth: NDArray[np.float64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Returns the IoU ``(levels,)`` of the largest contour's box, and of the best contour's, at every tau."""
        gray = self._gray(score_map[None])
        limits = thresholds(self.taus, gray.max(axis=(1, 2)))
        entries = entry_levels(gray, limits)[0]
        best = best_contour_ious(entries, len(self.taus), truth, reach=1)
        return best_iou(self._boxes(gray, limits)[0], truth).astype(np.float32), best.astype(np.float32)

    def _gray(self, maps: NDArray[np.float32]) -> NDArray[np.uint8]:
        return to_uint8(bicubic(maps, (self.image_size, self.image_size)))

    def _boxes(self, gray: NDArray[np.uint8], limits: NDArray[np.int64]) -> NDArray[np.float64]:
        extents = largest_contour_boxes(gray, limits).astype(np.float64)
        extents[..., 2:] = np.minimum(extents[..., 2:], self.image_size - 1) + 1  # x + w is the inclusive corner here
        return extents


PROTOCOLS.register("wsolevaluation")(WsolEvaluation())
