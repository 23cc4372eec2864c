"""A centered Gaussian as score map."""

from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsol.baselines.base import BASELINES, BaselineBox, Size
from wsol.protocols import Protocol


@BASELINES.register("center-gaussian")
def center_gaussian(protocol: Protocol, image_id: str, size: Size) -> BaselineBox:
    """Score pixels by their distance from the image's center, so that the thresholds give central boxes of every size.

    Choe et al., "Evaluating Weakly Supervised Object Localization Methods Right", CVPR 2020, section 5: on a frame of
    sides w and h, ``exp(-((x - (w - 1) / 2)^2 / (2 (w / 2)^2) + (y - (h - 1) / 2)^2 / (2 (h / 2)^2)))``.

    Args:
        protocol: The conventions.
        image_id: Ignored.
        size: ``(width, height)`` of the annotation's frame.
    """
    return _center_gaussian(protocol, protocol.frame(size))


@lru_cache(maxsize=16384)  # images have many sizes
def _center_gaussian(protocol: Any, frame: Size) -> BaselineBox:
    width, height = frame
    peak = (width - 1) // 2 + 0.5, (height - 1) // 2 + 0.5  # ties go to the first pixel
    boxes: NDArray[np.float64] = protocol.boxes(_prepared_map(protocol, frame)[None], protocol.taus)[0]
    return BaselineBox(boxes, peak, partial(_prepared_map, protocol, frame))


@lru_cache(maxsize=8)
def _prepared_map(protocol: Any, frame: Size) -> NDArray[np.float32]:
    row, column = (np.exp(-((np.arange(n) - (n - 1) / 2) ** 2) / (2 * (n / 2) ** 2)) for n in frame)
    prepared: NDArray[np.float32] = protocol.prepare(np.outer(column, row).astype(np.float32)[None], frame)[0]
    return prepared
