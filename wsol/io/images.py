"""Opening image files from other people: regular files only, and formats that hold pixels only."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from wsol.errors import InputError, first_line
from wsol.io.display import printable
from wsol.io.paths import open_file

FORMATS = {
    "AVIF": (".avif",),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "JPEG": (".jfif", ".jpe", ".jpeg", ".jpg", ".mpo"),
    "PNG": (".apng", ".png"),
    "PPM": (".pbm", ".pfm", ".pgm", ".pnm", ".ppm"),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
}
"""The supported formats with their suffixes. PIL supports more, some of which start other programs (EPS)."""

SUFFIXES = tuple(sorted(suffix for suffixes in FORMATS.values() for suffix in suffixes))
"""The suffixes of all supported formats, in lower case."""

_MAX_SIDE = 65_535  # the limit of JPEG; resizing a longer strip takes ten seconds
_MAX_SCANNED_PIXELS = 2**31  # pixels of a progressive JPEG times its scans, of which encoders write about ten


@contextmanager
def open_image(path: Path, error_type: type[InputError], missing: str, remedy: str) -> Iterator[Image.Image]:
    """Open an image file; every exception inside the block is reported as a fault of the file.

    Args:
        path: The file, in one of ``FORMATS``, whatever its suffix.
        error_type: The class of the error to raise.
        missing: End of the message ``PATH is missing``.
        remedy: How to fix a broken file, for the message.

    Yields:
        The image, its first frame, not decoded yet.

    Raises:
        InputError: As ``error_type``: the file is missing, not a regular file, not an image, truncated, or declares
            more pixels than PIL's limit (2 * ``PIL.Image.MAX_IMAGE_PIXELS``, 179 million).
    """
    where = printable(path)
    try:
        with open_file(path) as stream, Image.open(stream, formats=_available_formats()) as file:
            if max(file.size) > _MAX_SIDE:
                raise OSError(0, f"it is {file.width} x {file.height}; a side may have at most {_MAX_SIDE} pixels")
            _check_scans(file, path)
            file.info.pop("transparency", None)  # alpha is never used, and PIL would warn about it
            yield file
    except InputError:
        raise
    except FileNotFoundError as error:
        raise error_type(f"{where} is missing{missing}") from error
    except UnidentifiedImageError as error:
        raise error_type(_describe_unidentified(path, remedy)) from error
    except Image.DecompressionBombError as error:
        reason = first_line(error).split(",")[0]  # names the pixels and the limit
        raise error_type(f"{where} is too large an image ({reason}); {remedy} or use a smaller copy") from error
    except Exception as error:  # PIL's decoders raise anything from OSError to TypeError for broken files
        reason = error.strerror if isinstance(error, OSError) and error.strerror else first_line(error)
        raise error_type(f"{where} cannot be decoded ({printable(reason)}); {remedy}") from error


def _describe_unidentified(path: Path, remedy: str) -> str:
    if path.suffix.lower() in SUFFIXES:
        return f"{printable(path)} is not an image; {remedy}"
    return f"{printable(path)} is not an image in a supported format ({', '.join(FORMATS)}); convert it to PNG"


@cache
def _available_formats() -> list[str]:
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]  # AVIF is an option of PIL's build


def _check_scans(file: Image.Image, path: Path) -> None:
    """Raise OSError for a JPEG with so many scans, each a pass over all pixels, that decoding would take minutes."""
    if file.info.get("progressive"):
        with open_file(path) as stream:
            scans = stream.read().count(b"\xff\xda")
        if scans * file.width * file.height > _MAX_SCANNED_PIXELS:
            raise OSError(0, f"it has {scans} scans, far more than encoders write")
