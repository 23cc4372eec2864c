"""The CAM paper's own protocol for ILSVRC."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wsol.boxes.cam_script import cam_script_boxes
from wsol.boxes.components import boxes_at_taus
from wsol.boxes.resize import Taps, linear_taps, matlab_cubic_taps, resize, resize_and_divide
from wsol.boxes.thresholds import FloatArray, tau_grid
from wsol.datasets import Sample
from wsol.metrics.image_stats import ImageStats, peak_inside
from wsol.metrics.iou import best_iou
from wsol.protocols._normalization import DEFAULT_PERCENTILE, NormalizingProtocol, Percentile
from wsol.protocols._single_boxes import score_single_boxes
from wsol.protocols._view import View
from wsol.protocols.base import PROTOCOLS, GroundTruth

_OF_THE_SCRIPT = ("merge", "resize", "jpeg")


@PROTOCOLS.register("zhou2016")
@dataclass(frozen=True)
class Zhou2016(NormalizingProtocol):
    """Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016, section 3.2.

    The image is squashed to 256 x 256; the network sees ten crops of 224 x 224 (four corners and the center, then
    mirrored). Class probabilities are averaged over the crops; their maps are added up in place and the sum is resized
    to the annotation's frame. A map that is constant, in every crop, has no box. Ground truth is the published corners;
    the IoU counts corners as inclusive, as in the ILSVRC devkit. Its list of blacklisted images is an argument of the
    data set.

    ``box=paper``: maps are resized linearly. A pixel is foreground if its score is strictly above ``tau * max`` (0.2 in
    the paper); a map without a positive value has no foreground. The 8-connected component with the most pixels gives
    the box. This is a threshold on the map divided by its maximum, ``norm=max``; another ``norm`` has tau on the map
    that it normalizes.

    ``box=script``: the released program, ``wsol.boxes.cam_script``, on a heat map in 8 bit: the map divided by its
    maximum and rounded. It has no threshold tau; its first box is the box, its second is for the ``pairs`` metric.
    Without a region the box is empty. How the authors made their heat maps is not fully published; ``merge``,
    ``resize`` and ``jpeg`` name what is inferred from the code that is.

    Maps that another program computed may have any size and range. Masks are ignored.

    Attributes:
        box: ``paper`` or ``script``.
        crops: 10, or 1 for the center crop alone.
        step: Step of the threshold grid; for ``box=paper``.
        delta: IoU from which on a box is a hit, inclusive.
        merge: ``absolute`` adds absolute values of the crops' maps, as in the published ``mergeTenCrop.m`` (the
            published evaluation calls another function, which is not), ``signed`` the values; for ``box=script``.
        resize: ``matlab``, the bicubic interpolation of MATLAB's ``imresize``, or ``bilinear``; for ``box=script``.
        jpeg: Quality of the JPEG file in which the heat map reaches the program, 75 as MATLAB's default and the
            authors' sample; 0 for no compression; for ``box=script``.
        norm: Normalization of the map: ``max``, or ``minmax``, ``pas`` or ``ivr`` for ``box=paper``.
        percentile: Share of the pixels that ``ivr`` maps to 0; ``val`` or ``oracle`` chooses it. For ``norm=ivr``.
    """

    uses_masks = False

    box: str = "paper"
    crops: int = 10
    step: float = 0.01
    delta: float = 0.5
    merge: str = "absolute"
    resize: str = "matlab"
    jpeg: int = 75
    norm: str = "max"
    percentile: Percentile = DEFAULT_PERCENTILE

    def __post_init__(self) -> None:
        if self.box not in ("paper", "script") or self.crops not in (1, 10):
            raise ValueError("box must be paper or script, crops 1 or 10")
        if not 0.0001 <= self.step < 1 or not 0 < self.delta <= 1:
            raise ValueError("step must be from 0.0001 to 1, delta above 0 and up to 1")
        if self.merge not in ("absolute", "signed") or self.resize not in ("matlab", "bilinear"):
            raise ValueError("merge must be absolute or signed, resize matlab or bilinear")
        if not 0 <= self.jpeg <= 100:
            raise ValueError("jpeg must be a quality from 1 to 100, or 0 for none")
        if self.box == "script" and self.norm != "max":
            raise ValueError(f"box=script divides maps by their maximum; leave out norm={self.norm}")
        self.check_settings()

    @property
    def ignored_settings(self) -> dict[str, str]:
        """The settings of the other ``box``, and ``percentile``, unless it applies."""
        others = _OF_THE_SCRIPT if self.box == "paper" else ("step",)
        return super().ignored_settings | dict.fromkeys(others, f"box={self.box}")

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

    def prepare(self, maps: FloatArray, size: tuple[int, int]) -> NDArray[np.float32]:
        """Resize and normalize maps ``(k, h, w)``; for the script, as a heat map in 8 bit."""
        if self.norm != "max":
            return self.normalize(maps, size[::-1], linear_taps)
        out = resize_and_divide(maps, size[::-1], self._taps, self._absolute)
        if self.box == "script":
            for score_map in out:
                score_map[:] = self._to_heat_map(score_map) / np.float32(255)
        return out

    def prepare_view(self, view: View, maps: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
        """Prepare the raw maps of what the network saw, added up as the settings say."""
        return self.prepare(view.assemble(maps, self._taps, self._absolute, lowest=self.norm != "max"), size)

    def upsample(self, view: View, maps: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
        """Add up the raw maps of the crops and resize the sum to the frame, without normalization."""
        large = resize(view.assemble(maps, self._taps, self._absolute), size[::-1], self._taps)
        return np.abs(large) if self._absolute else large

    def boxes(self, prepared: FloatArray, taus: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the boxes ``(k, taus, 4)`` of prepared maps ``(k, h, w)`` at ascending taus; one tau for script."""
        if self.box == "script":
            return np.stack([_first_two_boxes(score_map)[:1] for score_map in prepared])
        return boxes_at_taus(prepared, taus)

    def score_batch(
        self,
        view: View,
        maps: NDArray[np.float32],
        truths: Sequence[GroundTruth],
        classes: NDArray[np.int64],
        tau_index: int | None,
    ) -> tuple[dict[str, NDArray[Any]], NDArray[np.float64] | None]:
        """Score the raw maps of some images; the curves of all of them are computed together."""
        score = super().score_batch if self.box == "script" else partial(score_single_boxes, self)
        return score(view, maps, truths, classes, tau_index)

    def score_map_stats(self, prepared: FloatArray, ground_truth: NDArray[np.float64]) -> ImageStats:
        """Compare the box at every tau, or the two boxes of the script, with ground truth."""
        if self.box == "paper":
            return super().score_map_stats(prepared, ground_truth)
        boxes = _first_two_boxes(prepared)[:, None]
        first, second = best_iou(boxes, ground_truth).astype(np.float32)
        return ImageStats(boxes[0], first, peak_inside(prepared, ground_truth), second=second)

    @property
    def _taps(self) -> Taps:
        return matlab_cubic_taps if (self.box, self.resize) == ("script", "matlab") else linear_taps

    @property
    def _absolute(self) -> bool:
        return (self.box, self.merge) == ("script", "absolute")

    def _to_heat_map(self, scores: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Round scores up to 1 to 8 bit, negative ones to 0, as the authors' files have them."""
        gray: NDArray[np.uint8] = np.clip(np.floor(255 * scores + 0.5), 0, 255).astype(np.uint8)
        if not self.jpeg:
            return gray
        file = io.BytesIO()
        Image.fromarray(gray).save(file, "JPEG", quality=self.jpeg)
        compressed: NDArray[np.uint8] = np.asarray(Image.open(file))
        return compressed


def _first_two_boxes(score_map: FloatArray) -> NDArray[np.float64]:
    """Return the script's first two boxes, ``(2, 4)``; zeros in place of a missing one."""
    out = np.zeros((2, 4))
    boxes = cam_script_boxes(np.rint(255 * score_map).astype(np.uint8))[:2]
    out[: len(boxes)] = boxes
    return out
