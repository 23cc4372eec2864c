"""A baseline as the source of boxes."""

from concurrent.futures import Executor

import numpy as np

from wsol.baselines import BaselineBoxes, baseline_stats
from wsol.datasets import Dataset
from wsol.evaluation.sources._scoring import ground_truths_of
from wsol.metrics.image_stats import kept_tau_indices
from wsol.protocols import Protocol
from wsol.runs.provenance import Provenance
from wsol.runs.results import LocalizationResults
from wsol.runtime.cost import Clock


def score_baseline(
    name: str, images: Dataset, protocol: Protocol, pool: Executor, clock: Clock, attribution: bool = False
) -> tuple[Provenance, LocalizationResults]:
    """Score a baseline, whose boxes ignore the image.

    Args:
        name: Registered name.
        images: The images; their files are not opened if the data set knows their sizes.
        protocol: The protocol.
        pool: Threads for boxes and pixels.
        clock: Gets the seconds.
        attribution: Whether metrics of attributions are computed.
    """
    truths, clipped = ground_truths_of(protocol, images)
    with clock("boxes"):
        boxes = BaselineBoxes.of(name, protocol, truths)
        stats = baseline_stats(name, protocol, truths, pool, attribution=attribution)
        tau_indices = kept_tau_indices(len(protocol.taus))
        kept = [np.rint(boxes.at(tau_index)).astype(np.uint16) for tau_index in tau_indices.tolist()]
    scores = np.full((len(images), 1), np.nan, np.float32)
    results = LocalizationResults(
        images,
        truths,
        truths.labels[:, None],
        scores,
        stats,
        lambda tau_index: boxes.at(tau_index)[:, None],
        {},
        clipped,
        np.stack(kept, 1) if kept else None,
    )
    return Provenance(name, "baseline", baseline=name), results
