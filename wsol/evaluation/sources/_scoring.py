"""Scoring of existing maps or boxes, image by image: shared by all sources."""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor

import numpy as np
from numpy.typing import NDArray

from wsol.datasets import Dataset, count_clipped, frame_size
from wsol.errors import InputError
from wsol.metrics.image_stats import ImageStats, StatsAccumulator, stack_stats
from wsol.protocols import Protocol
from wsol.protocols.base import GroundTruth, ground_truth_of
from wsol.runs.results import LocalizationResults
from wsol.runtime.cost import Clock
from wsol.runtime.progress import track
from wsol.runtime.threads import map_ordered


def ground_truths_of(protocol: Protocol, images: Dataset) -> tuple[list[GroundTruth], int]:
    """Return the ground truth of every image, and the number of boxes that leave their image by up to one pixel.

    Raises:
        InputError: A box leaves its image by more, or the frame of an image is unknown.
    """
    sizes = [frame_size(sample) for sample in images]
    clipped = sum(map(count_clipped, images.samples, sizes))
    return [ground_truth_of(protocol, *pair) for pair in zip(images.samples, sizes, strict=True)], clipped


def score_all(
    protocol: Protocol,
    images: Dataset,
    image_stats: Callable[[int], ImageStats | None],
    pool: Executor,
    clock: Clock,
) -> tuple[StatsAccumulator, list[int]]:
    """Compute the statistics of every image in threads.

    Args:
        protocol: The protocol.
        images: The images.
        image_stats: Returns the statistics of image ``i``; None if it is left out.
        pool: Threads for the images.
        clock: Gets the seconds.

    Returns:
        The statistics, and the indices of the images that have them.
    """
    n = len(images)
    accumulator, kept = StatsAccumulator(n, max(1, len(protocol.taus))), []
    with clock("boxes"):
        results = map_ordered(pool, image_stats, range(n))
        title = f"{images.name} {images.split}"
        for i, stats in enumerate(track(results, title, n, leave=True)):
            if stats is not None:
                accumulator.add(stack_stats([stats]))
                kept.append(i)
    return accumulator, kept


def gather_results(
    protocol: Protocol,
    images: Dataset,
    truths: Sequence[GroundTruth],
    accumulator: StatsAccumulator,
    kept: list[int],
    boxes_at: Callable[[int, int], NDArray[np.float64]],
    skipped: dict[str, str],
    clipped: int,
    notes: Sequence[str],
    constant: Sequence[str] = (),
) -> LocalizationResults:
    """Return the results of one box per image, without predicted classes.

    Args:
        protocol: The protocol.
        images: All images.
        truths: Ground truth of each.
        accumulator: The statistics.
        kept: Indices of the images that have them.
        boxes_at: As in ``LocalizationResults``, but by the index among all images.
        skipped: Reasons by image id.
        clipped: As in ``LocalizationResults``.
        notes: As in ``LocalizationResults``.
        constant: As in ``LocalizationResults``.

    Raises:
        InputError: No image is left.
    """
    if not kept:
        raise InputError(f"none of the {len(images)} images can be scored: {next(iter(skipped.values()), 'no image')}")
    remaining = images.subset(kept)
    labels = np.array([sample.label for sample in remaining])
    return LocalizationResults(
        remaining,
        [truths[i] for i in kept],
        labels[:, None],
        np.full((len(remaining), 1), np.nan, np.float32),
        accumulator.stats(protocol.delta, labels, None, protocol.off_grid),
        lambda i, tau_index: boxes_at(kept[i], tau_index),
        skipped,
        clipped,
        accumulator.boxes,
        tuple(notes),
        tuple(constant),
    )
