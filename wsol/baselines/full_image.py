"""The whole image as the box."""

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
    width, height = protocol.frame(size)
    return one_box((0, 0, width, height), (width, height))
