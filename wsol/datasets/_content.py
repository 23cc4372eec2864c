"""Fingerprints of the images and masks of a data set, whatever their folder and the time of their last change."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from wsol.datasets.base import GENERATED, Content, Dataset, MaskReader, Sample
from wsol.errors import ImageError
from wsol.io.fingerprint import hash_files, measure_files

_SAMPLED = 64  # images whose bytes are read without being asked for


def with_content(dataset: Dataset, all_images: bool = False, masks: bool = True) -> Dataset:
    """Return a data set with the fingerprints of its files.

    The size of every image file is read, and the bytes of 64 of them, evenly spaced; of masks all bytes. Images and
    masks that are not files take part with their pixels.

    Args:
        dataset: The data set, in its final order and number of samples.
        all_images: Whether to read the bytes of all images too, so that no change of an image goes unnoticed.
        masks: Whether the protocol uses masks.
    """
    samples = dataset.samples
    has_masks = masks and any(sample.mask for sample in samples)
    if dataset.generated:
        return replace(dataset, content=Content(masks=GENERATED if has_masks else ""))
    images = every = ""
    sizes = _measure_images(samples)
    if any(size >= 0 for size in sizes):
        count = min(_SAMPLED, len(samples))
        sampled = _hash_images([samples[i * len(samples) // count] for i in range(count)])
        if any(any(sample.margins) for sample in samples):
            sampled.append(repr([sample.margins for sample in samples]).encode())
        images = _hash([repr(sizes).encode(), *sampled])
        every = _hash(_hash_images(samples)) if all_images else ""
    return replace(dataset, content=Content(images, every, _hash(_hash_masks(samples)) if has_masks else ""))


def _measure_images(samples: Sequence[Sample]) -> list[int]:
    """Return the sizes of the image files; 0 for an image in memory, -1 where there is no file."""
    sizes = measure_files(sample.path for sample in samples if sample.path)
    return [0 if sample.render else sizes[sample.path] if sample.path else -1 for sample in samples]


def _hash_images(samples: Sequence[Sample]) -> list[bytes]:
    """Return a hash of each image: of its file, or of its pixels in memory."""
    hashes = hash_files(sample.path for sample in samples if sample.path and not sample.render)
    return [
        _hash_rendered(sample.render) if sample.render else hashes[sample.path] if sample.path else b""
        for sample in samples
    ]


class HashedImage:
    """A ``render`` of a sample that computes the hash of its pixels once, for images that are slow to get.

    Args:
        render: Returns the image, always the same.
    """

    def __init__(self, render: Callable[[], NDArray[np.uint8]]) -> None:
        self._render, self._hash = render, b""

    def __call__(self) -> NDArray[np.uint8]:
        """Return the image, uint8 ``(height, width, 3)``."""
        return self._render()

    def hash(self) -> bytes:
        """Return the hash of its pixels."""
        self._hash = self._hash or hash_array(self._render())
        return self._hash


def _hash_rendered(render: Callable[[], NDArray[np.uint8]]) -> bytes:
    try:
        return render.hash() if isinstance(render, HashedImage) else hash_array(render())
    except ImageError:  # whoever reads the image says so, or leaves it out
        return b""


def _hash_masks(samples: Sequence[Sample]) -> list[bytes]:
    """Return a hash of each mask: of what it is read from, or of its pixels."""
    sources = [sample.mask.source() if isinstance(sample.mask, MaskReader) else None for sample in samples]
    hashes = hash_files(path for source in sources if source for path in source[0])
    parts = []
    for sample, source in zip(samples, sources, strict=True):
        if source:
            parts.append(_hash([source[1].encode(), *(hashes[path] for path in source[0])]).encode())
        elif sample.mask:
            mask = sample.mask()
            parts.append(hash_array(mask.foreground) + hash_array(mask.ignore))
        else:
            parts.append(b"")
    return parts


def hash_array(array: NDArray[np.generic]) -> bytes:
    """Return the SHA-256 (hex) of the type, shape and values of an array."""
    return _hash([f"{array.dtype.str}{array.shape}".encode(), array.tobytes()]).encode()


def _hash(parts: Sequence[bytes]) -> str:
    """Return the SHA-256 (hex) of byte strings; the length of each is part of it."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()
