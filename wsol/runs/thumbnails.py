"""Thumbnails of a run's images, so that its page can show them without the data set."""

import contextlib
import io
import shutil
from collections.abc import Sequence
from concurrent.futures import Executor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wsol.datasets import Sample, read_image
from wsol.errors import ImageError
from wsol.io.atomic import TMP_SUFFIX

_SIDE = 224
_MAX_READ = 1000  # images that are decoded for their thumbnail alone
_QUALITY = 60  # about 9 KB per image


class ThumbnailWriter:
    """Writes ``thumbnails`` in a run folder: one JPEG file per image, as large as the network saw it.

    A context: the folder appears on exit, and only if nothing was raised.

    Args:
        folder: The run folder.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "thumbnails"
        self._tmp = folder / f"thumbnails{TMP_SUFFIX}"
        shutil.rmtree(self._tmp, ignore_errors=True)
        self._tmp.mkdir()

    def write(self, i: int, content: bytes) -> None:
        """Write what ``encode_thumbnail`` returned for image ``i``; safe to call from any thread."""
        path = self._tmp / Path(thumbnail_path(i)).relative_to("thumbnails")
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)

    def __enter__(self) -> "ThumbnailWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        shutil.rmtree(self._tmp if kind else self._path, ignore_errors=True)
        if kind is None:
            self._tmp.replace(self._path)


def encode_thumbnail(pixels: NDArray[np.uint8]) -> bytes:
    """Encode an image ``(height, width, 3)`` as a small JPEG file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()


def copy_thumbnails(source: Path, folder: Path) -> None:
    """Copy the thumbnails of another run on the same images, if it has any."""
    if (source / "thumbnails").is_dir():
        shutil.rmtree(folder / "thumbnails", ignore_errors=True)
        shutil.copytree(source / "thumbnails", folder / "thumbnails")


def make_thumbnails(samples: Sequence[Sample], folder: Path, pool: Executor) -> None:
    """Write thumbnails of a thousand images, evenly spaced, for a run that read none; skip unreadable ones."""
    count = min(_MAX_READ, len(samples))
    places = [i * len(samples) // count for i in range(count)]
    readable = [i for i in places if samples[i].render is not None or samples[i].path is not None]
    with ThumbnailWriter(folder) as thumbnails:

        def write(i: int) -> None:
            with contextlib.suppress(ImageError):  # no number depends on it
                small = read_image(samples[i])[0].resize((_SIDE, _SIDE), Image.Resampling.BILINEAR)
                thumbnails.write(i, encode_thumbnail(np.asarray(small)))

        for _ in pool.map(write, readable):
            pass


def thumbnail_path(i: int) -> str:
    """Return the path of image ``i`` in a run folder, a thousand per folder: ``thumbnails/012/012345.jpg``."""
    return f"thumbnails/{i // 1000:03d}/{i:06d}.jpg"
