"""The loop that holds what is there already against ground truth."""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from wsol.datasets import Dataset, count_clipped, frame_size
from wsol.errors import InputError
from wsol.metrics.image_stats import Stack, Trace, stacked
from wsol.protocols import Protocol
from wsol.protocols.base import Truth, truth_of
from wsol.runs.results import Collected
from wsol.runtime.cost import Clock
from wsol.runtime.threads import ordered


def truths_of(protocol: Protocol, images: Dataset) -> tuple[list[Truth], int]:
    """Returns the ground truth of every image, and how many boxes leave theirs by up to a pixel.

    Raises:
        InputError: A box leaves its image by more, or the frame of one is not known.
    """
    sizes = [frame_size(sample) for sample in images]
    clipped = sum(map(count_clipped, images.samples, sizes))
    return [truth_of(protocol, *pair) for pair in zip(images.samples, sizes, strict=True)], clipped


def gather(
    protocol: Protocol,
    images: Dataset,
    truths: Sequence[Truth],
    trace: Callable[[int], Trace | None],
    pool: Executor,
    clock: Clock,
) -> tuple[Stack, list[int]]:
    """Traces every image in threads.

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
    stack, kept = Stack(n, max(1, len(protocol.taus))), []
    with clock("boxes"):
        title = f"{images.name} {images.split}"
        for i, found in enumerate(
            tqdm(ordered(pool, trace, range(n)), total=n, unit="image", desc=title, disable=None)
        ):
            if found is not None:
                stack.add(stacked([found]))
                kept.append(i)
    return stack, kept


def collected(
    protocol: Protocol,
    images: Dataset,
    truths: Sequence[Truth],
    stack: Stack,
    kept: list[int],
    draw: Callable[[int, int], NDArray[np.float64]],
    skipped: dict[str, str],
    clipped: int,
) -> Collected:
    """Puts together what one box an image came to, without predictions.

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
    return Collected(
        left,
        [truths[i] for i in kept],
        labels[:, None],
        np.full((len(left), 1), np.nan, np.float32),
        stack.evidence(protocol.delta, labels, None),
        lambda i, level: draw(kept[i], level),
        skipped,
        clipped,
        stack.boxes,
    )
