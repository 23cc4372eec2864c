"""Random augmentations of images that keep the label: ``shift-flip-color`` and ``resize-crop-flip``."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wsol.errors import InputError
from wsol.registry import with_settings


class Augmentation(ABC):
    """A random change of an image; the fields of an augmentation are its settings."""

    @abstractmethod
    def augment(self, image: Image.Image, side: int, key: Sequence[int]) -> NDArray[np.uint8]:
        """Return an image resized to a square and changed at random.

        Args:
            image: An RGB image of any size.
            side: Side of the result in pixels.
            key: Random seed; the same key gives the same result.

        Returns:
            uint8 ``(side, side, 3)``.
        """

    @abstractmethod
    def check_side(self, side: int) -> None:
        """Check that the result can have a side.

        Raises:
            InputError: It cannot.
        """


@dataclass(frozen=True)
class ShiftFlipColor(Augmentation):
    """Shift, flip and recolor an image.

    It is shifted by up to an eighth of its side (the gap is filled with the mirrored border) and flipped horizontally
    with probability one half; its brightness varies by up to a fifth and the gain of each color channel by up to a
    twentieth.
    """

    def augment(self, image: Image.Image, side: int, key: Sequence[int]) -> NDArray[np.uint8]:
        """Return an image resized to a square and changed at random."""
        image = resize_square(image, side)
        rng, reach = np.random.default_rng(key), side // 8
        down, right = rng.integers(-reach, reach + 1, 2)
        if rng.random() < 0.5:
            image, right = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), -right
        gains = rng.uniform(0.8, 1.2) * rng.uniform(0.95, 1.05, 3)
        table = (np.arange(256) * gains[:, None]).clip(0, 255).astype(np.uint8)
        pixels = np.asarray(image.point(table.ravel().tolist()))
        return _shift(_shift(pixels, down, 0), right, 1)

    def check_side(self, side: int) -> None:
        """Do nothing: it can have any side."""


@dataclass(frozen=True)
class ResizeCropFlip(Augmentation):
    """Resize an image to a larger square, crop it at a random place and flip it horizontally with probability one half.

    The training images of Choe et al., "Evaluating Weakly Supervised Object Localization Methods Right", CVPR 2020.

    Attributes:
        resize: Side in pixels of the square that is cropped; all positions of the crop are equally likely.
    """

    resize: int = 256

    def __post_init__(self) -> None:
        if self.resize < 1:
            raise ValueError(f"resize is {self.resize}; give a number of pixels")

    def augment(self, image: Image.Image, side: int, key: Sequence[int]) -> NDArray[np.uint8]:
        """Return a random part of a larger square, or its mirror image."""
        rng = np.random.default_rng(key)
        top, left = rng.integers(0, self.resize - side + 1, 2).tolist()
        crop = resize_square(image, self.resize).crop((left, top, left + side, top + side))
        return np.asarray(crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else crop)

    def check_side(self, side: int) -> None:
        """Check that the part is not larger than the square."""
        if side > self.resize:
            raise InputError(
                f"crops of {side} x {side} do not fit in images of {self.resize} x {self.resize}; give "
                f"--augmentation resize-crop-flip:resize={side + side // 7} or a smaller --image-size"
            )


_AUGMENTATIONS: dict[str, Augmentation] = {"shift-flip-color": ShiftFlipColor(), "resize-crop-flip": ResizeCropFlip()}


def find_augmentation(text: str) -> Augmentation:
    """Return the augmentation of ``NAME:KEY=VALUE,...``.

    Raises:
        InputError: The name or a setting is unknown or invalid.
    """
    name, _, settings = text.partition(":")
    if name not in _AUGMENTATIONS:
        raise InputError(f"unknown augmentation {name!r:.80}; known: {', '.join(_AUGMENTATIONS)}")
    return with_settings(f"augmentation {name}", _AUGMENTATIONS[name], settings)


def resize_square(image: Image.Image, side: int) -> Image.Image:
    """Return an image resized to a square, without regard to its aspect ratio."""
    return image.resize((side, side), Image.Resampling.BILINEAR)


def _shift(pixels: NDArray[np.uint8], start: int, axis: int) -> NDArray[np.uint8]:
    """Return the pixels from a start on, which may be negative; beyond a border they are mirrored."""
    if start == 0:
        return pixels
    if start < 0:
        return np.flip(_shift(np.flip(pixels, axis), -start, axis), axis)
    kept, mirrored = np.split(pixels, [start], axis)[1], np.split(pixels, [pixels.shape[axis] - start], axis)[1]
    return np.concatenate([kept, np.flip(mirrored, axis)], axis)
