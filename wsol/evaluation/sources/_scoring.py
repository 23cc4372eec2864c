"""Scoring of existing maps or boxes: shared by all sources."""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsol.datasets import Dataset, count_clipped, frame_size
from wsol.errors import InputError
from wsol.metrics.image_stats import ImageStats, StatsAccumulator, stack_stats
from wsol.protocols import Protocol
from wsol.protocols.base import ground_truth_of
from wsol.protocols.ground_truths import GroundTruths
from wsol.runs.results import LocalizationResults
from wsol.runtime.cost import Clock
from wsol.runtime.progress import Progress
from wsol.runtime.threads import map_ordered

_CHUNK = 16  # images per task of a thread

Rows = dict[str, NDArray[Any]]


def ground_truths_of(protocol: Protocol, images: Dataset) -> tuple[GroundTruths, int]:
    """Return the ground truth of every image, and the number of boxes that leave their image by up to one pixel.

    Raises:
        InputError: A box leaves its image by more, or the frame of an image is unknown.
    """
    sizes = [frame_size(sample) for sample in images]
    clipped = sum(map(count_clipped, images.samples, sizes))
    truths = (ground_truth_of(protocol, *pair) for pair in zip(images.samples, sizes, strict=True))
    return GroundTruths.stack(truths), clipped


def score_all(
    protocol: Protocol,
    images: Dataset,
    score_chunk: Callable[[range], tuple[Rows, list[int]]],
    pool: Executor,
    clock: Clock,
) -> tuple[StatsAccumulator, list[int]]:
    """Compute the statistics of every image in threads.

    Args:
        protocol: The protocol.
        images: The images.
        score_chunk: Returns the statistics of consecutive images by ``stack_stats``, and the indices of those that are
            not left out.
        pool: Threads for the chunks.
        clock: Gets the seconds.

    Returns:
        The statistics, and the indices of the images that have them.
    """
    n = len(images)
    accumulator, kept = StatsAccumulator(n, max(1, len(protocol.taus))), []
    chunks = [range(start, min(start + _CHUNK, n)) for start in range(0, n, _CHUNK)]
    with clock("boxes"), Progress(f"{images.name} {images.split}", n, leave=True) as progress:
        for chunk, (rows, scored) in zip(chunks, map_ordered(pool, score_chunk, chunks), strict=True):
            if scored:
                accumulator.add(rows)
                kept += scored
            progress.update(len(chunk))
    return accumulator, kept


def by_image(image_stats: Callable[[int], ImageStats | None]) -> Callable[[range], tuple[Rows, list[int]]]:
    """Return the ``score_chunk`` of ``score_all`` for statistics of one image; None if it is left out."""

    def score_chunk(chunk: range) -> tuple[Rows, list[int]]:
        found = {i: stats for i in chunk if (stats := image_stats(i)) is not None}
        return (stack_stats([*found.values()]) if found else {}), [*found]

    return score_chunk


def gather_results(
    protocol: Protocol,
    images: Dataset,
    truths: GroundTruths,
    accumulator: StatsAccumulator,
    kept: list[int],
    boxes_at: Callable[[int], NDArray[np.float64]],
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
        boxes_at: As in ``LocalizationResults``, of the images that have statistics.
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
    own = truths.subset(kept)
    return LocalizationResults(
        remaining,
        own,
        labels[:, None],
        np.full((len(remaining), 1), np.nan, np.float32),
        protocol.make_stats(labels=labels, objects=own.objects, **accumulator.arrays),
        boxes_at,
        skipped,
        clipped,
        accumulator.boxes,
        tuple(notes),
        tuple(constant),
    )
