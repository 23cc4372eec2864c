"""Image files to RGB, on the pixel grid that the annotation refers to."""

import itertools
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wsol.datasets.base import Sample
from wsol.errors import ImageError
from wsol.io.display import printable
from wsol.io.images import open_image
from wsol.io.pixels import Size, decode_stored, decode_upright, to_rgb
from wsol.runtime.workers import shared_array, start_workers

_REMEDY = "restore the file"


def read_image(sample: Sample) -> tuple[Image.Image, tuple[int, int]]:
    """Decode the image file of a sample.

    Pixels are taken as stored, whatever the format, with one exception: where the orientation (of EXIF, XMP or TIFF)
    swaps width and height and the annotation's size has the swapped shape, the annotator saw the rotated image, so it
    is rotated. Grayscale, palette, CMYK, 16-bit and float files become 8-bit RGB; an alpha channel is dropped, and of
    several frames or pages the first is read. Formats are AVIF, BMP, GIF, JPEG, PNG, PPM, TIFF and WebP. The sample's
    margins are cut off.

    Args:
        sample: A sample with a path, or one that renders its image.

    Returns:
        The RGB image, and ``(width, height)`` of the frame of the sample's boxes: the annotation's size, or the
        image's own where the annotation has none.

    Raises:
        ImageError: The file is missing, not an image, truncated, beyond PIL's limit of 179 million pixels, its floats
            are not gray values, or it has no pixel between its margins.
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
        image = to_rgb(_decode(file, sample))
    return image, sample.size or image.size


def _decode(file: Image.Image, sample: Sample) -> Image.Image:
    if not any(sample.margins):
        return decode_stored(file, sample.size)
    left, top, right, bottom = sample.margins
    stored = decode_stored(file, sample.size and (sample.size[0] + left + right, sample.size[1] + top + bottom))
    if stored.width <= left + right or stored.height <= top + bottom:
        raise ValueError(f"its {stored.width} x {stored.height} pixels are all in the margins that are cut off")
    return stored.crop((left, top, stored.width - right, stored.height - bottom))


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


_UNIT = 16  # images that a worker decodes at a time
_MIN_FOR_PROCESSES = 128  # images; fewer are decoded before processes are worth their start

Examine = Callable[[Sample, Size, Image.Image], Any]


@dataclass(frozen=True)
class Batch:
    """The readable images of one batch.

    Attributes:
        indices: Their indices in the data set.
        pixels: uint8 ``(n, side, side, 3)``, RGB; overwritten once the third batch after it is read.
        frames: ``(width, height)`` of the frame of each image's boxes.
        skipped: Index and reason of each image that could not be read.
        examined: Result of ``examine`` for each image.
    """

    indices: list[int]
    pixels: NDArray[np.uint8]
    frames: list[Size]
    skipped: list[tuple[int, str]]
    examined: list[Any]


def read_batches(
    samples: Sequence[Sample],
    side: int,
    batch_size: int,
    workers: int,
    skip_bad: bool,
    examine: Examine = lambda *_: None,
) -> Generator[Batch, None, None]:
    """Decode images and resize them to a square (bilinear, antialiased, aspect ratio not kept).

    The workers are processes, whose results lie in shared memory, or threads where there are few images.

    Args:
        samples: The images to read, in order.
        side: Side of the square in pixels.
        batch_size: Images per batch, including unreadable ones.
        workers: Number of workers.
        skip_bad: Whether an unreadable image is reported in its batch instead of raised.
        examine: Computes further results for an image, in the worker, from sample, frame and RGB square.

    Raises:
        ImageError: An image cannot be read.
        InputError: ``examine`` raises it, or a worker process died.
    """
    many = len(samples) >= _MIN_FOR_PROCESSES
    unit = min(_UNIT, batch_size if many else -(-batch_size // workers))
    ahead = 2 + 2 * workers * unit // batch_size  # batches that are decoded while others are used
    count = min(ahead, -(-len(samples) // batch_size)) + 2  # slots; the user holds two batches
    slots: NDArray[np.uint8] = shared_array((count, min(batch_size, len(samples)), side, side, 3), np.uint8)
    workers = min(workers, -(-len(samples) // unit) or 1)
    starts = iter(range(0, len(samples), batch_size))
    waiting: deque[tuple[int, int, list[Future[_Decoded]]]] = deque()
    with start_workers(_Decoder(samples, slots, examine), workers, processes=many) as submit:
        for number in itertools.count():
            while len(waiting) < ahead and (start := next(starts, None)) is not None:
                slot, stop = (number + len(waiting)) % count, min(start + batch_size, len(samples))
                units = [(first, min(first + unit, stop)) for first in range(start, stop, unit)]
                waiting.append((slot, start, [submit(slot, start, *each) for each in units]))
            if not waiting:
                return
            slot, start, futures = waiting.popleft()
            decoded = [each for future in futures for each in future.result()]
            yield _collect_batch(start, decoded, slots[slot, : len(decoded)], skip_bad)


_Decoded = list[tuple[Size, Any] | str]  # frame and what was examined, or why an image cannot be read


@dataclass(frozen=True)
class _Decoder:
    """Decodes images into slots, each of which holds a batch."""

    samples: Sequence[Sample]
    slots: NDArray[np.uint8]
    examine: Examine

    def __call__(self, slot: int, batch_start: int, first: int, stop: int) -> _Decoded:
        """Decode the images from ``first`` to ``stop`` of the batch that begins at ``batch_start``."""
        results: _Decoded = []
        side = self.slots.shape[2]
        for i in range(first, stop):
            sample, square = self.samples[i], self.slots[slot, i - batch_start]
            try:
                image, frame = read_image(sample)
            except ImageError as error:
                results.append(str(error))
            else:
                resized = image.resize((side, side), Image.Resampling.BILINEAR)
                square[:] = np.asarray(resized)
                results.append((frame, self.examine(sample, frame, resized)))
        return results


def _collect_batch(start: int, decoded: _Decoded, pixels: NDArray[np.uint8], skip_bad: bool) -> Batch:
    indices, frames, skipped, examined = [], [], [], []
    for index, result in enumerate(decoded, start):
        if isinstance(result, str):
            if not skip_bad:
                raise ImageError(result)
            skipped.append((index, result))
        else:
            indices.append(index)
            frames.append(result[0])
            examined.append(result[1])
    readable = pixels[[index - start for index in indices]] if skipped else pixels
    return Batch(indices, readable, frames, skipped, examined)
