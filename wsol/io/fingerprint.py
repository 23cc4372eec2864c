"""Sizes and content of many files."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from wsol.io.parallel import map_files, map_small_files
from wsol.io.paths import check_file, open_file


def measure_files(paths: Iterable[Path]) -> dict[Path, int]:
    """Return the size of each file in bytes; -1 for one that is missing or not a regular file."""
    unique = [*dict.fromkeys(paths)]
    return dict(zip(unique, map_small_files(_measure, unique), strict=True))


def hash_files(paths: Iterable[Path]) -> dict[Path, bytes]:
    """Return the SHA-256 of the content of each file; empty for one that is missing or not a regular file."""
    unique = [*dict.fromkeys(paths)]
    return dict(zip(unique, map_files(_hash, unique), strict=True))


def _measure(path: Path) -> int:
    try:
        return check_file(path)
    except OSError:  # whoever reads the file says better what is wrong with it
        return -1


def _hash(path: Path) -> bytes:
    try:
        with open_file(path) as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError:
        return b""
