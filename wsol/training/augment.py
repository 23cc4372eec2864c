"""Random augmentations of images that keep the label."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def augment(pixels: NDArray[np.uint8], keys: Sequence[Sequence[int]]) -> NDArray[np.uint8]:
    """Flip, shift and recolor images at random.

    Each image is flipped horizontally with probability one half and shifted by up to an eighth of its side (the gap is
    filled with the mirrored border); its brightness varies by up to a fifth and the gain of each color channel by up to
    a twentieth.

    Args:
        pixels: uint8 ``(n, side, side, 3)``.
        keys: A random seed per image; the same key gives the same augmentation.

    Returns:
        uint8 ``(n, side, side, 3)``.
    """
    return np.stack(
        [_augment_image(image, np.random.default_rng(key)) for image, key in zip(pixels, keys, strict=True)]
    )


def _augment_image(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    side = image.shape[0]
    reach = side // 8
    y, x = rng.integers(0, 2 * reach + 1, 2)
    shifted = np.pad(image, ((reach, reach), (reach, reach), (0, 0)), "symmetric")[y : y + side, x : x + side]
    if rng.random() < 0.5:
        shifted = shifted[:, ::-1]
    gains = rng.uniform(0.8, 1.2) * rng.uniform(0.95, 1.05, 3)
    table = (np.arange(256)[:, None] * gains).clip(0, 255).astype(np.uint8)
    return np.stack([table[shifted[..., k], k] for k in range(3)], axis=-1)
