"""Small pictures of a run's images, kept so that a page can show them without the data set."""

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
_READ = 1000  # images that are read for their picture alone
_QUALITY = 60  # about 9 KB each


class ThumbnailWriter:
    """Writes ``thumbs`` in a run folder, one JPEG file an image, as large as the network saw it (224 x 224 or so).

    A context: the folder appears when it is left, and only if nothing was raised.

    Args:
        folder: Of the run.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "thumbs"
        self._part = folder / f"thumbs{TMP_SUFFIX}"
        shutil.rmtree(self._part, ignore_errors=True)
        self._part.mkdir()

    def add(self, i: int, picture: bytes) -> None:
        """Keep what ``thumb`` made of image ``i``; from whatever thread."""
        path = self._part / Path(thumbnail_path(i)).relative_to("thumbs")
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(picture)

    def __enter__(self) -> "ThumbnailWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        shutil.rmtree(self._part if kind else self._path, ignore_errors=True)
        if kind is None:
            self._part.replace(self._path)


def encode_thumbnail(pixels: NDArray[np.uint8]) -> bytes:
    """Return an image ``(height, width, 3)`` as a small JPEG file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()


def copy_thumbnails(source: Path, folder: Path) -> None:
    """Give a run the pictures of another one on the same images, if that has any."""
    if (source / "thumbs").is_dir():
        shutil.rmtree(folder / "thumbs", ignore_errors=True)
        shutil.copytree(source / "thumbs", folder / "thumbs")


def make_thumbnails(samples: Sequence[Sample], folder: Path, pool: Executor) -> None:
    """Give a run that looked at no image pictures of a thousand, evenly spaced, as far as they can be read."""
    count = min(_READ, len(samples))
    places = [i * len(samples) // count for i in range(count)]
    wanted = [i for i in places if samples[i].render is not None or samples[i].path is not None]
    with ThumbnailWriter(folder) as thumbs:

        def keep(i: int) -> None:
            with contextlib.suppress(ImageError):  # no number depends on it
                small = read_image(samples[i])[0].resize((_SIDE, _SIDE), Image.Resampling.BILINEAR)
                thumbs.add(i, encode_thumbnail(np.asarray(small)))

        for _ in pool.map(keep, wanted):
            pass


def thumbnail_path(i: int) -> str:
    """Return the path of image ``i`` in a run folder, a thousand in a folder: ``thumbs/012/012345.jpg``."""
    return f"thumbs/{i // 1000:03d}/{i:06d}.jpg"
