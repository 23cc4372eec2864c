"""The whole image as the box."""

from functools import lru_cache

from wsol.baselines.base import BASELINES, BaselineBox, Size, one_box
from wsol.protocols import Protocol


@BASELINES.register("full-image")
def full_image(protocol: Protocol, image_id: str, size: Size) -> BaselineBox:
    """Return the whole frame, for every threshold.

    Args:
        protocol: The conventions.
        image_id: Ignored.
        size: ``(width, height)`` of the annotation's frame.
    """
    return _full_image(protocol.frame(size))


@lru_cache(maxsize=16384)  # images have many sizes
def _full_image(frame: Size) -> BaselineBox:
    return one_box((0, 0, *frame), frame)
