"""The interface of a protocol, and the ground truth of an image under a protocol."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from wsol.boxes.resize import linear_taps, nearest, resize
from wsol.boxes.thresholds import FloatArray, highest_tau_reached
from wsol.datasets import Mask, Sample
from wsol.metrics.base import LocalizationStats
from wsol.metrics.hits import Strict
from wsol.metrics.image_stats import ImageStats, count_pixels_by_tau, peak_inside
from wsol.metrics.iou import best_iou
from wsol.protocols._external_maps import validate
from wsol.protocols._image_by_image import score_image_by_image
from wsol.protocols._view import View, Window
from wsol.registry import Registry

Size = tuple[int, int]


@dataclass(frozen=True)
class Protocol(ABC):
    """A named set of conventions, from the size of the network's input to what counts as a hit.

    A subclass is a frozen dataclass whose fields are its settings; ``delta`` is one of them. The *frame* of a protocol
    is the rectangle of pixels in which maps are thresholded and boxes compared. All boxes that a protocol returns are
    half-open pixel edges in its frame. A *prepared* map has the size of the frame and is ready for thresholds. Sizes
    are (width, height).

    Attributes:
        name: Registered name.
        shown_if_changed: Settings that the signature shows only if they differ from their defaults; it always shows
            the others.
        uses_all_contours: Whether the boxes of all contours are evaluated in addition to the box of the map.
        uses_masks: Whether masks are evaluated.
        one_box: Whether the box of the first predicted class is that of all predictions; otherwise each class has that
            of its own map.
    """

    name: ClassVar[str]
    shown_if_changed: ClassVar[tuple[str, ...]] = ("delta",)
    uses_all_contours: ClassVar[bool] = False
    uses_masks: ClassVar[bool] = True
    one_box: ClassVar[bool] = False

    @property
    @abstractmethod
    def delta(self) -> float:
        """IoU from which on a box is a hit; see ``strict``."""

    @property
    def strict(self) -> Strict:
        """Which boxes are hits only if their IoU is above delta: by default none, an IoU equal to it is enough."""
        return "none"

    @property
    def agnostic(self) -> bool:
        """True if a map or box of another program is that of all classes, not only of the class it is given for."""
        return False

    @property
    def empty_box(self) -> str:
        """The box of a map without foreground, as a phrase for notes: by default there is none."""
        return "give no box"

    @property
    @abstractmethod
    def taus(self) -> NDArray[np.float64]:
        """Threshold grid ``(taus,)``, ascending; empty if the protocol has no threshold."""

    @property
    def off_grid(self) -> int | None:
        """Index of the one tau that is not on the grid, if there is one; it is not part of any choice of tau."""
        return None

    def including(self, tau: float | str) -> "Protocol":
        """Return a protocol that evaluates this tau too; by default the protocol itself, whose grid is fixed."""
        return self

    @abstractmethod
    def ground_truth(self, sample: Sample, size: Size) -> NDArray[np.float64]:
        """Return the boxes ``(g, 4)`` of a sample whose annotation's frame is ``size``."""

    @abstractmethod
    def prepare(self, maps: FloatArray, size: Size) -> NDArray[np.float32]:
        """Prepare raw maps ``(k, h, w)``.

        Args:
            maps: The maps of a network, of any size and range.
            size: Size of the annotation's frame.

        Returns:
            ``(k, height, width)`` of the protocol's frame; all zeros for a map that is constant or not finite.
        """

    @abstractmethod
    def boxes(self, prepared: FloatArray, taus: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the boxes ``(k, taus, 4)`` of prepared maps ``(k, h, w)`` at ascending taus."""

    @property
    def signature(self) -> str:
        """Name and settings; ``find_protocol`` reads it."""
        settings = [f"{key}={_format_setting(getattr(self, key))}" for key in self.shown_settings()]
        return f"{self.name}:{','.join(settings)}" if settings else self.name

    def shown_settings(self) -> list[str]:
        """Return the names of the settings that the signature shows."""
        return [
            field.name
            for field in fields(self)
            if field.name not in self.ignored_settings
            and (field.name not in self.shown_if_changed or getattr(self, field.name) != field.default)
        ]

    @property
    def ignored_settings(self) -> dict[str, str]:
        """Settings that have no effect beside others, each with the other: ``{"step": "box=script"}``."""
        return {}

    def check_settings(self) -> None:
        """Check that no setting is changed that would be ignored.

        Raises:
            ValueError: One is.
        """
        defaults = {field.name: field.default for field in fields(self)}
        for name, cause in self.ignored_settings.items():
            if getattr(self, name) != defaults[name]:
                raise ValueError(f"{name} would be ignored with {cause}; leave that out")

    @property
    def chosen_on(self) -> Literal["val", "oracle"] | None:
        """Rule by which a setting has to be chosen before maps can be scored; None if every setting has a value."""
        return None

    @property
    def candidates(self) -> Sequence["Protocol"]:
        """The protocols among which the rule chooses."""
        return ()

    @property
    def family(self) -> str:
        """The signature without the values that rules chose: runs of equal families are comparable."""
        return self.signature

    @property
    def view(self) -> View:
        """Input of the network: by default the whole image, resized to 224 x 224."""
        return View(224, 224)

    @property
    def external_view(self) -> View:
        """The part of the image that raw maps of another program cover: by default all of it, without crops."""
        return View(self.view.side, self.view.side)

    @property
    def window(self) -> Window:
        """Part of the image that the frame shows: by default all of it."""
        return Window()

    def frame(self, size: Size) -> Size:
        """Return the size of the frame for an annotation's frame of ``size``: by default the same."""
        return size

    def make_stats(self, **arrays: Any) -> LocalizationStats:
        """Return statistics under the conventions of the protocol; the arguments are the other attributes."""
        conventions: dict[str, Any] = {"off_grid": self.off_grid, "one_box": self.one_box, "strict": self.strict}
        return LocalizationStats(delta=self.delta, **conventions, **arrays)

    def share_box(self, boxes: NDArray[np.float64], classes: NDArray[np.int64]) -> NDArray[np.float64]:
        """Give all predictions the box of the first one, if the protocol has one box for all.

        Args:
            boxes: ``(n, k, 4)``, the box of each class's own map; NaN where it is not known.
            classes: int64 ``(n, k)``, the ground-truth class, then the predictions; -1 where there is no further one.

        Returns:
            ``(n, k, 4)``, the boxes that predictions have; NaN where there is no prediction.
        """
        if not self.one_box:
            return boxes
        first = boxes[:, 1:2]
        if self.agnostic:
            first = np.where(np.isnan(first), boxes[:, :1], first)
        shared = boxes.copy()
        shared[:, 1:] = np.where((classes[:, 1:] >= 0)[..., None], first, np.nan)
        return shared

    def prepare_view(self, view: View, maps: NDArray[np.float32], size: Size) -> NDArray[np.float32]:
        """Prepare the raw maps of what the network saw of an image.

        Args:
            view: What it saw.
            maps: ``(k, h, w)``, or ``(k, crops, h, w)`` for several crops.
            size: Size of the annotation's frame.

        Returns:
            As ``prepare``.
        """
        return self.prepare(view.assemble(maps), size)

    def prepare_external(self, score_map: NDArray[np.generic], size: Size, raw: bool) -> FloatArray:
        """Prepare a map that another program computed; by default it is always treated as a raw one.

        Args:
            score_map: A map in the form that the protocol asks for; or the raw map of a network, of any size and range.
            size: Size of the annotation's frame.
            raw: Whether the map is a raw one.

        Raises:
            ValueError: The map is invalid; the message says in what, without naming the map.
        """
        prepared: FloatArray = self.prepare(validate(score_map)[None], size)[0]
        return prepared

    def unsupported_reason(self, raw: bool) -> str | None:
        """Return why maps that another program computed cannot be scored with these settings; None if they can.

        Args:
            raw: Whether the maps are raw ones.
        """
        return None

    def score_map_stats(self, prepared: FloatArray, ground_truth: NDArray[np.float64]) -> ImageStats:
        """Compare a prepared map ``(h, w)`` with ground-truth boxes ``(g, 4)`` at every tau."""
        boxes = self.boxes(prepared[None], self.taus)[0]
        ious = best_iou(boxes, ground_truth).astype(np.float32)
        return ImageStats(boxes, ious, peak_inside(prepared, ground_truth))

    def count_pixels(self, prepared: FloatArray, mask: Callable[[], Mask]) -> NDArray[np.uint32] | None:
        """Count the pixels of a prepared map by score, see ``ImageStats.pixels``; None if the protocol ignores masks.

        Args:
            prepared: ``(h, w)``, in [0, 1].
            mask: Reads the pixel annotation, which is resized to the map by nearest neighbor.
        """
        if not self.uses_masks:
            return None
        taus = self.taus[self.taus < 1]
        annotation = self.resize_mask(mask(), prepared.shape)
        foreground, ignore = annotation.foreground, annotation.ignore
        return count_pixels_by_tau(highest_tau_reached(prepared, taus), prepared >= 1, foreground, ignore, len(taus))

    def resize_mask(self, annotation: Mask, shape: tuple[int, ...]) -> Mask:
        """Resize a pixel annotation to the ``(height, width)`` of the frame, by default by nearest neighbor."""
        height, width = shape
        return Mask(nearest(annotation.foreground, (height, width)), nearest(annotation.ignore, (height, width)))

    def upsample(self, view: View, maps: NDArray[np.float32], size: Size) -> NDArray[np.float32]:
        """Resize the raw maps of what the network saw of an image to the frame; by default linearly.

        A protocol that overrides ``prepare`` with another interpolation, or ``prepare_view``, overrides this too.

        Args:
            view: What it saw.
            maps: ``(k, h, w)``, or ``(k, crops, h, w)`` for several crops.
            size: Size of the annotation's frame.

        Returns:
            float32 ``(k, height, width)``, not normalized.
        """
        return resize(view.assemble(maps), self.frame(size)[::-1], linear_taps)

    def score_batch(
        self,
        view: View,
        maps: NDArray[np.float32],
        truths: Sequence["GroundTruth"],
        classes: NDArray[np.int64],
        tau_index: int | None,
    ) -> tuple[dict[str, NDArray[Any]], NDArray[np.float64] | None]:
        """Score the raw maps of some images, by default image by image.

        An override returns the same bits, in fewer calls.

        Args:
            view: What the network saw of an image.
            maps: ``(n, k, h, w)``, or ``(n, k, crops, h, w)`` for several crops; the ground-truth class's come first.
            truths: Ground truth of each image, at least one.
            classes: int64 ``(n, k)``, the class of each map; the maps of equal classes of an image are equal.
            tau_index: Index of the threshold of the boxes; None for no boxes.

        Returns:
            The statistics of the ground-truth class's maps, stacked by ``stack_stats``, and the boxes of all
            predictions at the one threshold, float64 ``(n, k, 4)``; those that need no threshold if the protocol has
            none.
        """
        return score_image_by_image(self, view, maps, truths, classes, tau_index)


PROTOCOLS: Registry[Protocol] = Registry("protocol", "wsol.protocols")


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """The ground truth of one image under a protocol.

    Attributes:
        sample: The image and its annotation.
        size: ``(width, height)`` of the annotation's frame.
        boxes: ``(g, 4)``, half-open edges in the protocol's frame.
    """

    sample: Sample
    size: Size
    boxes: NDArray[np.float64]

    def count_pixels(self, protocol: Protocol, prepared: FloatArray) -> NDArray[np.uint32] | None:
        """Count the pixels of a prepared map by score; None without a mask or if the protocol ignores it."""
        return None if self.sample.mask is None else protocol.count_pixels(prepared, self.sample.mask)

    def score_map_stats(self, protocol: Protocol, prepared: FloatArray) -> ImageStats:
        """Compare a prepared map ``(h, w)`` with boxes and mask."""
        return replace(protocol.score_map_stats(prepared, self.boxes), pixels=self.count_pixels(protocol, prepared))


def ground_truth_of(protocol: Protocol, sample: Sample, size: Size) -> GroundTruth:
    """Return the ground truth of a sample whose annotation's frame is ``size``."""
    return GroundTruth(sample, size, protocol.ground_truth(sample, size))


def _format_setting(value: object) -> str:
    """Return a setting as ``find_protocol`` reads it, numbers with six digits if that is exact."""
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    return str(value).lower() if isinstance(value, bool) else str(value)
