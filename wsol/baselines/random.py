"""A box drawn by lot."""

import hashlib
import struct

from wsol.baselines.base import BASELINES, BaselineBox, Size, one_box
from wsol.protocols import Protocol


@BASELINES.register("random")
def random(protocol: Protocol, image_id: str, size: Size) -> BaselineBox:
    """Give the box between two pixels drawn uniformly, whatever the threshold.

    Args:
        protocol: The conventions.
        image_id: Seeds the draw, so that an image gets the same box in every run.
        size: ``(width, height)`` of the annotation's frame.
    """
    width, height = frame = protocol.frame(size)
    lots = struct.unpack("<4Q", hashlib.blake2b(image_id.encode(), digest_size=32).digest())
    x0, x1 = sorted(lot % width for lot in lots[:2])
    y0, y1 = sorted(lot % height for lot in lots[2:])
    return one_box((x0, y0, x1 + 1, y1 + 1), frame)  # the second pixel lies inside
