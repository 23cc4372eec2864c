"""Opening files that somebody else made: only what is a file, and only formats that are pixels."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from wsol.errors import InputError, first_line
from wsol.io.display import printable
from wsol.io.paths import check_file

FORMATS = {
    "AVIF": (".avif",),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "JPEG": (".jpeg", ".jpg"),
    "PNG": (".apng", ".png"),
    "PPM": (".pbm", ".pfm", ".pgm", ".pnm", ".ppm"),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
}
"""The formats that are read, with their suffixes. PIL knows more; some of those start other programs (EPS)."""

_LONGEST_SIDE = 65_535  # as JPEG has it; resizing a strip that is longer takes ten seconds
_MOST_WALKED = 2**31  # pixels of a progressive JPEG times its scans, of which encoders write ten or so


@contextmanager
def open_image(path: Path, kind: type[InputError], missing: str, mend: str) -> Iterator[Image.Image]:
    """Open an image file; what goes wrong inside the block is a fault of the file.

    Args:
        path: The file, of one of ``FORMATS``, whatever its suffix says.
        kind: What to raise.
        missing: What follows "PATH is missing" in the message.
        mend: How to mend a broken file, for the message.

    Yields:
        The image, its first frame, not decoded yet.

    Raises:
        InputError: Of ``kind``: the file is missing, none, not an image, truncated, or promises more pixels than PIL's
            limit (2 * ``PIL.Image.MAX_IMAGE_PIXELS``, 179 million).
    """
    where = printable(path)
    try:
        check_file(path)
        with Image.open(path, formats=_known()) as file:
            if max(file.size) > _LONGEST_SIDE:
                raise OSError(0, f"it is {file.width} x {file.height}, and a side may have {_LONGEST_SIDE} pixels")
            _check_scans(file, path)
            file.info.pop("transparency", None)  # nobody here looks at alpha, and PIL would warn of it
            yield file
    except InputError:
        raise
    except FileNotFoundError as error:
        raise kind(f"{where} is missing{missing}") from error
    except UnidentifiedImageError as error:
        raise kind(_not_an_image(path, mend)) from error
    except Image.DecompressionBombError as error:
        said = first_line(error).split(",")[0]  # names the pixels and the limit
        raise kind(f"{where} is too large an image ({said}); {mend} or a smaller copy") from error
    except Exception as error:  # PIL's decoders raise anything from OSError to TypeError on broken files
        said = error.strerror if isinstance(error, OSError) and error.strerror else first_line(error)
        raise kind(f"{where} cannot be decoded ({printable(said)}); {mend}") from error


def _not_an_image(path: Path, mend: str) -> str:
    if path.suffix.lower() in {suffix for suffixes in FORMATS.values() for suffix in suffixes}:
        return f"{printable(path)} is not an image; {mend}"
    return f"{printable(path)} is not an image of a format that is read ({', '.join(FORMATS)}); convert it to PNG"


@cache
def _known() -> list[str]:
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]  # AVIF is an option of PIL's build


def _check_scans(file: Image.Image, path: Path) -> None:
    """Raise OSError for a JPEG of so many scans, each a walk over all pixels, that decoding it would take minutes."""
    if file.info.get("progressive"):
        scans = path.read_bytes().count(b"\xff\xda")
        if scans * file.width * file.height > _MOST_WALKED:
            raise OSError(0, f"it has {scans} scans, far more than an encoder writes")
