"""Image files to RGB, on the pixel grid that the annotation refers to."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wsol.datasets.base import Sample
from wsol.errors import ImageError
from wsol.io.display import printable
from wsol.io.images import open_image
from wsol.io.pixels import decode_stored, decode_upright, to_rgb

_REMEDY = "restore the file"


def read_image(sample: Sample) -> tuple[Image.Image, tuple[int, int]]:
    """Decode the image file of a sample.

    Pixels are taken as stored, whatever the format, with one exception: where the orientation (of EXIF, XMP or TIFF)
    swaps width and height and the annotation's size has the swapped shape, the annotator saw the rotated image, so it
    is rotated. Grayscale, palette, CMYK, 16-bit and float files become 8-bit RGB; an alpha channel is dropped, and of
    several frames or pages the first is read. Formats are AVIF, BMP, GIF, JPEG, PNG, PPM, TIFF and WebP.

    Args:
        sample: A sample with a path, or one that renders its image.

    Returns:
        The RGB image, and ``(width, height)`` of the frame of the sample's boxes: the annotation's size, or the
        image's own where the annotation has none.

    Raises:
        ImageError: The file is missing, not an image, truncated, beyond PIL's limit of 179 million pixels, or its
            floats are not gray values.
    """
    if sample.render is not None:
        image = Image.fromarray(sample.render())
        return image, sample.size or image.size
    if sample.path is None:
        raise ImageError(
            f"{printable(sample.image_id)} has no image file: the data set was read from lists alone; name the folder "
            "of the images"
        )
    with open_image(sample.path, ImageError, f"; {_REMEDY}", _REMEDY) as file:
        image = to_rgb(decode_stored(file, sample.size))
    return image, sample.size or image.size


def frame_size(sample: Sample) -> tuple[int, int]:
    """Return ``(width, height)`` of the frame of a sample's boxes; the image file is opened only if necessary.

    Raises:
        ImageError: The annotation has no size, and the image cannot be read.
    """
    return sample.size or read_image(sample)[1]


def read_upright(path: Path) -> NDArray[np.uint8]:
    """Decode an image file that belongs to no data set, rotated by its orientation, as every viewer shows it.

    Returns:
        RGB ``(height, width, 3)``.

    Raises:
        ImageError: As for ``read_image``.
    """
    with open_image(path, ImageError, f"; {_REMEDY}", _REMEDY) as file:
        return np.asarray(to_rgb(decode_upright(file)))


_PREFETCHED = 3  # batches that are being decoded while another is used


@dataclass(frozen=True)
class Batch:
    """The readable images of one batch.

    Attributes:
        indices: Their indices in the data set.
        pixels: uint8 ``(n, side, side, 3)``, RGB.
        frames: ``(width, height)`` of the frame of each image's boxes.
        skipped: Index and reason of each image that could not be read.
    """

    indices: list[int]
    pixels: NDArray[np.uint8]
    frames: list[tuple[int, int]]
    skipped: list[tuple[int, str]]


_Decoded = tuple[NDArray[np.uint8], tuple[int, int]]


def read_batches(
    samples: Sequence[Sample], side: int, batch_size: int, pool: Executor, skip_bad: bool
) -> Iterator[Batch]:
    """Decode images and resize them to a square (bilinear, antialiased, aspect ratio not kept).

    PIL decodes and resizes without the interpreter lock, so threads replace worker processes, without copies.

    Args:
        samples: The images to read, in order.
        side: Side of the square in pixels.
        batch_size: Images per batch, including unreadable ones.
        pool: Runs the decoding.
        skip_bad: Whether an unreadable image is reported in its batch instead of raised.

    Raises:
        ImageError: An image cannot be read.
    """
    waiting: deque[tuple[int, list[Future[_Decoded]]]] = deque()
    starts = iter(range(0, len(samples), batch_size))
    while True:
        while len(waiting) < _PREFETCHED and (start := next(starts, None)) is not None:
            batch = samples[start : start + batch_size]
            waiting.append((start, [pool.submit(_decode_square, sample, side) for sample in batch]))
        if not waiting:
            return
        start, futures = waiting.popleft()
        yield _collect_batch(start, futures, side, skip_bad)


def _collect_batch(start: int, futures: list[Future[_Decoded]], side: int, skip_bad: bool) -> Batch:
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


def _decode_square(sample: Sample, side: int) -> _Decoded:
    image, frame = read_image(sample)
    return np.asarray(image.resize((side, side), Image.Resampling.BILINEAR)), frame
