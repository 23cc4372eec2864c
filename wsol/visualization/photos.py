"""Photos from files, folders, data sets and memory."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wsol.datasets import Dataset, Sample, read_image, read_upright
from wsol.errors import InputError, first_line
from wsol.io.images import SUFFIXES
from wsol.io.pixels import decode_upright, image_of_array, to_rgb
from wsol.protocols import View

_THUMBNAIL = 1024  # pixels of the longer side at most

Source = str | Path | Image.Image | NDArray[Any]


@dataclass(frozen=True, eq=False)
class Photo:
    """A photo that can be read.

    Attributes:
        name: Display name.
        key: Unique key: its resolved path, or its id in the data set.
        sample: Sample that reads it.
        truth: Ground truth of the data set, one sample per class; empty if the photo is in no data set.
    """

    name: str
    key: str
    sample: Sample
    truth: tuple[Sample, ...] = ()


@dataclass(frozen=True, eq=False)
class LoadedPhoto:
    """A photo after reading.

    Attributes:
        crops: Network inputs, uint8 ``(1, crop, crop, 3)`` each.
        digest: SHA-256 (hex) of the crops.
        thumbnail: uint8 ``(h, w, 3)``, drawn in the figure.
        size: ``(width, height)`` of the frame of its boxes: the annotation's, or the photo's own.
    """

    crops: list[NDArray[np.uint8]]
    digest: str
    thumbnail: NDArray[np.uint8]
    size: tuple[int, int]


def find_photos(sources: Sequence[Source], dataset: Dataset | None = None) -> list[Photo]:
    """Find photos, without duplicates.

    Args:
        sources: Files; folders, which are searched recursively in the order of paths; ids of the data set; or images
            in memory: of PIL, or arrays ``(h, w)`` (gray) or ``(h, w, channels)`` (gray or RGB, alpha is dropped) of
            uint8, bool, 16-bit values, or floats from 0 to 1 or to 255. PIL's, like files, are rotated by their
            orientation.
        dataset: Data set that ids and ground truth come from. A file is one of its images if it has the same resolved
            path.

    Raises:
        InputError: A file, folder or id does not exist, a folder has no image, or an array is not an image.
    """
    samples = defaultdict(list)
    for sample in dataset or ():
        if sample.path is not None:
            samples[sample.path.resolve()].append(sample)
    photos: dict[str, Photo] = {}
    for n, source in enumerate(sources, 1):
        for photo in _resolve_source(source, n, dataset, samples):
            photos.setdefault(photo.key, photo)
    return [*photos.values()]


def load(photo: Photo, view: View) -> LoadedPhoto:
    """Read a photo: one of a data set like in an evaluation, any other upright, like in every viewer.

    Args:
        photo: The photo.
        view: Size of the network's input, and its crops.

    Raises:
        ImageError: The file is missing or not an image.
    """
    image, size = read_image(photo.sample)
    square = np.array(image.resize((view.side, view.side), Image.Resampling.BILINEAR))[None]
    crops = view.crops(square)
    digest = hashlib.sha256(b"".join(crop.tobytes() for crop in crops)).hexdigest()
    image.thumbnail((_THUMBNAIL, _THUMBNAIL))
    return LoadedPhoto(crops, digest, np.array(image), size)


def _resolve_source(
    source: Source, n: int, dataset: Dataset | None, samples: dict[Path, list[Sample]]
) -> Iterator[Photo]:
    if not isinstance(source, str | Path):
        yield _photo_from_memory(source, f"image {n}")
        return
    path = Path(source)
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if _is_image(file.relative_to(path)) and file.is_file())
        if not files:
            raise InputError(f"{str(path)!r} has no image; names of images end in {', '.join(SUFFIXES)}")
    elif path.is_file():
        files = [path]
    else:
        yield _photo_from_id(str(source), dataset)
        return
    for file in files:
        truth = tuple(samples.get(file.resolve(), ()))
        sample = truth[0] if truth else _unannotated(file.name, partial(read_upright, file))
        yield Photo(file.name, str(file.resolve()), sample, truth)


def _unannotated(name: str, render: Callable[[], NDArray[np.uint8]]) -> Sample:
    return Sample(name, 0, np.empty((0, 4)), "edges", render=render)


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not any(part.startswith(".") for part in path.parts)


def _photo_from_id(image_id: str, dataset: Dataset | None) -> Photo:
    if dataset is None:
        raise InputError(f"photo {image_id!r} does not exist; check the path")
    sample = next((sample for sample in dataset if sample.image_id == image_id), None)
    if sample is None:
        known = f"{dataset.name} {dataset.split}, with ids such as {dataset.samples[0].image_id!r}"
        raise InputError(f"{image_id!r} is neither a file nor an image id of {known}; check the path or the id")
    return Photo(image_id, f"{dataset.signature}|{image_id}", sample, (sample,))


def _photo_from_memory(image: Image.Image | NDArray[Any], name: str) -> Photo:
    try:
        rgb = to_rgb(image_of_array(image) if isinstance(image, np.ndarray) else decode_upright(image))
    except Exception as error:  # an image in memory may be a file that PIL has not decoded yet
        raise InputError(f"{name} cannot be used ({first_line(error)}); give 8-bit RGB or gray") from error
    pixels = np.asarray(rgb)
    return Photo(name, name, _unannotated(name, lambda: pixels))
