"""Image files to RGB, on the pixel grid that the annotation means."""

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from wsol.datasets.base import Sample
from wsol.errors import ImageError

_TURNED = (5, 6, 7, 8)  # the EXIF orientations that swap width and height


def read_image(sample: Sample) -> tuple[Image.Image, tuple[int, int]]:
    """Decodes a sample's image file.

    Pixels are taken as stored, as PIL and torchvision do, with one exception: where the EXIF orientation swaps width
    and height and the annotation's size has the swapped shape, the annotator saw the turned picture, so it is turned.
    Grayscale, palette, CMYK and 16-bit files become 8-bit RGB; an alpha channel is dropped.

    Args:
        sample: A sample with a path, or one that draws its image.

    Returns:
        The RGB image, and ``(width, height)`` of the frame of the sample's boxes: the annotation's size, or the
        image's own where the annotation has none.

    Raises:
        ImageError: The file is missing, not an image, truncated, or too large to be one.
    """
    if sample.draw is not None:
        image = Image.fromarray(sample.draw())
        return image, sample.size or image.size
    if sample.path is None:
        raise ImageError(
            f"{sample.image_id} has no image file: the data set was read from lists alone; name the images"
        )
    try:
        with Image.open(sample.path) as file:
            image = _eight_bit(_turned_like(file, sample.size)).convert("RGB")
    except FileNotFoundError as error:
        raise ImageError(f"{sample.path} is missing; {_MEND}") from error
    except UnidentifiedImageError as error:
        raise ImageError(f"{sample.path} is not an image; {_MEND}") from error
    except Exception as error:  # PIL's decoders raise anything from OSError to TypeError on broken files
        raise ImageError(f"{sample.path} cannot be decoded ({error}); {_MEND}") from error
    return image, sample.size or image.size


def frame_size(sample: Sample) -> tuple[int, int]:
    """Returns ``(width, height)`` of the frame of a sample's boxes, opening the image file only where it has to.

    Raises:
        ImageError: The annotation names no size, and there is no image file to ask.
    """
    return sample.size or read_image(sample)[1]


_MEND = "restore the file"


def _turned_like(image: Image.Image, size: tuple[int, int] | None) -> Image.Image:
    turned = size and not _same_shape(image.size, size) and _same_shape(image.size, size[::-1])
    if turned and image.getexif().get(0x0112) in _TURNED:
        return ImageOps.exif_transpose(image)
    return image


def _same_shape(a: tuple[int, int], b: tuple[int, int]) -> bool:
    """Says whether one is the other resized, to within a rounded pixel."""
    return abs(a[0] * b[1] - a[1] * b[0]) <= max(b)


def _eight_bit(image: Image.Image) -> Image.Image:
    """Scales 16-bit gray down; PIL's own conversion would clip it to white."""
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        wide = image.mode != "I" or values.max() > 255  # 32-bit files hold either range
        return Image.fromarray((values >> 8 if wide else values).clip(0, 255).astype(np.uint8))
    return image
