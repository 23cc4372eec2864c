"""Results on one split: predictions, ground truth and per-image statistics, and the tables computed from them."""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from wsol.datasets import Dataset
from wsol.metrics.base import LocalizationStats
from wsol.metrics.summary import ALL_COLUMNS, COLUMNS
from wsol.protocols import Protocol, View
from wsol.protocols.base import GroundTruth
from wsol.protocols.ground_truths import GroundTruths
from wsol.runs.score_maps import ScoreMapReader
from wsol.runtime.progress import Progress
from wsol.runtime.threads import map_ordered

_CHUNK = 16  # images per task of a thread

TABLES = {
    "metrics": ALL_COLUMNS,
    "classes": ["class_id", "class", *COLUMNS],
    "groups": ["by", "group", *COLUMNS],
    "errors": ["error", "n", "share", "share_low", "share_high", "gain", "gain_low", "gain_high"],
    "baselines": ["baseline", *ALL_COLUMNS],
}
"""Columns of each table that becomes a CSV file; there, the signature follows them."""


@dataclass(frozen=True)
class Tables:
    """All tables of a run.

    Attributes:
        metrics: metric, tau_rule, tau, value (percent), ci_low, ci_high, n, interval, optimism (points).
        classes: The same per class, without optimism.
        groups: The same by object size and number of objects.
        errors: error, n, share (percent of images), gain, each with its interval.
        baselines: As ``metrics``, the localization metrics of boxes that ignore the image, with the run's
            classification.
        predictions: One row per image and rank, see ``wsol.runs.predictions``.
    """

    metrics: pd.DataFrame
    classes: pd.DataFrame
    groups: pd.DataFrame
    errors: pd.DataFrame
    baselines: pd.DataFrame
    predictions: pd.DataFrame

    @property
    def has_intervals(self) -> bool:
        """True unless the run was asked for no intervals."""
        return not self.metrics["ci_low"].isna().all()

    def __repr__(self) -> str:
        return "\n  ".join(["Tables", *(f"{name}: {len(table)} rows" for name, table in vars(self).items())])


def only_predictions(predictions: pd.DataFrame) -> Tables:
    """Return the table of predictions, and the others empty."""
    return Tables(**{name: pd.DataFrame(columns=columns) for name, columns in TABLES.items()}, predictions=predictions)


@dataclass(frozen=True)
class LocalizationResults:
    """Predictions and statistics of a split; ``k`` classes per image: the ground truth's, then the predictions.

    Attributes:
        images: The ``n`` images that count.
        truths: Ground truth of each.
        classes: int64 ``(n, k)``; -1 where there is no further prediction.
        scores: float32 ``(n, k)``, softmax probabilities, or the scores that external boxes have; NaN without any.
        stats: What metrics are computed from.
        boxes_at: ``boxes_at(tau_index)``: float64 ``(n, k, 4)``, the boxes of all predictions; NaN where there is none.
        skipped: Reason by image id of the images that are left out.
        clipped: Number of ground-truth boxes that leave their image by up to one pixel.
        boxes: uint16 ``(n, kept, 4)``, the ground-truth class's boxes at ``kept_tau_indices``, for display; None where
            no threshold applies.
        notes: What deserves a second look, one sentence each.
        constant: Ids of the images whose score map, of the ground-truth class, is constant and gives no box.
        heat_maps: uint8 ``(n, 28, 28)``, small maps of the ground-truth class for display; None where raw maps are
            kept, and where there are no maps.
    """

    images: Dataset
    truths: GroundTruths
    classes: NDArray[np.int64]
    scores: NDArray[np.float32]
    stats: LocalizationStats
    boxes_at: Callable[[int], NDArray[np.float64]]
    skipped: dict[str, str]
    clipped: int
    boxes: NDArray[np.uint16] | None = None
    notes: tuple[str, ...] = ()
    constant: tuple[str, ...] = ()
    heat_maps: NDArray[np.uint8] | None = None

    @property
    def classifies(self) -> bool:
        """True if there are predicted classes, not the ground truth's alone."""
        return len(self.classes[0]) > 1

    def array(self, name: str) -> NDArray[Any] | None:
        """Return an array by its name in ``wsol.runs.arrays.ARRAYS``; None for one that is absent or not held here."""
        if name == "maps":
            return None
        values: NDArray[Any] | None = getattr(self if name in ("boxes", "heat_maps") else self.stats, name)
        return values


def boxes_from_maps(
    protocol: Protocol,
    view: View,
    maps: ScoreMapReader | NDArray[np.float32],
    classes: NDArray[np.int64],
    truths: Sequence[GroundTruth],
    pool: Executor,
) -> Callable[[int], NDArray[np.float64]]:
    """Return ``LocalizationResults.boxes_at`` for raw score maps.

    Args:
        protocol: The protocol.
        view: What the network saw of an image.
        maps: Maps of each image, float32 ``(k, h, w)`` or ``(k, crops, h, w)``.
        classes: int64 ``(n, k)``.
        truths: Ground truth of each image.
        pool: Threads for the boxes.
    """

    def boxes_of_chunk(start: int, tau_index: int) -> NDArray[np.float64]:
        stop = min(start + _CHUNK, len(classes))
        tau, parts = protocol.taus[tau_index : tau_index + 1], []
        for i, image_maps in zip(range(start, stop), maps[start:stop], strict=True):
            _, first, places = np.unique(classes[i], return_index=True, return_inverse=True)  # one map per class
            # Map by map: one prepared map stays in the cache, those of all classes do not.
            prepared = (protocol.prepare_view(view, each[None], truths[i].size) for each in image_maps[first])
            parts.append(np.stack([protocol.boxes(each, tau)[0, 0] for each in prepared])[places])
        return np.stack(parts)

    def boxes_at(tau_index: int) -> NDArray[np.float64]:
        chunks = map_ordered(pool, partial(boxes_of_chunk, tau_index=tau_index), range(0, len(classes), _CHUNK))
        with Progress("boxes of the predictions", len(classes)) as progress:
            parts = []
            for part in chunks:
                parts.append(part)
                progress.update(len(part))
        return protocol.share_box(np.concatenate(parts), classes)

    return boxes_at
