"""What is known of one split once every map or box was held against ground truth."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsol.datasets import Dataset
from wsol.metrics.base import LocalizationStats
from wsol.metrics.image_stats import ImageStats
from wsol.protocols import Protocol, View
from wsol.protocols.base import GroundTruth
from wsol.runs.store import ScoreMapReader


@dataclass(frozen=True)
class LocalizationResults:
    """Images, guesses and evidence; ``k`` classes an image: the ground truth's, then the predictions.

    Attributes:
        images: The images that are counted, ``n``.
        truths: Ground truth of each.
        classes: int64 ``(n, k)``; -1 where there is no further prediction.
        scores: float32 ``(n, k)``, softmax probabilities or whatever came with the boxes; NaN where nothing did.
        evidence: What metrics are computed from.
        draw: The boxes ``(k, 4)`` of image ``i`` at the tau of a level; NaN where there is none.
        skipped: Reason by image id of those that are left out.
        clipped: Number of ground-truth boxes that leave their image by up to a pixel.
        boxes: uint16 ``(n, kept, 4)``, the ground-truth class's boxes at ``kept_tau_indices``, for display; None where
            no threshold enters.
    """

    images: Dataset
    truths: list[GroundTruth]
    classes: NDArray[np.int64]
    scores: NDArray[np.float32]
    stats: LocalizationStats
    boxes_at: Callable[[int, int], NDArray[np.float64]]
    skipped: dict[str, str]
    clipped: int
    boxes: NDArray[np.uint16] | None = None


class BoxesAtTau:
    """Boxes at one level, kept as traces come by.

    Args:
        n: Number of images.
        level: Index of the tau; None where it is chosen only afterwards, and nothing is kept.
    """

    def __init__(self, n: int, level: int | None) -> None:
        self.level = level
        self.boxes = np.full((n if level is not None else 0, 4), np.nan)

    def __call__(self, i: int, trace: ImageStats) -> ImageStats:
        """Keep the box of image ``i``."""
        if self.level is not None:
            self.boxes[i] = trace.boxes[self.level if len(trace.boxes) > 1 else 0]
        return trace


def boxes_from_maps(
    protocol: Protocol,
    view: View,
    maps: ScoreMapReader | NDArray[np.float32],
    classes: NDArray[np.int64],
    truths: list[GroundTruth],
    own: BoxesAtTau | None = None,
) -> Callable[[int, int], NDArray[np.float64]]:
    """Return ``Collected.draw`` for raw maps.

    Args:
        protocol: The conventions.
        view: What the maps were made of.
        maps: Of each image float32 ``(k, h, w)`` or ``(k, crops, h, w)``.
        classes: int64 ``(n, k)``.
        truths: Of each image.
        own: The boxes of the ground-truth class's maps, where they are known at one level.
    """

    def draw(i: int, level: int) -> NDArray[np.float64]:
        if own is not None and level == own.level and classes.shape[1] == 1:
            return own.boxes[i, None]
        _, first, places = np.unique(classes[i], return_index=True, return_inverse=True)  # a class has one map
        # One by one: a prepared map stays in the cache, all classes' together do not.
        prepared = (protocol.prepare(view.assemble(each[None]), truths[i].size) for each in maps[i][first])
        boxes = [protocol.boxes(each, protocol.taus[level : level + 1])[0, 0] for each in prepared]
        return np.stack(boxes)[places]

    return draw
