"""The protocol of Choe et al., the field's standard."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from wsol.boxes.contours import largest_contour_boxes
from wsol.boxes.levels import tau_grid, thresholds, to_uint8
from wsol.boxes.resize import bicubic
from wsol.datasets import Sample
from wsol.protocols.base import PROTOCOLS


@dataclass(frozen=True)
class WsolEvaluation:
    """Choe et al., "Evaluating Weakly Supervised Object Localization Methods Right", CVPR 2020, with its V1 boxes.

    The image is squashed to ``image_size`` without crop. The map is upsampled to it first (bicubic, a = -0.75), then
    min-max normalised and truncated to 8 bit; a constant map, or one with NaN, becomes zeros. A pixel is foreground if
    it lies strictly above ``trunc(tau * max)``. The contour of largest area gives the box, inclusive corners
    ``x, y, min(x + w, side - 1), min(y + h, side - 1)``, or (0, 0, 0, 0) where there is none. Ground truth is the
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
        """``wsolevaluation:v1`` and the step of the grid."""
        return f"wsolevaluation:v1,step={self.tau_step:g}"

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
        side = self.image_size
        levels = to_uint8(bicubic(maps, (side, side)))
        extents = largest_contour_boxes(levels, thresholds(taus, levels.max(axis=(1, 2)))).astype(np.float64)
        extents[..., 2:] = np.minimum(extents[..., 2:], side - 1) + 1  # x + w is the inclusive corner here
        return extents


PROTOCOLS.register("wsolevaluation")(WsolEvaluation())
