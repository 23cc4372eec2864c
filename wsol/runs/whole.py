"""Folders that can be written, and files in them that appear whole or not at all."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from wsol.errors import InputError

PART = ".part"


def made(folder: Path) -> None:
    """Makes a folder to write to, if it is not there.

    Raises:
        InputError: It cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder} cannot be made: {error.strerror} ({error.filename}); give another --out") from error


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Gives a path to write to; the file appears under ``path`` only once it is complete, even if power fails."""
    part = path.with_name(path.name + PART)
    try:
        yield part
        settled(part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def settled(path: Path) -> None:
    """Waits until the disk has what was written to a file."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())
