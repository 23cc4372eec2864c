"""What a protocol decides."""

import typing
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from wsol.boxes.resize import nearest
from wsol.boxes.thresholds import Reals, levels_reached
from wsol.datasets import Mask, Sample
from wsol.metrics.image_stats import ImageStats, count_pixels
from wsol.protocols._view import View
from wsol.registry import Registry

Size = tuple[int, int]


class Protocol(typing.Protocol):
    """A named, frozen set of conventions, from the image's size to what counts as a hit.

    Its frame is the square or rectangle of pixels in which maps are thresholded and boxes compared. Boxes that it hands
    out are half-open pixel edges in its frame; a *prepared* map has the frame's size and is ready for thresholds.
    Sizes are (width, height).
    """

    def __hash__(self) -> int:
        """Equal conventions are one protocol."""

    @property
    def signature(self) -> str:
        """Name and every convention that can vary; ``find_protocol`` reads it."""

    @property
    def view(self) -> View:
        """What the network sees of an image."""

    @property
    def delta(self) -> float:
        """IoU from which on a box is a hit."""

    @property
    def taus(self) -> NDArray[np.float64]:
        """The threshold grid, ``(levels,)``, ascending; empty where no threshold enters."""

    @property
    def contours(self) -> bool:
        """Whether every contour's box is looked at beside the one that is drawn."""

    def frame(self, size: Size) -> Size:
        """Return the size of the frame for an image whose annotation's frame is ``size``."""

    def ground_truth(self, sample: Sample, size: Size) -> NDArray[np.float64]:
        """Return the boxes ``(g, 4)`` of a sample whose annotation's frame is ``size``."""

    def prepare(self, maps: NDArray[np.float32], size: Size) -> NDArray[np.float32]:
        """Return raw maps ``(k, h, w)`` prepared, ``(k, height, width)`` of the frame."""

    def prepare_external(self, score_map: NDArray[np.generic], size: Size, raw: bool) -> Reals:
        """Return a map that was made elsewhere prepared.

        Args:
            score_map: As the protocol wants it to be handed in; or a network's own, of any size and range.
            size: Of the annotation's frame.
            raw: Whether it is the latter.

        Raises:
            ValueError: It is not as it should be; the message says in what, without naming the map.
        """

    def boxes(self, prepared: Reals, taus: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the boxes ``(k, levels, 4)`` that prepared maps ``(k, h, w)`` give at each tau."""

    def score_map_stats(self, prepared: Reals, truth: NDArray[np.float64]) -> ImageStats:
        """Hold a prepared map ``(h, w)`` against boxes ``(g, 4)`` at every tau."""

    def pixels(self, prepared: Reals, mask: Callable[[], Mask]) -> NDArray[np.uint32] | None:
        """Count the pixels of a prepared map by score, see ``Trace.pixels``; None if the protocol knows no masks.

        Args:
            prepared: ``(h, w)``, of the frame's size.
            mask: Reads the pixel annotation, of whatever size.
        """


PROTOCOLS: Registry[Protocol] = Registry("protocol", "wsol.protocols")


def find_protocol(text: str) -> Protocol:
    """Find a protocol by its name, with conventions that differ from its defaults: ``wsolevaluation:step=0.01``.

    Args:
        text: ``NAME`` or ``NAME:KEY=VALUE,KEY=VALUE``, as its signature has it.

    Raises:
        InputError: The name or a key is unknown, or a value is not of the key's kind.
    """
    return PROTOCOLS.find(text)


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """The ground truth of one image.

    Attributes:
        sample: The image.
        size: ``(width, height)`` of its annotation's frame.
        boxes: ``(g, 4)``, half-open edges in the protocol's frame.
    """

    sample: Sample
    size: tuple[int, int]
    boxes: NDArray[np.float64]

    def pixels(self, protocol: Protocol, prepared: Reals) -> NDArray[np.uint32] | None:
        """Count the pixels of a prepared map by score; None without a mask, or if the protocol does not look at it."""
        return None if self.sample.mask is None else protocol.pixels(prepared, self.sample.mask)

    def score_map_stats(self, protocol: Protocol, prepared: Reals) -> ImageStats:
        """Hold a prepared map ``(h, w)`` against boxes and mask."""
        return replace(protocol.score_map_stats(prepared, self.boxes), pixels=self.pixels(protocol, prepared))


def ground_truth_of(protocol: Protocol, sample: Sample, size: tuple[int, int]) -> GroundTruth:
    """Return the ground truth of a sample whose annotation's frame is ``size``."""
    return GroundTruth(sample, size, protocol.ground_truth(sample, size))


def pixel_counts(prepared: Reals, taus: NDArray[np.float64], mask: Mask) -> NDArray[np.uint32]:
    """Count the pixels of a prepared map by score, see ``Trace.pixels``.

    Args:
        prepared: ``(h, w)``, in [0, 1].
        taus: The protocol's grid.
        mask: Resized to the map by nearest neighbour.
    """
    below = taus[taus < 1]
    foreground, ignore = (nearest(part, prepared.shape) for part in (mask.foreground, mask.ignore))
    return count_pixels(levels_reached(prepared, below), prepared >= 1, foreground, ignore, len(below))
