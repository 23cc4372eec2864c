"""Masks in files of their own, one an object."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsol.datasets.base import Mask, Sample, as_boxes
from wsol.errors import InputError
from wsol.io.display import printable
from wsol.io.images import open_image


def sample_from_masks(
    image_id: str,
    label: int,
    path: Path | None,
    size: tuple[int, int] | None,
    masks: Sequence[Path],
    ignore: Path | None,
) -> Sample:
    """Make a sample of an image whose objects are known by their masks.

    Args:
        image_id: The published id.
        label: Class index.
        path: The image, if there is one.
        size: ``(width, height)`` of the image; masks may be of another size and are taken to cover it. None for that of
            the masks.
        masks: The mask of every object; its extent becomes the object's box.
        ignore: The mask of the pixels to ignore, if there are any.

    Raises:
        InputError: A mask cannot be read, or is empty.
    """
    if size is None:
        height, width = _read(masks[0]).shape
        size = width, height
    boxes = [_extent(mask, size) for mask in masks]
    return Sample(image_id, label, as_boxes(boxes), "edges", path, size, partial(_united, tuple(masks), ignore))


def _united(masks: tuple[Path, ...], ignore: Path | None) -> Mask:
    parts = [_read(path) for path in masks]
    odd = next((path for path, part in zip(masks, parts, strict=True) if part.shape != parts[0].shape), None)
    if odd:
        raise InputError(
            f"{printable(odd)} has another size than {printable(masks[0])}, a mask of the same image; restore them"
        )
    foreground = np.logical_or.reduce(parts)
    ignored = _read(ignore) if ignore else np.zeros_like(foreground)
    if ignored.shape != foreground.shape:
        raise InputError(
            f"{printable(ignore)} has another size than {printable(masks[0])}, a mask of the same image; restore them"
        )
    return Mask(foreground, ignored & ~foreground)


def _extent(path: Path, size: tuple[int, int]) -> tuple[float, ...]:
    mask = _read(path)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        raise InputError(f"{printable(path)} is empty, so the object has no box; mend it or take its line out")
    x, y = size[0] / mask.shape[1], size[1] / mask.shape[0]
    return columns[0] * x, rows[0] * y, (columns[-1] + 1) * x, (rows[-1] + 1) * y


def _read(path: Path) -> NDArray[np.bool_]:
    missing = ": it should hold the mask of an object; give masks=DIR"
    with open_image(path, InputError, missing, "restore the mask") as file:
        values = np.asarray(file if len(file.getbands()) == 1 else file.convert("L"))
    marked: NDArray[np.bool_] = values > 0.5
    return marked
