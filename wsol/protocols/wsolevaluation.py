"""The protocol of Choe et al., the field's standard."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsol.boxes.contour_curves import contour_curves
from wsol.boxes.contours import largest_contour_boxes
from wsol.boxes.gray import to_gray
from wsol.boxes.resize import cubic_taps, resize
from wsol.boxes.thresholds import FloatArray, tau_grid, to_uint8, uint8_thresholds
from wsol.datasets import Sample
from wsol.metrics.image_stats import ImageStats, are_peaks_inside, boxes_for_display, peak_inside
from wsol.protocols._normalization import DEFAULT_PERCENTILE, Percentile
from wsol.protocols._unit_maps import UnitMapsProtocol
from wsol.protocols._view import View
from wsol.protocols.base import PROTOCOLS, GroundTruth

_EXTENSION = 1  # x + w is the inclusive corner of a box, unless it leaves the map


@PROTOCOLS.register("wsolevaluation")
@dataclass(frozen=True)
class WsolEvaluation(UnitMapsProtocol):
    """Choe et al., "Evaluating Weakly Supervised Object Localization Methods Right", CVPR 2020 and TPAMI 2022.

    The image is squashed to ``size`` without crop. The map is first upsampled to it (bicubic, a = -0.75), then
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
        norm: Normalization of the map: ``minmax`` as in their code; or ``max``, ``pas`` or ``ivr`` as in Kim et al.,
            "Normalization Matters in Weakly Supervised Object Localization", ICCV 2021.
        percentile: Share of the pixels that ``ivr`` maps to 0; ``val`` or ``oracle`` chooses it. For ``norm=ivr``.
    """

    shown_if_changed = ("delta", "size")
    uses_all_contours = True  # for MaxBoxAccV2

    step: float = 0.001
    delta: float = 0.5
    size: int = 224
    norm: str = "minmax"
    percentile: Percentile = DEFAULT_PERCENTILE

    def __post_init__(self) -> None:
        if not 0.0001 <= self.step < 1 or not 2 <= self.size <= 4096 or not 0 < self.delta <= 1:
            raise ValueError("step must be from 0.0001 to 1, delta above 0 and up to 1, size from 2 to 4096")
        self.check_settings()

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
        return self.normalize(maps, (self.size, self.size), cubic_taps)

    def upsample(self, view: View, maps: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
        """Resize raw maps to ``(k, size, size)``, without normalization."""
        return resize(view.assemble(maps), (self.size, self.size), cubic_taps)

    def boxes(self, prepared: FloatArray, taus: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the boxes ``(k, taus, 4)`` of prepared maps ``(k, h, w)`` at ascending taus, as half-open edges."""
        return self._boxes(to_uint8(prepared), taus)

    def score_map_stats(self, prepared: FloatArray, ground_truth: NDArray[np.float64]) -> ImageStats:
        """Compare the largest contour's box, and the boxes of all contours, with ground truth at every tau."""
        gray = to_uint8(prepared[None])
        thresholds = uint8_thresholds(self.taus, gray.max(axis=(1, 2)))
        boxes, largest, best = contour_curves(gray, thresholds, ground_truth, np.array([len(ground_truth)]), _EXTENSION)
        return ImageStats(
            boxes[0].astype(np.float64),
            largest[0],
            peak_inside(prepared, ground_truth),
            contours=best[0],
        )

    def score_batch(
        self,
        view: View,
        maps: NDArray[np.float32],
        truths: Sequence[GroundTruth],
        classes: NDArray[np.int64],
        tau_index: int | None,
    ) -> tuple[dict[str, NDArray[Any]], NDArray[np.float64] | None]:
        """Score the raw maps of some images in three compiled calls, see ``Protocol.score_batch``."""
        n, k = classes.shape
        if view.crop != view.side:
            maps = np.stack([view.assemble(image_maps, lowest=self.norm != "max") for image_maps in maps])
        gray, peaks = self._to_gray(maps[:, 0])
        counts = np.array([len(truth.boxes) for truth in truths])
        truth_boxes = np.concatenate([truth.boxes for truth in truths])
        thresholds = uint8_thresholds(self.taus, gray.max(axis=(1, 2)))
        boxes, largest, best = contour_curves(gray, thresholds, truth_boxes, counts, _EXTENSION)
        arrays: dict[str, NDArray[Any]] = {
            "curves": largest,
            "peaks": are_peaks_inside(peaks, self.size, truth_boxes, counts),
            "contours": best,
        }
        if pixels := self._count_pixels_of(maps, truths):
            arrays["pixels"] = np.stack(pixels)
        if len(self.taus) > 1:
            arrays["boxes"] = boxes_for_display(boxes)
        if tau_index is None:
            return arrays, None
        predicted = np.empty((n, k, 4))
        first = (classes[:, :, None] == classes[:, None]).argmax(2)  # one map per class
        other = first == np.arange(k)
        other[:, 0] = False
        predicted[:, 0] = boxes[:, tau_index]
        if other.any():
            gray, _ = self._to_gray(maps[other])
            predicted[other] = self._boxes(gray, self.taus[tau_index : tau_index + 1])[:, 0]
        return arrays, np.take_along_axis(predicted, first[..., None], 1)

    def _to_gray(self, maps: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Return prepared maps in 8 bit and the place of each one's highest pixel, see ``to_gray``."""
        size = (self.size, self.size)
        if self.norm == "minmax":
            return to_gray(maps, size)
        gray, peaks = np.empty((len(maps), *size), np.uint8), np.empty(len(maps), np.int64)
        for i in range(len(maps)):  # one by one, so that a prepared map stays in the cache
            prepared = self.prepare(maps[i : i + 1], size)[0]
            gray[i], peak = to_uint8(prepared), prepared.argmax()
            peaks[i] = peak if prepared.flat[peak] > 0 else -1
        return gray, peaks

    def _count_pixels_of(self, maps: NDArray[np.float32], truths: Sequence[GroundTruth]) -> list[NDArray[np.uint32]]:
        """Return the pixel counts of all images; none if an image has no mask."""
        counts = [
            truth.count_pixels(self, self.prepare(image_maps[:1], truth.size)[0])
            for image_maps, truth in zip(maps, truths, strict=True)
            if truth.sample.mask is not None
        ]
        return [each for each in counts if each is not None] if len(counts) == len(truths) else []

    def _boxes(self, gray: NDArray[np.uint8], taus: NDArray[np.float64]) -> NDArray[np.float64]:
        edges = largest_contour_boxes(gray, uint8_thresholds(taus, gray.max(axis=(1, 2)))).astype(np.float64)
        edges[..., 2:] = np.minimum(edges[..., 2:] + _EXTENSION, self.size)
        return edges
