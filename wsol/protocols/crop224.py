"""The fixed-tau protocol of center crops: BAS, SAT and SPOL."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from wsol.boxes.components import boxes_at_taus
from wsol.boxes.contour_curves import contour_boxes
from wsol.boxes.resize import linear_taps, normalize_and_resize, resize
from wsol.boxes.thresholds import FloatArray, are_constant, highest_tau_below, tau_grid
from wsol.datasets import Sample
from wsol.metrics.hits import Strict
from wsol.protocols._normalization import DEFAULT_PERCENTILE, Percentile
from wsol.protocols._single_boxes import score_single_boxes
from wsol.protocols._unit_maps import UnitMapsProtocol
from wsol.protocols._view import View, Window
from wsol.protocols.base import PROTOCOLS, GroundTruth

_SQUARE = 256  # side to which the image is resized
_CROP = 224  # side of its center crop, the frame
_MARGIN = (_SQUARE - _CROP) // 2
_FINEST_STEP = 0.004  # its 250 taus fit into 8 bits, in which contours are found


@dataclass(frozen=True)
class _Conventions:
    """The conventions in which the papers differ.

    Attributes:
        region: What the box is drawn around: the component with the most pixels, or the contour of largest area.
        inclusive: Whether ``x + w`` is an inclusive corner, the IoU has + 1, and an empty mask gives the whole crop;
            otherwise corners are edges and an empty mask gives no box.
        truncated: Whether ground truth is truncated to integers and ends at pixel 223; otherwise it ends at 224.
        clipped: Whether ground truth is first clipped to width - 1 and height - 1 of the image.
        epsilon: Added to the range of the map before the division by it.
        strict: Which IoUs must be above delta.
    """

    region: Literal["component", "contour"]
    inclusive: bool
    truncated: bool
    clipped: bool
    epsilon: float
    strict: Strict


_PAPERS = {
    "bas": _Conventions("component", True, False, False, 0.0, "all"),
    "sat": _Conventions("component", True, True, False, 1e-5, "none"),
    "spol": _Conventions("contour", False, False, True, 0.0, "all"),
}


@PROTOCOLS.register("crop224")
@dataclass(frozen=True)
class Crop224(UnitMapsProtocol):
    """Center crops and one box for all guesses: Wu et al., BAS, CVPR 2022; SAT, ICCV 2023; Wei et al., SPOL, CVPR 2021.

    The image is squashed to 256 x 256; its center crop of 224 x 224 is what the network sees, and the frame. The map is
    min-max normalized, then upsampled to it (bilinear): a peak between two pixels is below 1. A map of the whole image,
    such as a stored run of another protocol has, is upsampled to 256 x 256 and cropped before that. A pixel is
    foreground if its score is strictly above tau. Each paper has one map for all classes, so the box of the first
    predicted class's map is that of all five guesses; GT-known accuracy takes the ground-truth class's map. Masks are
    ignored. Read from the released code, which a setting names:

    ``paper=bas`` (wpy1999/BAS): the 8-connected component with the most pixels, the topmost, then leftmost on ties;
    corners ``x, y, x + w, y + h``, taken as inclusive; without foreground the whole crop, ``0, 0, 224, 224``. Ground
    truth is scaled to 256, clipped to [16, 240] and moved by 16, not rounded. The IoU has + 1 and a hit is above 0.5.

    ``paper=sat`` (wpy1999/SAT): the same box; 1e-5 is added to the range of the map. Ground truth is scaled to 256,
    moved by 16, left and top limited to 0 or more, right and bottom to 223, all truncated. The IoU has + 1 and a hit is
    0.5 or more.

    ``paper=spol`` (weijun88/SPOL): the contour of largest area (OpenCV's ``contourArea``), the first one on ties;
    corners are edges; no box without foreground. Ground truth is clipped to width - 1 and height - 1, scaled, moved and
    clipped to [0, 224]. The IoU has no + 1 and a hit is above 0.5. Two departures: SPOL's map is the sigmoid of a
    segmentation's logits, which other maps are not, so raw maps are min-max normalized like those of the others; and an
    image without foreground, which SPOL leaves out of the count, is a miss here.

    A true box outside the crop is empty, or a line of one pixel where truncation leaves one; nothing hits the former.
    PSOL (tzzcl/PSOL) has boxes and no maps; its conventions are those of ``spol``, without the clipping to the image.
    ADL (junsukchoe/ADL) thresholds the gray values of the map in the colors of ``cubehelix``, and is not one of these.
    BAS and PSOL print means over classes, see CorLoc; the others, means over images. BAS, PSOL and, on CUB, SAT average
    the class probabilities of ten crops; here the center crop is classified.

    Maps that another program computed are of the crop, already upsampled and normalized: 224 x 224, in [0, 1]; or raw.

    Attributes:
        paper: ``bas``, ``sat`` or ``spol``.
        step: Step of the threshold grid.
        delta: IoU of a hit, exclusive for ``bas`` and ``spol``.
        agnostic: Whether a map or box that another program computed is that of all classes, as in these papers.
            Otherwise one without a class is the ground-truth class's, and top-5 localization error needs that of the
            first predicted class too.
        norm: Normalization of the map: ``minmax``; or ``max``, ``pas`` or ``ivr``, which follow the upsampling as Kim
            et al. have it.
        percentile: Share of the pixels that ``ivr`` maps to 0; ``val`` or ``oracle`` chooses it. For ``norm=ivr``.
    """

    shown_if_changed = ("delta", "agnostic")
    uses_masks = False
    one_box = True

    paper: str = "bas"
    step: float = 0.01
    delta: float = 0.5
    agnostic: bool = False
    norm: str = "minmax"
    percentile: Percentile = DEFAULT_PERCENTILE

    def __post_init__(self) -> None:
        if self.paper not in _PAPERS:
            raise ValueError(f"paper must be {', '.join([*_PAPERS][:-1])} or {[*_PAPERS][-1]}")
        if not _FINEST_STEP <= self.step < 1 or not 0 < self.delta <= 1:
            raise ValueError(f"step must be from {_FINEST_STEP} to 1, delta above 0 and up to 1")
        self.check_settings()

    @property
    def strict(self) -> Strict:
        """All hits for ``bas`` and ``spol``."""
        return self._conventions.strict

    @property
    def empty_box(self) -> str:
        """The whole crop for ``bas`` and ``sat``."""
        return "give the whole crop as box" if self._conventions.inclusive else super().empty_box

    @property
    def view(self) -> View:
        """The center crop of 224 x 224 out of 256 x 256."""
        return View(_SQUARE, _CROP)

    @property
    def external_view(self) -> View:
        """The same: maps of another program are of the crop."""
        return self.view

    @property
    def window(self) -> Window:
        """The crop."""
        first, last = _MARGIN / _SQUARE, 1 - _MARGIN / _SQUARE
        return Window(first, first, last, last)

    @cached_property
    def taus(self) -> NDArray[np.float64]:
        """0, step, 2 step, ... < 1, rounded to the numbers that papers write."""
        grid: NDArray[np.float64] = np.round(tau_grid(self.step), 9)
        return grid

    def frame(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the crop, whatever the size of the image."""
        return _CROP, _CROP

    def ground_truth(self, sample: Sample, size: tuple[int, int]) -> NDArray[np.float64]:
        """Return the published boxes ``(g, 4)`` in the crop, as half-open edges; empty where outside."""
        conventions, sides = self._conventions, np.array([*size, *size])
        boxes = np.clip(sample.boxes, 0, sides - 1) if conventions.clipped else sample.boxes
        moved = boxes / sides * _SQUARE - _MARGIN
        last = _CROP - 1 if conventions.truncated else _CROP
        corners = np.concatenate([np.maximum(moved[:, :2], 0), np.minimum(moved[:, 2:], last)], 1)
        if conventions.truncated:
            corners = np.trunc(corners)
        corners[:, 2:] = np.maximum(corners[:, 2:] + conventions.inclusive, corners[:, :2])
        return corners

    def prepare(self, maps: FloatArray, size: tuple[int, int]) -> NDArray[np.float32]:
        """Normalize and upsample raw maps of the crop ``(k, h, w)`` to ``(k, 224, 224)``; ``minmax`` comes first."""
        if self.norm != "minmax":
            return self.normalize(maps, (_CROP, _CROP), linear_taps)
        return normalize_and_resize(maps, (_CROP, _CROP), linear_taps, self._conventions.epsilon)

    def prepare_view(self, view: View, maps: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
        """Prepare the raw maps of what the network saw; those of the whole image are cropped."""
        return self.prepare(self._crop(view, maps), size)

    def upsample(self, view: View, maps: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
        """Resize raw maps to ``(k, 224, 224)``, without normalization; those of the whole image are cropped."""
        return resize(self._crop(view, maps), (_CROP, _CROP), linear_taps)

    def boxes(self, prepared: FloatArray, taus: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the boxes ``(k, taus, 4)`` of prepared maps ``(k, h, w)`` at ascending taus, as half-open edges."""
        if self._conventions.region == "component":
            boxes = boxes_at_taus(prepared, taus)
        else:  # the masks of the taus are those of an 8-bit map, the number of taus that a pixel is above
            passed = np.stack([highest_tau_below(each, taus) + 1 for each in prepared]).astype(np.uint8)
            boxes = contour_boxes(passed, np.tile(np.arange(len(taus)), (len(prepared), 1))).astype(np.float64)
        if self._conventions.inclusive:
            is_empty = boxes[..., 2] == 0
            boxes[..., 2:] += 1
            boxes[is_empty] = 0, 0, _CROP + 1, _CROP + 1
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

    def _crop(self, view: View, maps: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return raw maps ``(k, h, w)`` of the crop; those of the whole image are upsampled first."""
        if view == self.view:
            return maps.reshape(len(maps), *maps.shape[-2:])
        whole = view.assemble(maps)
        large = resize(whole, (_SQUARE, _SQUARE), linear_taps)
        large[are_constant(whole)] = 0
        return large[:, _MARGIN:-_MARGIN, _MARGIN:-_MARGIN]

    @property
    def _conventions(self) -> _Conventions:
        return _PAPERS[self.paper]
