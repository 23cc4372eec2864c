"""Thumbnails of a run's images, so that its page can show them without the data set."""

import contextlib
import io
import os
import shutil
from collections import deque
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
_PER_FOLDER = 1000


def encode_thumbnail(image: Image.Image) -> bytes:
    """Encode an RGB image as a small JPEG file."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=_QUALITY, comment=None)  # that of the original belongs to it
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
    unfinished = _start(folder)

    def write(i: int) -> None:
        with contextlib.suppress(ImageError):  # no number depends on it
            small = read_image(samples[i])[0].resize((_SIDE, _SIDE), Image.Resampling.BILINEAR)
            _write(f"{unfinished}/{_name(i)}", encode_thumbnail(small))

    deque(pool.map(write, readable), 0)
    _replace(unfinished, folder)


def write_thumbnail(folder: Path, i: int, content: bytes) -> None:
    """Write what ``encode_thumbnail`` returned for image ``i``."""
    _write(f"{folder}/{thumbnail_path(i)}", content)


def take_thumbnails(source: Path, folder: Path, kept: Sequence[int]) -> None:
    """Give a run folder the thumbnails of some images; ``return_thumbnails`` undoes what this does to ``source``.

    Args:
        source: A folder that ``write_thumbnail`` wrote to.
        folder: The run folder.
        kept: The images that the run has, by their numbers in ``source``, ascending.
    """
    if len(kept) == 1 + kept[-1]:  # the usual case, at once
        _replace(source / "thumbnails", folder)
        return
    unfinished = _start(folder)
    for i, number in enumerate(kept):
        _write(f"{unfinished}/{_name(i)}", (source / thumbnail_path(number)).read_bytes())
    _replace(unfinished, folder)


def return_thumbnails(source: Path, folder: Path) -> None:
    """Move the thumbnails back that an interrupted run has taken, so that it can go on.

    Args:
        source: A folder that ``write_thumbnail`` writes to.
        folder: The run folder.
    """
    if not (source / "thumbnails").is_dir() and (folder / "thumbnails").is_dir():
        (folder / "thumbnails").replace(source / "thumbnails")


def find_thumbnails(folder: Path, n: int) -> NDArray[np.bool_]:
    """Return which of ``n`` images have a thumbnail in a run folder, bool ``(n,)``."""
    found = np.zeros(n, bool)
    for first in range(0, n, _PER_FOLDER):
        place = (folder / thumbnail_path(first)).parent
        if place.is_dir():
            with os.scandir(place) as entries:
                names = {entry.name for entry in entries if entry.is_file()}
            members = range(first, min(n, first + _PER_FOLDER))
            found[first : first + _PER_FOLDER] = [f"{i:06d}.jpg" in names for i in members]
    return found


def thumbnail_path(i: int) -> str:
    """Return the path of image ``i`` in a run folder, a thousand per folder: ``thumbnails/012/012345.jpg``."""
    return f"thumbnails/{_name(i)}"


def _name(i: int) -> str:
    return f"{i // _PER_FOLDER:03d}/{i:06d}.jpg"


def _write(path: str, content: bytes) -> None:
    try:
        with open(path, "wb", 0) as file:  # noqa: PTH123  # a run writes many, and a Path costs as much as the file
            file.write(content)
    except FileNotFoundError:  # it is the first of its folder
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(content)


def _start(folder: Path) -> Path:
    unfinished = folder / f"thumbnails{TMP_SUFFIX}"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    return unfinished


def _replace(source: Path, folder: Path) -> None:
    shutil.rmtree(folder / "thumbnails", ignore_errors=True)
    source.replace(folder / "thumbnails")
