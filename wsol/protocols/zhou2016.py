"""The CAM paper's own protocol for ILSVRC."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from wsol.boxes.cam_script import cam_script_boxes
from wsol.boxes.components import boxes_at_taus
from wsol.boxes.resize import bilinear
from wsol.boxes.thresholds import FloatArray, normalize, tau_grid, to_uint8
from wsol.datasets import Mask, Sample
from wsol.metrics.image_stats import ImageStats, peak_inside
from wsol.metrics.iou import best_iou
from wsol.protocols._external_maps import rescale_to_float32, to_float32, validate
from wsol.protocols._view import View
from wsol.protocols.base import PROTOCOLS, Protocol


@PROTOCOLS.register("zhou2016")
@dataclass(frozen=True)
class Zhou2016(Protocol):
    """Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016, section 3.2.

    The image is squashed to 256 x 256; the network sees ten crops of 224 x 224 (four corners and the center, then
    mirrored). Class probabilities are averaged over the crops; their maps are added up in place (bilinear) and the sum
    is resized (bilinear) to the annotation's frame. Ground truth is the published corners; the IoU counts corners as
    inclusive, as in the ILSVRC devkit. Its list of blacklisted images is an argument of the data set.

    ``box=paper``: a pixel is foreground if its score is strictly above ``tau * max`` (0.2 in the paper); a map without
    a positive value has no foreground. The 8-connected component with the most pixels gives the box. ``box=script``:
    the map, min-max normalized and truncated to 8 bit, is the input of the released script, ``wsol.boxes.cam_script``,
    which has no threshold tau; its first box is the box, its second is for the ``pairs`` metric. Without a region the
    box is empty.

    Maps that another program computed may have any size and range. Masks are ignored.

    Attributes:
        box: ``paper`` or ``script``.
        crops: 10, or 1 for the center crop alone.
        step: Step of the threshold grid.
        delta: IoU from which on a box is a hit, inclusive.
    """

    box: str = "paper"
    crops: int = 10
    step: float = 0.01
    delta: float = 0.5

    def __post_init__(self) -> None:
        if self.box not in ("paper", "script") or self.crops not in (1, 10):
            raise ValueError("box must be paper or script, crops 1 or 10")
        if not 0.0001 <= self.step < 1 or not 0 < self.delta <= 1:
            raise ValueError("step must be from 0.0001 to 1, delta above 0 and up to 1")

    def shown_settings(self) -> list[str]:
        """Return the names of the settings that the signature shows; the script has no step."""
        return [name for name in super().shown_settings() if name != "step" or self.box == "paper"]

    @property
    def view(self) -> View:
        """Crops of 224 x 224 out of 256 x 256."""
        return View(256, 224, self.crops)

    @cached_property
    def taus(self) -> NDArray[np.float64]:
        """0, step, 2 step, ... < 1; none for the script."""
        return tau_grid(self.step) if self.box == "paper" else np.empty(0)

    def ground_truth(self, sample: Sample, size: tuple[int, int]) -> NDArray[np.float64]:
        """Return the published boxes ``(g, 4)``, read as inclusive corners, as half-open edges."""
        return np.add(sample.boxes, [0, 0, 1, 1])

    def prepare(self, maps: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
        """Resize maps ``(k, h, w)``, and divide them by their maximum (paper) or min-max normalize them (script)."""
        large = bilinear(maps, size[::-1])
        if self.box == "script":
            return normalize(large)
        peaks = large.max(axis=(1, 2), keepdims=True)
        positive = (peaks > 0) & np.isfinite(peaks)
        scaled: NDArray[np.float32] = np.divide(large, peaks, out=np.zeros_like(large), where=positive)
        return scaled

    def prepare_external(self, score_map: NDArray[np.generic], size: tuple[int, int], raw: bool) -> NDArray[np.float32]:
        """Prepare a map ``(h, w)``; it is always treated as a raw one.

        Raises:
            ValueError: The map is not a map, or has values that are not finite.
        """
        values = validate(score_map)
        single = to_float32(values) if self.box == "script" else rescale_to_float32(values)
        prepared: NDArray[np.float32] = self.prepare(single[None], size)[0]
        return prepared

    def boxes(self, prepared: FloatArray, taus: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the boxes ``(k, taus, 4)`` of prepared maps ``(k, h, w)`` at ascending taus; one tau for script."""
        if self.box == "script":
            return np.stack([_first_two_boxes(score_map)[:1] for score_map in prepared])
        return boxes_at_taus(prepared, taus)

    def score_map_stats(self, prepared: FloatArray, ground_truth: NDArray[np.float64]) -> ImageStats:
        """Compare the box at every tau, or the two boxes of the script, with ground truth."""
        if self.box == "paper":
            return super().score_map_stats(prepared, ground_truth)
        boxes = _first_two_boxes(prepared)[:, None]
        first, second = best_iou(boxes, ground_truth).astype(np.float32)
        return ImageStats(boxes[0], first, peak_inside(prepared, ground_truth), second=second)

    def count_pixels(self, prepared: FloatArray, mask: Callable[[], Mask]) -> None:
        """Ignore the mask."""


def _first_two_boxes(score_map: FloatArray) -> NDArray[np.float64]:
    """Return the script's first two boxes, ``(2, 4)``; zeros in place of a missing one."""
    out = np.zeros((2, 4))
    boxes = cam_script_boxes(to_uint8(score_map))[:2]
    out[: len(boxes)] = boxes
    return out
