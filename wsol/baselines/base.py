"""What a baseline is."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol as Interface

import numpy as np
from numpy.typing import NDArray

from wsol.protocols import Protocol
from wsol.registry import Registry

Size = tuple[int, int]


@dataclass(frozen=True)
class BaselineBox:
    """What is said of an image that was not looked at.

    Attributes:
        boxes: ``(levels, 4)``, half-open edges, one for each of the protocol's taus; ``(1, 4)`` where all are the same.
        peak: Where the score is highest, ``(x, y)``.
        score_map: Makes the prepared map, ``(h, w)`` of the protocol's frame.
    """

    boxes: NDArray[np.float64]
    peak: tuple[float, float]
    score_map: Callable[[], NDArray[np.float32]]


class Baseline(Interface):
    """Says where the object is without looking at the image."""

    def __call__(self, protocol: Protocol, image_id: str, size: Size) -> BaselineBox:
        """Return boxes and scores in the protocol's frame.

        Args:
            protocol: The conventions.
            image_id: The image; only what is random depends on it.
            size: ``(width, height)`` of its annotation's frame.
        """


BASELINES: Registry[Baseline] = Registry("baseline", "wsol.baselines")


def one_box(corners: tuple[float, float, float, float], frame: Size) -> BaselineBox:
    """Return the guess that consists of one box, its score map 1 inside and 0 outside.

    Args:
        corners: Half-open edges.
        frame: ``(width, height)`` of the protocol's frame.
    """
    x0, y0, x1, y1 = corners
    return BaselineBox(
        np.array([corners], np.float64), ((x0 + x1) / 2, (y0 + y1) / 2), partial(_inside, corners, frame)
    )


def _inside(corners: tuple[float, float, float, float], frame: Size) -> NDArray[np.float32]:
    x0, y0, x1, y1 = corners
    x, y = np.arange(frame[0]) + 0.5, np.arange(frame[1]) + 0.5
    return np.outer((y0 <= y) & (y < y1), (x0 <= x) & (x < x1)).astype(np.float32)
