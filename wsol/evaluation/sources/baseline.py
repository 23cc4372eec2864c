"""A baseline as what is scored."""

from concurrent.futures import Executor

import numpy as np
from numpy.typing import NDArray

from wsol.baselines import BASELINES, baseline_stats
from wsol.datasets import Dataset
from wsol.evaluation.finish import Provenance
from wsol.evaluation.sources._gather import ground_truths_of
from wsol.metrics.image_stats import kept_tau_indices
from wsol.protocols import Protocol
from wsol.runs.results import LocalizationResults
from wsol.runtime.cost import Clock


def from_baseline(
    name: str, images: Dataset, protocol: Protocol, pool: Executor, clock: Clock
) -> tuple[Provenance, LocalizationResults]:
    """Score boxes that look at no image.

    Args:
        name: Registered name.
        images: The images; their files are not opened where the data set knows their sizes.
        protocol: The conventions.
        pool: Threads that work on it.
        clock: Gets the seconds.
    """
    draw = BASELINES.get(name)
    truths, clipped = ground_truths_of(protocol, images)
    labels = np.array([sample.label for sample in images])

    def box(i: int, level: int) -> NDArray[np.float64]:
        boxes = draw(protocol, truths[i].sample.image_id, truths[i].size).boxes
        return boxes[[level if len(boxes) > 1 else 0]]

    def looked_at(i: int) -> NDArray[np.uint16]:
        boxes = draw(protocol, truths[i].sample.image_id, truths[i].size).boxes
        levels = kept_tau_indices(len(protocol.taus))
        return np.rint(np.broadcast_to(boxes, (len(protocol.taus), 4))[levels]).astype(np.uint16)

    with clock("boxes"):
        evidence = baseline_stats(name, protocol, truths, pool)
        shown = np.stack([looked_at(i) for i in range(len(images))]) if len(protocol.taus) else None
    origin = Provenance(name, "baseline", None, {"baseline": name})
    scores = np.full((len(images), 1), np.nan, np.float32)
    return origin, LocalizationResults(images, truths, labels[:, None], scores, evidence, box, {}, clipped, shown)
