"""Image files to RGB, on the pixel grid that the annotation means."""

import contextlib
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wsol.datasets.base import Sample
from wsol.errors import ImageError
from wsol.io.display import printable
from wsol.io.images import open_image

_TURNS = {  # the EXIF orientations that swap width and height
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read_image(sample: Sample) -> tuple[Image.Image, tuple[int, int]]:
    """Decode a sample's image file.

    Pixels are taken as stored, as PIL and torchvision do, with one exception: where the EXIF orientation swaps width
    and height and the annotation's size has the swapped shape, the annotator saw the turned picture, so it is turned.
    Grayscale, palette, CMYK, 16-bit and float files become 8-bit RGB; an alpha channel is dropped, and of an animation
    the first frame counts. Formats are AVIF, BMP, GIF, JPEG, PNG, PPM, TIFF and WebP.

    Args:
        sample: A sample with a path, or one that draws its image.

    Returns:
        The RGB image, and ``(width, height)`` of the frame of the sample's boxes: the annotation's size, or the
        image's own where the annotation has none.

    Raises:
        ImageError: The file is missing, not an image, truncated, beyond PIL's limit of 179 million pixels, or its
            floats are no gray values.
    """
    if sample.render is not None:
        image = Image.fromarray(sample.render())
        return image, sample.size or image.size
    if sample.path is None:
        raise ImageError(
            f"{printable(sample.image_id)} has no image file: the data set was read from lists alone; name the images"
        )
    with open_image(sample.path, ImageError, f"; {_MEND}", _MEND) as file:
        image = _eight_bit(_turned_like(file, sample.size)).convert("RGB")
    return image, sample.size or image.size


def frame_size(sample: Sample) -> tuple[int, int]:
    """Return ``(width, height)`` of the frame of a sample's boxes, opening the image file only where it has to.

    Raises:
        ImageError: The annotation names no size, and there is no image file to ask.
    """
    return sample.size or read_image(sample)[1]


_MEND = "restore the file"


def _turned_like(image: Image.Image, size: tuple[int, int] | None) -> Image.Image:
    turn = None
    if size and not _same_shape(image.size, size) and _same_shape(image.size, size[::-1]):
        with contextlib.suppress(Exception):  # what others wrote into EXIF may be anything
            turn = _TURNS.get(image.getexif()[0x0112])
    return image if turn is None else image.transpose(turn)


def _same_shape(a: tuple[int, int], b: tuple[int, int]) -> bool:
    """Return whether one is the other resized, to within a rounded pixel."""
    return abs(a[0] * b[1] - a[1] * b[0]) <= max(b)


def _eight_bit(image: Image.Image) -> Image.Image:
    """Scale 16-bit and float gray; PIL's own conversion would clip the one to white, the other to black."""
    if image.mode.startswith("I"):
        values = np.asarray(image)
        wide = image.mode != "I" or values.max() > 255  # 32-bit files hold either range
        return Image.fromarray((values >> 8 if wide else values).clip(0, 255).astype(np.uint8))
    if image.mode == "F":
        values = np.asarray(image)
        low, high = float(values.min()), float(values.max())
        if not 0 <= low <= high <= 255:  # false for NaN too
            raise ValueError(f"its floats go from {low:g} to {high:g}, not from 0 to 1 or 255")
        return Image.fromarray((values * 255 if high <= 1 else values).round().astype(np.uint8))
    return image


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
    """Decode images and squashes them to a square (bilinear, antialiased, aspect ratio not kept).

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
