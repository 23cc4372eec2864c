"""The fixed-tau protocol of TS-CAM."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsol.boxes.contour_curves import contour_boxes
from wsol.boxes.resize import linear_taps
from wsol.boxes.thresholds import FloatArray, tau_grid, to_uint8, uint8_thresholds
from wsol.datasets import Sample
from wsol.metrics.hits import Strict
from wsol.protocols._normalization import DEFAULT_PERCENTILE, Percentile
from wsol.protocols._single_boxes import score_single_boxes
from wsol.protocols._unit_maps import UnitMapsProtocol
from wsol.protocols._view import View
from wsol.protocols.base import PROTOCOLS, GroundTruth

_EMPTY_BOX = (0, 0, 2, 2)  # inclusive corners 0, 0, 1, 1


@PROTOCOLS.register("tscam")
@dataclass(frozen=True)
class TSCAM(UnitMapsProtocol):
    """Gao et al., "TS-CAM: Token Semantic Coupled Attention Map for Weakly Supervised Object Localization", ICCV 2021.

    Read from the released code (vasgaowei/TS-CAM, ``lib/cams_deit.py`` and ``lib/datasets``). The image is squashed to
    ``size`` without crop. The map is upsampled to it (bilinear), min-max normalized and truncated to 8 bit; a constant
    map, or one with NaN, becomes zeros. A pixel is foreground if it is strictly above ``int(tau * max)``. The contour
    of largest area (OpenCV's ``contourArea``), the first one on ties, gives the box: corners ``x, y, x + w, y + h``,
    taken as inclusive, also beyond the last pixel; without foreground ``0, 0, 1, 1``. Ground truth is the published
    corners, scaled, left and top limited to 0 or more, right and bottom to size - 1, truncated. The IoU counts corners
    as inclusive.

    GT-known accuracy needs an IoU of 0.5 or more. A predicted class, for top-1 and top-5 localization error and error
    types, needs one above 0.5, with the box of its own map. Masks are ignored.

    SCM (Bai et al., ECCV 2022; 164140757/SCM) has a copy of these functions with the same taus, but its released
    evaluation draws boxes as ``wsolevaluation:step=0.01`` does, counts from an IoU of 0.5 up, takes the best tau on the
    evaluated images, and the map of the first predicted class for GT-known accuracy.

    Maps that another program computed must be upsampled and normalized already: ``size`` x ``size``, in [0, 1]; or raw.

    Attributes:
        step: Step of the threshold grid.
        delta: IoU of a hit; exclusive for predicted classes.
        size: Side of the square, in pixels; by default that of the weights, or 224.
        norm: Normalization of the map: ``minmax``, ``max``, ``pas`` or ``ivr``.
        percentile: Share of the pixels that ``ivr`` maps to 0; ``val`` or ``oracle`` chooses it. For ``norm=ivr``.
    """

    shown_if_changed = ("delta", "size")
    uses_masks = False

    step: float = 0.01
    delta: float = 0.5
    size: int = 224
    norm: str = "minmax"
    percentile: Percentile = DEFAULT_PERCENTILE

    def __post_init__(self) -> None:
        if not 0.0001 <= self.step < 1 or not 2 <= self.size <= 4096 or not 0 < self.delta <= 1:
            raise ValueError("step must be from 0.0001 to 1, delta above 0 and up to 1, size from 2 to 4096")
        self.check_settings()

    @property
    def strict(self) -> Strict:
        """Hits of predicted classes."""
        return "predictions"

    @property
    def empty_box(self) -> str:
        """The first pixels."""
        return "give the first 2 x 2 pixels as box"

    @property
    def view(self) -> View:
        """The whole image, squashed."""
        return View(self.size, self.size)

    @cached_property
    def taus(self) -> NDArray[np.float64]:
        """0, step, 2 step, ... < 1, rounded to the numbers that papers write."""
        grid: NDArray[np.float64] = np.round(tau_grid(self.step), 9)
        return grid

    def frame(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the square, whatever the size of the image."""
        return self.size, self.size

    def ground_truth(self, sample: Sample, size: tuple[int, int]) -> NDArray[np.float64]:
        """Return the published boxes ``(g, 4)``, scaled, limited and truncated, as half-open edges."""
        scaled = sample.boxes / np.array([*size, *size]) * self.size
        corners = np.concatenate([np.maximum(scaled[:, :2], 0), np.minimum(scaled[:, 2:], self.size - 1)], 1)
        truncated: NDArray[np.float64] = np.trunc(corners)
        truncated[:, 2:] = np.maximum(truncated[:, 2:] + 1, truncated[:, :2])
        return truncated

    def prepare(self, maps: FloatArray, size: tuple[int, int]) -> NDArray[np.float32]:
        """Upsample and normalize raw maps ``(k, h, w)`` to ``(k, size, size)``."""
        return self.normalize(maps, (self.size, self.size), linear_taps)

    def boxes(self, prepared: FloatArray, taus: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the boxes ``(k, taus, 4)`` of prepared maps ``(k, h, w)`` at ascending taus, as half-open edges."""
        gray = to_uint8(prepared)
        boxes = contour_boxes(gray, uint8_thresholds(taus, gray.max(axis=(1, 2)))).astype(np.float64)
        is_empty = boxes[..., 2] == 0
        boxes[..., 2:] += 1
        boxes[is_empty] = _EMPTY_BOX
        return boxes

    def score_batch(
        self,
        view: View,
        maps: NDArray[np.float32],
        truths: Sequence[GroundTruth],
        classes: NDArray[np.int64],
        tau_index: int | None,
    ) -> tuple[dict[str, NDArray[Any]], NDArray[np.float64] | None]:
        """Score the raw maps of some images; the curves of all of them are computed together."""
        return score_single_boxes(self, view, maps, truths, classes, tau_index)
