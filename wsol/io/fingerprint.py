"""Sizes and content of many files, from local disks and network file systems alike."""

import hashlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from wsol.io.paths import check_file

T = TypeVar("T")

_THREADS = 32  # on a network file system nearly all of the time is spent waiting
_MEASURED_AT_ONCE = 256  # per task of a thread, since the size of a local file takes a few microseconds


def measure_files(paths: Iterable[Path]) -> dict[Path, int]:
    """Return the size of each file in bytes; -1 for one that is missing or not a regular file."""
    return _map_files(_measure, paths, _MEASURED_AT_ONCE)


def hash_files(paths: Iterable[Path]) -> dict[Path, bytes]:
    """Return the SHA-256 of the content of each file; empty for one that is missing or not a regular file."""
    return _map_files(_hash, paths, 1)


def _map_files(function: Callable[[Path], T], paths: Iterable[Path], at_once: int) -> dict[Path, T]:
    """Call a function once for each file, in threads."""
    unique = [*dict.fromkeys(paths)]
    chunks = [unique[i : i + at_once] for i in range(0, len(unique), at_once)]
    with ThreadPoolExecutor(_THREADS) as pool:
        results = pool.map(lambda chunk: [function(path) for path in chunk], chunks)
        return dict(zip(unique, (result for each in results for result in each), strict=True))


def _measure(path: Path) -> int:
    try:
        return check_file(path)
    except OSError:  # whoever reads the file says better what is wrong with it
        return -1


def _hash(path: Path) -> bytes:
    try:
        check_file(path)
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError:
        return b""
