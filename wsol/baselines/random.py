"""A random box."""

import hashlib
import struct

from wsol.baselines.base import BASELINES, BaselineBox, Size, one_box
from wsol.protocols import Protocol


@BASELINES.register("random")
def random(protocol: Protocol, image_id: str, size: Size) -> BaselineBox:
    """Return the box between two pixels drawn uniformly, for every threshold.

    Args:
        protocol: The conventions.
        image_id: Seed of the draw, so that an image has the same box in every run.
        size: ``(width, height)`` of the annotation's frame.
    """
    width, height = frame = protocol.frame(size)
    a, b, c, d = struct.unpack("<4Q", hashlib.blake2b(image_id.encode(), digest_size=32).digest())
    x0, x1, y0, y1 = a % width, b % width, c % height, d % height
    corners = min(x0, x1), min(y0, y1), max(x0, x1) + 1, max(y0, y1) + 1  # the box includes the second pixel
    return one_box(corners, frame)
