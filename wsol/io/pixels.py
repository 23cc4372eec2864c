"""Pixels of an image: as the file stores them or upright, and as 8-bit RGB; the same for files, objects and arrays."""

import contextlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

Size = tuple[int, int]

_UPRIGHT = {  # EXIF's and TIFF's orientations other than 1, and what turns the stored pixels upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_INVERSE = {6: 8, 8: 6}  # the other orientations are their own inverses
_CHANNELS = (1, 2, 3, 4)  # gray, gray and alpha, RGB, RGB and alpha
_SWAPS = 5  # this orientation and those above it swap width and height
_SIXTEEN_BIT_FORMATS = ("PNG", "PPM")  # their wider gray is 16 bits, also where PIL opens it in its 32-bit mode


def decode_stored(image: Image.Image, frame: Size | None = None) -> Image.Image:
    """Decode an image as its file stores it, whatever its format.

    PIL rotates TIFF files by their orientation and leaves all other formats as they are stored.

    Args:
        image: The image, not decoded yet if it is a TIFF file.
        frame: ``(width, height)`` of an annotation of the image. If only the upright image has its shape and width and
            height are swapped, the annotator saw the upright image, which is returned.
    """
    is_tiff = isinstance(image, TiffImageFile)
    orientation = _read_orientation(image) if is_tiff else 1  # PIL forgets that of TIFF when it decodes
    _load(image)
    stored = _transpose(image, _INVERSE.get(orientation, orientation))
    if frame and not _same_shape(stored.size, frame) and _same_shape(stored.size, frame[::-1]):
        orientation = orientation if is_tiff else _read_orientation(image)
        return _transpose(stored, orientation) if orientation >= _SWAPS else stored
    return stored


def decode_upright(image: Image.Image) -> Image.Image:
    """Decode an image and apply its orientation, like every viewer does."""
    _load(image)
    return _transpose(image, _read_orientation(image))  # that of a TIFF file is gone, since PIL has applied it


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert a decoded image of any mode to 8-bit RGB; alpha is dropped.

    Raises:
        ValueError: Its gray values are out of range, see ``to_eight_bit``, or PIL cannot convert its mode.
    """
    if image.mode.startswith("I") or image.mode == "F":  # PIL would clip 16-bit values to white and floats to black
        values = np.asarray(image)
        is_sixteen_bit = image.mode.startswith("I;") or (image.mode == "I" and image.format in _SIXTEEN_BIT_FORMATS)
        return Image.fromarray(to_eight_bit(values.astype(np.uint16) if is_sixteen_bit else values)).convert("RGB")
    if "transparency" in image.info:  # unused, and PIL would warn about it
        image = image.copy()
        del image.info["transparency"]
    if image.mode == "RGB" and image.format == "JPEG":
        return image  # PIL would copy it; images of other formats may be views of their file
    return image.convert("RGB")


def to_eight_bit(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Scale gray or color values to 8 bits.

    Args:
        values: uint8, which is returned as it is; bool; uint16, whose range is taken to be 0 to 65535; other integers
            from 0 to 255 or, if one is larger, to 65535; or floats from 0 to 1 or, if one is larger, to 255.

    Raises:
        ValueError: The values are of another type or out of range.
    """
    kind = values.dtype.kind
    if values.dtype == np.uint8 or not values.size:
        return values.astype(np.uint8)
    if kind == "b":
        return values.astype(np.uint8) * np.uint8(255)
    if kind == "u" and values.dtype.itemsize == 2:
        return (values >> 8).astype(np.uint8)
    if kind not in "iuf":
        raise ValueError(f"its values are of type {values.dtype}, not numbers")
    low, high = float(values.min()), float(values.max())
    maximum = 255 if kind == "f" else 65_535
    if not 0 <= low <= high <= maximum:  # false for NaN too
        name, ranges = ("floats", "0 to 1 or 255") if kind == "f" else ("integers", "0 to 255 or 65535")
        raise ValueError(f"its {name} range from {low:g} to {high:g}, not from {ranges}")
    if kind == "f":
        return (values.astype(np.float64) * (255 if high <= 1 else 1)).round().astype(np.uint8)
    return (values >> 8 if high > 255 else values).astype(np.uint8)


def image_of_array(values: NDArray[Any]) -> Image.Image:
    """Return an array as an image.

    Args:
        values: ``(height, width)``, or ``(height, width, channels)`` with 1 to 4 of them, as for ``to_eight_bit``.

    Raises:
        ValueError: It has another shape, or its values are not those of pixels.
    """
    if not (values.size and (values.ndim == 2 or (values.ndim == 3 and values.shape[2] in _CHANNELS))):
        raise ValueError(f"it is an array of shape {values.shape}, not (height, width) or (height, width, 1 to 4)")
    eight_bit = to_eight_bit(values)
    return Image.fromarray(eight_bit[..., 0] if values.shape[2:] == (1,) else eight_bit)


def _load(image: Image.Image) -> None:
    """Decode an image from its file, if that has not happened yet.

    Some versions of PIL scramble TIFF files of orientation 5 to 8 that they map into memory; a file without a name is
    never mapped.
    """
    if isinstance(image, TiffImageFile):
        name, image.filename = image.filename, ""
        try:
            image.load()
        finally:
            image.filename = name
    else:
        image.load()


def _read_orientation(image: Image.Image) -> int:
    with contextlib.suppress(Exception):  # EXIF data may contain anything
        orientation = image.getexif().get(0x0112)
        if orientation in _UPRIGHT:
            return int(orientation)
    return 1


def _transpose(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image


def _same_shape(a: Size, b: Size) -> bool:
    """Return whether one size is a resized copy of the other, to within a rounded pixel."""
    return abs(a[0] * b[1] - a[1] * b[0]) <= max(b)
