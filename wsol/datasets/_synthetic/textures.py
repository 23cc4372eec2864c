"""Textures from the photographs that are bundled with scikit-image."""

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import skimage
from numpy.typing import NDArray

from wsol.errors import InputError
from wsol.io.display import printable
from wsol.io.images import open_image

_REMEDY = "install a release of scikit-image that has it: pip install 'scikit-image>=0.22,<0.27'"


@dataclass(frozen=True)
class Photo:
    """A photograph in one role.

    Attributes:
        file: Name in ``skimage/data``; PNG only, since JPEG decoders may differ in single bits.
        digest: First 16 digits of the SHA-256 of its RGB pixels.
        window: ``(x0, y0, x1, y1)`` of the region that is used, half-open.
    """

    file: str
    digest: str
    window: tuple[int, int, int, int]


Tint = tuple[int, int, int]
PLAIN: Tint = (256, 256, 256)

BODIES = {
    "fur": (Photo("chelsea.png", "416b729128bfb2c3", (70, 20, 430, 260)), PLAIN),
    "brick": (Photo("brick.png", "3501e216fb0968c3", (0, 0, 512, 512)), (250, 215, 165)),
    "grass": (Photo("grass.png", "c7ca5c984d6b5a27", (0, 0, 512, 512)), PLAIN),
    "tissue": (Photo("ihc.png", "c5b3ef509a92f16d", (0, 0, 512, 512)), PLAIN),
}
PARTS = {
    "gravel": Photo("gravel.png", "e73bd88250cbfd7f", (0, 0, 512, 512)),
    "coin": Photo("coins.png", "aaecc2ad43bd43e2", (20, 10, 380, 300)),
    "print": Photo("page.png", "ec733fa2c4086658", (0, 0, 384, 130)),
    "script": Photo("text.png", "36c90cb1af920325", (0, 0, 448, 172)),
}
TINTS: dict[str, Tint] = {"red": (256, 100, 80), "green": (110, 240, 90), "blue": (90, 140, 256)}
BACKGROUNDS = (
    Photo("motorcycle_left.png", "ca829467c1d4f427", (0, 0, 741, 500)),
    Photo("camera.png", "13e2b4aa92cb1649", (0, 0, 512, 512)),
    Photo("astronaut.png", "a8c429c18afa7b0f", (0, 0, 512, 512)),
    Photo("coffee.png", "0ce2b51640b9c95f", (0, 0, 600, 400)),
)
DISTRACTORS = (
    Photo("moon.png", "a641c47851a3252e", (0, 0, 512, 512)),
    Photo("cell.png", "54f2cef870247578", (0, 0, 550, 660)),
    Photo("clock_motion.png", "bd64c6ee0d85e182", (0, 0, 400, 300)),
)


@cache
def cut_texture(photo: Photo, training: bool, tint: Tint = PLAIN) -> NDArray[np.uint8]:
    """Return one half of a photograph, uint8 ``(h, w, 3)``: the left half for training, the right half for evaluation.

    Values are stretched so that the 2nd and the 98th percentile of the photograph map to 16 and 224, then multiplied by
    the tint; all in integers.

    Args:
        photo: The photograph.
        training: Whether to return the left half.
        tint: Factors of red, green and blue, in units of 1/256.

    Raises:
        InputError: The installed scikit-image lacks the photograph or has another one.
    """
    x0, y0, x1, y1 = photo.window
    cut = _read_pixels(photo.file, photo.digest)[y0:y1, x0:x1].astype(np.int64)
    ordered = np.sort(cut, axis=None)
    low, high = int(ordered[len(ordered) // 50]), int(ordered[-(len(ordered) // 50)])
    middle = cut.shape[1] // 2
    half = cut[:, :middle] if training else cut[:, middle:]
    stretched = (16 + (half - low) * 208 // (high - low)).clip(0, 255)
    return np.ascontiguousarray(((stretched * np.array(tint)) >> 8).astype(np.uint8))


@cache
def _read_pixels(name: str, digest: str) -> NDArray[np.uint8]:
    """Return the RGB pixels of a photograph, whose digest is checked once per process."""
    path = Path(skimage.__file__).parent / "data" / name
    with open_image(path, InputError, f": synthetic is generated from this photograph; {_REMEDY}", _REMEDY) as file:
        pixels = np.asarray(file.convert("RGB"))
    if not hashlib.sha256(pixels.tobytes()).hexdigest().startswith(digest):
        raise InputError(
            f"{printable(path)} is not the photograph that synthetic is generated from, so the images would differ; "
            f"{_REMEDY}"
        )
    return pixels
