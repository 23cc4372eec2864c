"""A baseline as the source of boxes."""

from concurrent.futures import Executor

import numpy as np
from numpy.typing import NDArray

from wsol.baselines import BASELINES, baseline_stats
from wsol.datasets import Dataset
from wsol.evaluation.sources._scoring import ground_truths_of
from wsol.metrics.image_stats import kept_tau_indices
from wsol.protocols import Protocol
from wsol.runs.provenance import Provenance
from wsol.runs.results import LocalizationResults
from wsol.runtime.cost import Clock


def score_baseline(
    name: str, images: Dataset, protocol: Protocol, pool: Executor, clock: Clock
) -> tuple[Provenance, LocalizationResults]:
    """Score a baseline, whose boxes ignore the image.

    Args:
        name: Registered name.
        images: The images; their files are not opened if the data set knows their sizes.
        protocol: The protocol.
        pool: Threads for boxes and pixels.
        clock: Gets the seconds.
    """
    baseline = BASELINES.get(name)
    truths, clipped = ground_truths_of(protocol, images)
    labels = np.array([sample.label for sample in images])

    def boxes_of(i: int) -> NDArray[np.float64]:
        return baseline(protocol, truths[i].sample.image_id, truths[i].size).boxes

    def boxes_at(i: int, tau_index: int) -> NDArray[np.float64]:
        boxes = boxes_of(i)
        return boxes[[tau_index if len(boxes) > 1 else 0]]

    def kept_boxes(i: int) -> NDArray[np.uint16]:
        boxes = np.broadcast_to(boxes_of(i), (len(protocol.taus), 4))
        return np.rint(boxes[kept_tau_indices(len(protocol.taus))]).astype(np.uint16)

    with clock("boxes"):
        stats = baseline_stats(name, protocol, truths, pool)
        kept = np.stack([kept_boxes(i) for i in range(len(images))]) if len(protocol.taus) else None
    scores = np.full((len(images), 1), np.nan, np.float32)
    results = LocalizationResults(images, truths, labels[:, None], scores, stats, boxes_at, {}, clipped, kept)
    return Provenance(name, "baseline", baseline=name), results
