"""Folders that can be written, and files in them that appear whole or not at all."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from wsol.errors import InputError

TMP_SUFFIX = ".part"


def ensure_dir(folder: Path) -> None:
    """Make a folder to write to, if it is not there.

    Raises:
        InputError: It cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder} cannot be made: {error.strerror} ({error.filename}); give another --out") from error


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Give a path to write to; the file appears under ``path`` only once it is complete, even if power fails."""
    part = path.with_name(path.name + TMP_SUFFIX)
    part.unlink(missing_ok=True)  # it might be a link to elsewhere
    try:
        yield part
        fsync_rename(part, path)
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)  # as a full disk does not say which file has no room
        raise
    finally:
        part.unlink(missing_ok=True)


def fsync_rename(part: Path, path: Path) -> None:
    """Give a written file its name, once the disk has what is in it; then waits until it has the name too."""
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    part.replace(path)
    with contextlib.suppress(OSError):  # Windows opens no folder
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
