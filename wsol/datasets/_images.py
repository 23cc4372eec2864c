"""Image files to RGB, on the pixel grid that the annotation refers to."""

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

_REMEDY = "restore the file"
_ROTATIONS = {  # the EXIF orientations that swap width and height
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read_image(sample: Sample) -> tuple[Image.Image, tuple[int, int]]:
    """Decode the image file of a sample.

    Pixels are taken as stored, as PIL and torchvision do, with one exception: where the EXIF orientation swaps width
    and height and the annotation's size has the swapped shape, the annotator saw the rotated image, so it is rotated.
    Grayscale, palette, CMYK, 16-bit and float files become 8-bit RGB; an alpha channel is dropped, and an animation is
    read as its first frame. Formats are AVIF, BMP, GIF, JPEG, PNG, PPM, TIFF and WebP.

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
        image = _to_eight_bit(_rotate_to(file, sample.size)).convert("RGB")
    return image, sample.size or image.size


def frame_size(sample: Sample) -> tuple[int, int]:
    """Return ``(width, height)`` of the frame of a sample's boxes; the image file is opened only if necessary.

    Raises:
        ImageError: The annotation has no size, and the image cannot be read.
    """
    return sample.size or read_image(sample)[1]


def _rotate_to(image: Image.Image, size: tuple[int, int] | None) -> Image.Image:
    """Apply the EXIF orientation if only the rotated image has the shape of ``size``."""
    rotation = None
    if size and not _same_shape(image.size, size) and _same_shape(image.size, size[::-1]):
        with contextlib.suppress(Exception):  # EXIF data may contain anything
            rotation = _ROTATIONS.get(image.getexif()[0x0112])
    return image if rotation is None else image.transpose(rotation)


def _same_shape(a: tuple[int, int], b: tuple[int, int]) -> bool:
    """Return whether one size is a resized copy of the other, to within a rounded pixel."""
    return abs(a[0] * b[1] - a[1] * b[0]) <= max(b)


def _to_eight_bit(image: Image.Image) -> Image.Image:
    """Scale 16-bit and float gray; PIL's own conversion would clip 16-bit values to white and floats to black."""
    if image.mode.startswith("I"):
        values = np.asarray(image)
        is_wide = image.mode != "I" or values.max() > 255  # 32-bit files have either range
        return Image.fromarray((values >> 8 if is_wide else values).clip(0, 255).astype(np.uint8))
    if image.mode == "F":
        values = np.asarray(image)
        low, high = float(values.min()), float(values.max())
        if not 0 <= low <= high <= 255:  # false for NaN too
            raise ValueError(f"its floats range from {low:g} to {high:g}, not from 0 to 1 or 255")
        return Image.fromarray((values * 255 if high <= 1 else values).round().astype(np.uint8))
    return image


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
