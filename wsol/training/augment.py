"""Random augmentations of images that keep the label."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def augment(image: Image.Image, key: Sequence[int]) -> NDArray[np.uint8]:
    """Flip, shift and recolor an image at random.

    It is shifted by up to an eighth of its side (the gap is filled with the mirrored border) and flipped horizontally
    with probability one half; its brightness varies by up to a fifth and the gain of each color channel by up to a
    twentieth.

    Args:
        image: A square RGB image.
        key: Random seed; the same key gives the same augmentation.

    Returns:
        uint8 ``(side, side, 3)``.
    """
    rng, side = np.random.default_rng(key), image.width
    reach = side // 8
    down, right = rng.integers(-reach, reach + 1, 2)
    if rng.random() < 0.5:
        image, right = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), -right
    gains = rng.uniform(0.8, 1.2) * rng.uniform(0.95, 1.05, 3)
    table = (np.arange(256) * gains[:, None]).clip(0, 255).astype(np.uint8)
    pixels = np.asarray(image.point(table.ravel().tolist()))
    return _shift(_shift(pixels, down, 0), right, 1)


def _shift(pixels: NDArray[np.uint8], start: int, axis: int) -> NDArray[np.uint8]:
    """Return the pixels from a start on, which may be negative; beyond a border they are mirrored."""
    if start == 0:
        return pixels
    if start < 0:
        return np.flip(_shift(np.flip(pixels, axis), -start, axis), axis)
    kept, mirrored = np.split(pixels, [start], axis)[1], np.split(pixels, [pixels.shape[axis] - start], axis)[1]
    return np.concatenate([kept, np.flip(mirrored, axis)], axis)
