"""The whole image as box."""

from wsol.baselines.base import BASELINES, BaselineBox, Size, one_box
from wsol.protocols import Protocol


@BASELINES.register("full-image")
def full_image(protocol: Protocol, image_id: str, size: Size) -> BaselineBox:
    """Give the frame itself, whatever the threshold.

    Args:
        protocol: The conventions.
        image_id: Has no influence.
        size: ``(width, height)`` of the annotation's frame.
    """
    width, height = protocol.frame(size)
    return one_box((0, 0, width, height), (width, height))
