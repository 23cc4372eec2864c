"""Preprocessing of a network of transformers, read from its image processor and measured."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from wsol.errors import InputError, first_line
from wsol.models.base import Preprocessing

_FILE = "preprocessor_config.json"
_SIDE = 600  # of the images that the processor is tried on
_TOLERANCE = 1e-4


def read_image_processor(
    transformers: Any, folder: Path, config: Any, name: str
) -> tuple[Preprocessing, tuple[str, ...]]:
    """Return mean, standard deviation and size of the images that an image processor makes, and remarks.

    They follow from what it makes of a black and a white image, as some processors rescale or normalize twice; where
    the numbers of its file agree, these are returned, without rounding.

    Args:
        transformers: The package.
        folder: Folder with its file.
        config: Configuration of the network.
        name: Name of the network in messages.

    Raises:
        InputError: The file cannot be read, or what it describes is more than a normalization of RGB images.
    """
    if not (folder / _FILE).is_file():
        note = f"{folder} has no {_FILE}: images are normalized with the mean and standard deviation of ImageNet"
        return Preprocessing(size=find_side(config)), (note,)
    try:
        processor = transformers.AutoImageProcessor.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
        black, white, red = (_process(processor, color) for color in ((0, 0, 0), (255, 255, 255), (255, 0, 0)))
    except Exception as error:  # a processor of a kind that needs another package, or a malformed file
        raise InputError(f"{name}: {folder / _FILE} cannot be used ({first_line(error):.200})") from error
    low, high, found = (each.mean((1, 2)) for each in (black, white, red))
    expected = np.array([high[0], low[1], low[2]])
    is_constant = all(np.ptp(each, axis=(1, 2)).max() < _TOLERANCE for each in (black, white))
    if not is_constant or not np.allclose(found, expected, atol=_TOLERANCE) or not (high > low).all():
        raise InputError(f"{name}: {folder / _FILE} describes more than a normalization of RGB images")
    std = 1 / (high - low)
    mean = -low * std
    written = [getattr(processor, key, None) for key in ("image_mean", "image_std")]
    if all(_agree(one, other) for one, other in zip(written, (mean, std), strict=True)):
        mean, std = (np.array(each, np.float64) for each in written)
    else:
        mean, std = mean.round(5), std.round(5)
    height, width = black.shape[1:]
    side = height if height == width != _SIDE else None
    return Preprocessing(tuple(mean.tolist()), tuple(std.tolist()), side), ()


def find_side(config: Any) -> int | None:
    """Return the side of the images that a configuration names; None if it names none, or one that is not square."""
    size = getattr(getattr(config, "vision_config", config), "image_size", None)
    return size if isinstance(size, int) else None


def _process(processor: Any, color: tuple[int, int, int]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return an image of one color as the network gets it, ``(3, height, width)``."""
    image = np.full((_SIDE, _SIDE, 3), color, np.uint8)
    pixels = processor(images=image, return_tensors="pt")["pixel_values"]
    found: np.ndarray[Any, np.dtype[np.float64]] = pixels[0].double().numpy()
    return found


def _agree(written: Any, measured: Any) -> bool:
    if not isinstance(written, list | tuple) or len(written) != len(measured):
        return False
    return all(math.isclose(one, other, abs_tol=_TOLERANCE) for one, other in zip(written, measured, strict=True))
