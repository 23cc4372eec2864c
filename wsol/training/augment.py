"""Changes of an image that leave its label as it is."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def augment(pixels: NDArray[np.uint8], keys: Sequence[Sequence[int]]) -> NDArray[np.uint8]:
    """Mirror, shifts and lights images at random.

    Each image is mirrored half the time, shifted by up to an eighth of its side (the border is mirrored into the gap),
    and its brightness and the gain of each colour vary by up to a fifth and a twentieth.

    Args:
        pixels: uint8 ``(n, side, side, 3)``.
        keys: A seed for each image; the same key makes the same change.

    Returns:
        uint8 ``(n, side, side, 3)``.
    """
    return np.stack([_changed(image, np.random.default_rng(key)) for image, key in zip(pixels, keys, strict=True)])


def _changed(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    side = image.shape[0]
    reach = side // 8
    y, x = rng.integers(0, 2 * reach + 1, 2)
    moved = np.pad(image, ((reach, reach), (reach, reach), (0, 0)), "symmetric")[y : y + side, x : x + side]
    if rng.random() < 0.5:
        moved = moved[:, ::-1]
    gains = rng.uniform(0.8, 1.2) * rng.uniform(0.95, 1.05, 3)
    table = (np.arange(256)[:, None] * gains).clip(0, 255).astype(np.uint8)
    return np.stack([table[moved[..., k], k] for k in range(3)], axis=-1)
