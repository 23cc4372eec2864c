"""Decoded images in batches, read ahead by threads."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wsol.datasets._images import read_image
from wsol.datasets.base import Sample
from wsol.errors import ImageError

_AHEAD = 3  # batches that are being decoded while one is used


@dataclass(frozen=True)
class Batch:
    """Images of one batch that could be read.

    Attributes:
        indices: Their places in the data set.
        pixels: uint8 ``(n, side, side, 3)``, RGB.
        frames: ``(width, height)`` of each one's boxes.
        skipped: Place and reason of each image that could not be read.
    """

    indices: list[int]
    pixels: NDArray[np.uint8]
    frames: list[tuple[int, int]]
    skipped: list[tuple[int, str]]


def read_batches(
    samples: Sequence[Sample], side: int, batch_size: int, pool: Executor, skip_bad: bool
) -> Iterator[Batch]:
    """Decodes images and squashes them to a square (bilinear, antialiased, aspect ratio not kept).

    PIL decodes and resizes without the interpreter lock, so threads do what worker processes would, without copies.

    Args:
        samples: What to read, in order.
        side: Of the square, in pixels.
        batch_size: Images in a batch, the unreadable ones counted.
        pool: Runs the decoding.
        skip_bad: Whether an unreadable image is reported in its batch instead of raised.

    Raises:
        ImageError: An image cannot be read.
    """
    waiting: deque[tuple[int, list[Future[tuple[NDArray[np.uint8], tuple[int, int]]]]]] = deque()
    starts = iter(range(0, len(samples), batch_size))
    while True:
        while len(waiting) < _AHEAD and (start := next(starts, None)) is not None:
            part = samples[start : start + batch_size]
            waiting.append((start, [pool.submit(_squashed, sample, side) for sample in part]))
        if not waiting:
            return
        start, futures = waiting.popleft()
        yield _gathered(start, futures, side, skip_bad)


def _gathered(
    start: int, futures: list[Future[tuple[NDArray[np.uint8], tuple[int, int]]]], side: int, skip_bad: bool
) -> Batch:
    indices, pixels, frames, skipped = [], [], [], []
    for index, future in enumerate(futures, start):
        try:
            image, frame = future.result()
        except ImageError as error:
            if not skip_bad:
                raise
            skipped.append((index, str(error)))
        else:
            indices.append(index)
            pixels.append(image)
            frames.append(frame)
    return Batch(indices, np.stack(pixels) if pixels else np.empty((0, side, side, 3), np.uint8), frames, skipped)


def _squashed(sample: Sample, side: int) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    image, frame = read_image(sample)
    return np.asarray(image.resize((side, side), Image.Resampling.BILINEAR)), frame
