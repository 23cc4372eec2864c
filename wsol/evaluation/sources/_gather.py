"""The loop that holds what is there already against ground truth."""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from wsol.datasets import Dataset, count_clipped, frame_size
from wsol.errors import InputError
from wsol.metrics.image_stats import ImageStats, StatsAccumulator, stack_stats
from wsol.protocols import Protocol
from wsol.protocols.base import GroundTruth, ground_truth_of
from wsol.runs.results import LocalizationResults
from wsol.runtime.cost import Clock
from wsol.runtime.threads import map_ordered


def ground_truths_of(protocol: Protocol, images: Dataset) -> tuple[list[GroundTruth], int]:
    """Return the ground truth of every image, and how many boxes leave theirs by up to a pixel.

    Raises:
        InputError: A box leaves its image by more, or the frame of one is not known.
    """
    sizes = [frame_size(sample) for sample in images]
    clipped = sum(map(count_clipped, images.samples, sizes))
    return [ground_truth_of(protocol, *pair) for pair in zip(images.samples, sizes, strict=True)], clipped


def score_all(
    protocol: Protocol,
    images: Dataset,
    truths: Sequence[GroundTruth],
    trace: Callable[[int], ImageStats | None],
    pool: Executor,
    clock: Clock,
) -> tuple[StatsAccumulator, list[int]]:
    """Trace every image in threads.

    Args:
        protocol: The conventions.
        images: The images.
        truths: Of each.
        trace: The trace of image ``i``; None where it has to be left out.
        pool: Threads that work on it.
        clock: Gets the seconds.

    Returns:
        The traces, and the places of the images that have one.
    """
    n = len(truths)
    stack, kept = StatsAccumulator(n, max(1, len(protocol.taus))), []
    with clock("boxes"):
        title = f"{images.name} {images.split}"
        for i, found in enumerate(
            tqdm(map_ordered(pool, trace, range(n)), total=n, unit="image", desc=title, disable=None)
        ):
            if found is not None:
                stack.add(stack_stats([found]))
                kept.append(i)
    return stack, kept


def collected(
    protocol: Protocol,
    images: Dataset,
    truths: Sequence[GroundTruth],
    stack: StatsAccumulator,
    kept: list[int],
    draw: Callable[[int, int], NDArray[np.float64]],
    skipped: dict[str, str],
    clipped: int,
) -> LocalizationResults:
    """Put together what one box an image came to, without predictions.

    Args:
        protocol: The conventions.
        images: All images.
        truths: Of each.
        stack: The traces.
        kept: Places of the images that have one.
        draw: As in ``Collected``, but by the place among all images.
        skipped: Reasons by image id.
        clipped: As in ``Collected``.

    Raises:
        InputError: Nothing is left.
    """
    if not kept:
        raise InputError(f"none of the {len(images)} images can be scored: {next(iter(skipped.values()), 'no image')}")
    left = images.subset(kept)
    labels = np.array([sample.label for sample in left])
    return LocalizationResults(
        left,
        [truths[i] for i in kept],
        labels[:, None],
        np.full((len(left), 1), np.nan, np.float32),
        stack.stats(protocol.delta, labels, None),
        lambda i, level: draw(kept[i], level),
        skipped,
        clipped,
        stack.boxes,
    )
