"""The interface of a baseline."""

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
    """Boxes and scores of an image that a baseline did not look at.

    Attributes:
        boxes: ``(taus, 4)``, half-open edges, one for each tau of the protocol; ``(1, 4)`` if all are the same.
        peak: Point of the highest score, ``(x, y)``.
        score_map: Computes the prepared map, ``(h, w)`` of the protocol's frame.
    """

    boxes: NDArray[np.float64]
    peak: tuple[float, float]
    score_map: Callable[[], NDArray[np.float32]]


class Baseline(Interface):
    """A function that predicts where the object is without the image."""

    def __call__(self, protocol: Protocol, image_id: str, size: Size) -> BaselineBox:
        """Return boxes and scores in the protocol's frame.

        Args:
            protocol: The conventions.
            image_id: Id of the image; only random boxes depend on it.
            size: ``(width, height)`` of the annotation's frame.
        """


BASELINES: Registry[Baseline] = Registry("baseline", "wsol.baselines")


def one_box(corners: tuple[float, float, float, float], frame: Size) -> BaselineBox:
    """Return the same box for every threshold; its score map is 1 inside and 0 outside.

    Args:
        corners: Half-open edges.
        frame: ``(width, height)`` of the protocol's frame.
    """
    x0, y0, x1, y1 = corners
    return BaselineBox(
        np.array([corners], np.float64), ((x0 + x1) / 2, (y0 + y1) / 2), partial(_fill_box, corners, frame)
    )


def _fill_box(corners: tuple[float, float, float, float], frame: Size) -> NDArray[np.float32]:
    x0, y0, x1, y1 = corners
    x, y = np.arange(frame[0]) + 0.5, np.arange(frame[1]) + 0.5
    return np.outer((y0 <= y) & (y < y1), (x0 <= x) & (x < x1)).astype(np.float32)
