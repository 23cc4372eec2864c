"""Masks in files, one per object."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsol.datasets._extent import extent_of
from wsol.datasets.base import Mask, MaskReader, Sample, as_boxes
from wsol.errors import InputError
from wsol.io.display import printable
from wsol.io.images import open_image
from wsol.io.pixels import decode_stored


def sample_from_masks(
    image_id: str,
    label: int,
    path: Path | None,
    size: tuple[int, int] | None,
    masks: Sequence[Path],
    ignore: Path | None,
) -> Sample:
    """Build the sample of an image whose objects are annotated by masks.

    Args:
        image_id: The published id.
        label: Class index.
        path: The image, if there is one.
        size: ``(width, height)`` of the image; masks of another size are taken to cover it. If None, the size of the
            masks.
        masks: The mask of each object; its extent becomes the object's box.
        ignore: The mask of the pixels to ignore, if there are any.

    Raises:
        InputError: A mask cannot be read, or is empty.
    """
    if size is None:
        height, width = _read_mask(masks[0]).shape
        size = width, height
    boxes = [_mask_extent(mask, size) for mask in masks]
    return Sample(image_id, label, as_boxes(boxes), "edges", path, size, _ObjectMasks(tuple(masks), ignore))


@dataclass(frozen=True)
class _ObjectMasks(MaskReader):
    """Reads the masks of all objects of an image as one."""

    paths: tuple[Path, ...]
    ignore: Path | None

    def __call__(self) -> Mask:
        return _merge_masks(self.paths, self.ignore)

    def source(self) -> tuple[Sequence[Path], str]:
        return (*self.paths, *([self.ignore] if self.ignore else [])), "ignore" if self.ignore else ""


def sample_without_object(image_id: str, label: int, path: Path | None, size: tuple[int, int] | None = None) -> Sample:
    """Build the sample of an image that shows no object: no box, and an empty mask; arguments as those above."""
    return Sample(image_id, label, as_boxes([]), "edges", path, size, _NoMask(), empty=True)


@dataclass(frozen=True)
class _NoMask(MaskReader):
    """Returns an empty mask of one pixel, which stands for any number of them, as masks are resized."""

    def __call__(self) -> Mask:
        return Mask(np.zeros((1, 1), bool), np.zeros((1, 1), bool))

    def source(self) -> tuple[Sequence[Path], str]:
        return (), "empty"


def _merge_masks(paths: tuple[Path, ...], ignore: Path | None) -> Mask:
    masks = [_read_mask(path) for path in paths]
    odd = next((path for path, mask in zip(paths, masks, strict=True) if mask.shape != masks[0].shape), None)
    if odd:
        raise InputError(
            f"{printable(odd)} has another size than {printable(paths[0])}, a mask of the same image; restore them"
        )
    foreground = np.logical_or.reduce(masks)
    ignored = _read_mask(ignore) if ignore else np.zeros_like(foreground)
    if ignored.shape != foreground.shape:
        raise InputError(
            f"{printable(ignore)} has another size than {printable(paths[0])}, a mask of the same image; restore them"
        )
    return Mask(foreground, ignored & ~foreground)


def _mask_extent(path: Path, size: tuple[int, int]) -> tuple[float, ...]:
    mask = _read_mask(path)
    extent = extent_of(mask)
    if extent is None:
        raise InputError(
            f"{printable(path)} is empty, so the object has no box; fix the mask or remove its line, or, if the image "
            "shows no object, leave the field of the mask empty"
        )
    x, y = size[0] / mask.shape[1], size[1] / mask.shape[0]
    return extent[0] * x, extent[1] * y, extent[2] * x, extent[3] * y


def _read_mask(path: Path) -> NDArray[np.bool_]:
    missing = ": it should contain the mask of an object; give masks=DIR"
    with open_image(path, InputError, missing, "restore the mask") as file:
        image = decode_stored(file)
        values = np.asarray(image if len(image.getbands()) == 1 else image.convert("L"))
    foreground: NDArray[np.bool_] = values > 0.5
    return foreground
