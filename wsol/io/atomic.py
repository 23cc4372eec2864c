"""Writing files that appear complete or not at all, and creating their folders."""

import contextlib
import os
from collections.abc import Collection, Iterator
from pathlib import Path

from wsol.errors import InputError

TMP_SUFFIX = ".tmp"


def ensure_dir(folder: Path) -> None:
    """Create a folder for output, unless it exists.

    Raises:
        InputError: The folder cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{folder} cannot be created: {error.strerror} ({error.filename}); give another --out"
        ) from error


def refuse_foreign_files(folder: Path, names: Collection[str], content: str) -> None:
    """Refuse a folder that has anything but these files and unfinished parts of them.

    Args:
        folder: The folder.
        names: Names of the files.
        content: The only content that it may have, for the message: ``a comparison``.

    Raises:
        InputError: It has another file, or a folder.
    """
    foreign = sorted(
        path.name for path in folder.iterdir() if path.is_dir() or path.name.removesuffix(TMP_SUFFIX) not in names
    )
    if foreign:
        raise InputError(f"{folder} has files of something other than {content} ({foreign[0]}); give another --out")


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a path to write to; the file gets the name ``path`` once it is complete, even if power fails."""
    part = path.with_name(path.name + TMP_SUFFIX)
    part.unlink(missing_ok=True)  # it might be a link to another place
    try:
        yield part
        fsync_rename(part, path)
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)  # the error of a full disk does not name the file
        raise
    finally:
        part.unlink(missing_ok=True)


def fsync_rename(part: Path, path: Path) -> None:
    """Fsync a file, rename it to ``path``, and fsync the folder."""
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    part.replace(path)
    with contextlib.suppress(OSError):  # Windows cannot open folders
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
