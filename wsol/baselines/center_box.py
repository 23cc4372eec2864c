"""The same central box for every image."""

from functools import lru_cache

from wsol.baselines.base import BASELINES, BaselineBox, Size, one_box
from wsol.protocols import Protocol


@BASELINES.register("center-box")
def center_box(protocol: Protocol, image_id: str, size: Size) -> BaselineBox:
    """Return the central box with half of the frame's area and its aspect ratio, for every threshold.

    Args:
        protocol: The conventions.
        image_id: Ignored.
        size: ``(width, height)`` of the annotation's frame.
    """
    return _center_box(protocol.frame(size))


@lru_cache(maxsize=16384)  # images have many sizes
def _center_box(frame: Size) -> BaselineBox:
    width, height = frame
    x, y = (round(side * (1 - 0.5**0.5) / 2) for side in (width, height))
    return one_box((x, y, width - x, height - y), frame)
