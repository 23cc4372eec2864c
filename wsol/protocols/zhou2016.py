"""The CAM paper's own protocol for ILSVRC."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from wsol.boxes.cam_script import cam_script_boxes
from wsol.boxes.components import largest_component_boxes
from wsol.boxes.resize import bilinear
from wsol.boxes.thresholds import Reals, levels_above, normalize, tau_grid, to_uint8
from wsol.datasets import Mask, Sample
from wsol.metrics.image_stats import ImageStats, peak_inside
from wsol.metrics.iou import best_iou
from wsol.protocols._external_maps import rescale_to_float32, to_float32, validate
from wsol.protocols._view import View
from wsol.protocols.base import PROTOCOLS


@dataclass(frozen=True)
class Zhou2016:
    """Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016, section 3.2.

    The image is squashed to 256 x 256; the network sees ten crops of 224 x 224 (four corners and the centre, then
    mirrored). Class probabilities are averaged over the crops, their maps added up in place (bilinear) and the sum
    resized (bilinear) to the annotation's frame. Ground truth is the published corners; IoU counts corners as
    inclusive, as the ILSVRC devkit does. Its list of blacklisted images is an argument of the data set.

    ``box=paper``: a pixel is foreground if it lies strictly above ``tau * max`` (0.2 in the paper); a map without a
    positive value has no foreground. The 8-connected component of most pixels gives the box. ``box=script``: the map,
    min-max normalised and truncated to 8 bit, goes through the released script, ``wsol.boxes.cam_script``, which knows
    no tau; its first box is the box, its second gives the ``pairs`` metric. Without a region the box is empty.

    Maps that were made elsewhere may have any size and range. Masks are not looked at.

    Attributes:
        box: ``paper`` or ``script``.
        crops: 10, or 1 for the centre alone.
        step: Of the threshold grid.
        delta: IoU from which on a box is a hit, inclusive.
    """

    box: str = "paper"
    crops: int = 10
    step: float = 0.01
    delta: float = 0.5

    def __post_init__(self) -> None:
        if self.box not in ("paper", "script") or self.crops not in (1, 10):
            raise ValueError("box is paper or script, crops is 1 or 10")
        if not 0.0001 <= self.step < 1 or not 0 < self.delta <= 1:
            raise ValueError("step lies from 0.0001 to 1, delta above 0 up to 1")

    @property
    def signature(self) -> str:
        """The name, the rule of the box, the number of crops, and the step of the grid where there is one."""
        other = [f"step={self.step:g}"] * (self.box == "paper") + [f"delta={self.delta:g}"] * (self.delta != 0.5)
        return ",".join([f"zhou2016:box={self.box}", f"crops={self.crops}", *other])

    @property
    def view(self) -> View:
        """Crops of 224 x 224 out of 256 x 256."""
        return View(256, 224, self.crops)

    @property
    def contours(self) -> bool:
        """One box alone, or the two of the script."""
        return False

    @cached_property
    def taus(self) -> NDArray[np.float64]:
        """0, step, 2 step, ... < 1; none for the script."""
        return tau_grid(self.step) if self.box == "paper" else np.empty(0)

    def frame(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the annotation's frame."""
        return size

    def ground_truth(self, sample: Sample, size: tuple[int, int]) -> NDArray[np.float64]:
        """Return the published boxes ``(g, 4)``, taken as inclusive corners, as half-open edges."""
        return np.add(sample.boxes, [0, 0, 1, 1])

    def prepare(self, maps: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
        """Return maps ``(k, h, w)`` resized, and divided by their maximum (paper) or min-max normalised (script)."""
        large = bilinear(maps, size[::-1])
        if self.box == "script":
            return normalize(large)
        peaks = large.max(axis=(1, 2), keepdims=True)
        positive = (peaks > 0) & np.isfinite(peaks)
        scaled: NDArray[np.float32] = np.divide(large, peaks, out=np.zeros_like(large), where=positive)
        return scaled

    def prepare_external(self, score_map: NDArray[np.generic], size: tuple[int, int], raw: bool) -> NDArray[np.float32]:
        """Return a map ``(h, w)`` prepared; it is always taken as a raw one.

        Raises:
            ValueError: It is no map, or holds what is not finite.
        """
        own = to_float32(validate(score_map)) if self.box == "script" else rescale_to_float32(validate(score_map))
        prepared: NDArray[np.float32] = self.prepare(own[None], size)[0]
        return prepared

    def boxes(self, prepared: Reals, taus: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the boxes ``(k, levels, 4)`` of prepared maps ``(k, h, w)`` at ascending taus, or by the script."""
        if self.box == "script":
            return np.stack([_first_two(score_map)[:1] for score_map in prepared])
        found = [largest_component_boxes(levels_above(score_map, taus), len(taus)) for score_map in prepared]
        return np.stack(found).astype(np.float64)

    def score_map_stats(self, prepared: Reals, truth: NDArray[np.float64]) -> ImageStats:
        """Hold the box at every tau, or the script's two boxes, against ground truth."""
        inside = peak_inside(prepared, truth)
        if self.box == "script":
            pair = _first_two(prepared)[:, None]
            first, second = best_iou(pair, truth).astype(np.float32)
            return ImageStats(pair[0], first, inside, second=second)
        boxes = largest_component_boxes(levels_above(prepared, self.taus), len(self.taus)).astype(np.float64)
        return ImageStats(boxes, best_iou(boxes, truth).astype(np.float32), inside)

    def pixels(self, prepared: Reals, mask: Callable[[], Mask]) -> None:
        """Know no masks."""


def _first_two(score_map: Reals) -> NDArray[np.float64]:
    """Return the script's first two boxes, ``(2, 4)``; an empty one where there is none."""
    out = np.zeros((2, 4))
    found = cam_script_boxes(to_uint8(score_map))[:2]
    out[: len(found)] = found
    return out


PROTOCOLS.register("zhou2016")(Zhou2016())
