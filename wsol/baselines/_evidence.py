"""What a baseline comes to on the images of a run."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from wsol.baselines.base import BASELINES
from wsol.datasets import Sample
from wsol.metrics.base import Evidence
from wsol.metrics.iou import best_iou
from wsol.protocols import Protocol


def baseline_evidence(
    name: str,
    protocol: Protocol,
    samples: Sequence[Sample],
    truths: Sequence[NDArray[np.float64]],
    ranks: NDArray[np.int64],
) -> Evidence:
    """Holds a baseline's boxes against the ground truth.

    Args:
        name: Registered name.
        protocol: The conventions.
        samples: The images, ``n``.
        truths: Ground-truth boxes ``(g, 4)`` of each, in the protocol's frame.
        ranks: int64 ``(n,)``, as in ``Evidence``: the classification is that of the run.

    Returns:
        Evidence like that of a method.
    """
    draw = BASELINES.get(name)
    curves = np.empty((len(samples), len(protocol.taus)), np.float32)
    for i, (sample, truth) in enumerate(zip(samples, truths, strict=True)):
        boxes = draw(protocol, sample.image_id)
        changes = np.flatnonzero((boxes[1:] != boxes[:-1]).any(1)) + 1  # most thresholds keep the box of the last
        starts = np.concatenate([[0], changes])
        curves[i] = np.repeat(best_iou(boxes[starts], truth), np.diff(starts, append=len(boxes)))
    return Evidence(curves, ranks, protocol.delta, contours=curves)  # a single box at each threshold
