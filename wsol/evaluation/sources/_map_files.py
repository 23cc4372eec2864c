"""Files of score maps: a folder of arrays, or an archive of them."""

import threading
import zipfile
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from wsol.errors import InputError, first_line
from wsol.io.arrays import read_array, require_file

_SUFFIXES = (".npy", ".npz")
_CLASSED = {"maps.npy", "classes.npy"}  # arrays of a file with maps of several classes


@dataclass(frozen=True)
class ImageMaps:
    """The maps of an image, unchecked.

    Attributes:
        values: ``(h, w)``, the map of the ground-truth class; or ``(k, h, w)``.
        classes: ``(k,)``, the class indices of the maps; None for that of the ground-truth class.
    """

    values: NDArray[np.generic]
    classes: NDArray[np.generic] | None = None


Reader = Callable[[], ImageMaps]
"""Reads the maps of an image; broken files raise anything."""


def find_readers(path: Path) -> dict[str, list[Reader]]:
    """Return the readers of all maps by name, without the suffix.

    Args:
        path: A folder with ``NAME.npy``, or with ``NAME.npz``, which has one array, or the arrays ``maps`` and
            ``classes``; or one ``.npz`` file with an array per image.

    Raises:
        InputError: It is neither, or the folder has no such files.
    """
    readers: defaultdict[str, list[Reader]] = defaultdict(list)
    if path.is_dir():
        for file in sorted(file for file in path.rglob("*") if file.suffix in _SUFFIXES):
            readers[str(PurePosixPath(file.relative_to(path).with_suffix("")))].append(_FileReader(file))
        if not readers:
            raise InputError(f"{path} has no .npy or .npz files; give the folder of the score maps")
        return readers
    try:
        archive = zipfile.ZipFile(require_file(path))
    except Exception as error:  # broken files raise anything
        raise InputError(f"{path} is neither a folder of .npy files nor an .npz file ({first_line(error)})") from error
    for member in archive.infolist():
        readers[member.filename.removesuffix(".npy")].append(_MemberReader(archive, member))
    return readers


class _FileReader:
    """Reads a ``.npy`` file, or the arrays of an ``.npz`` file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __call__(self) -> ImageMaps:
        with require_file(self._path).open("rb") as file:
            if not zipfile.is_zipfile(file):
                file.seek(0)
                return ImageMaps(read_array(file, self._path.stat().st_size))
            with zipfile.ZipFile(file) as archive:
                members = archive.infolist()
                if len(members) == 1:
                    return ImageMaps(_read_member(archive, members[0]))
                arrays = {member.filename: member for member in members}
                if arrays.keys() != _CLASSED or len(members) != len(arrays):
                    raise ValueError(f"it has {len(members)} arrays, not one, or maps and classes")
                return ImageMaps(*(_read_member(archive, arrays[name]) for name in ("maps.npy", "classes.npy")))


class _MemberReader:
    """Reads one array of an archive, one thread at a time."""

    _lock = threading.Lock()

    def __init__(self, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
        self._archive, self._member = archive, member

    def __call__(self) -> ImageMaps:
        with self._lock:
            return ImageMaps(_read_member(self._archive, self._member))


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> NDArray[np.generic]:
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError("its compression is not one of .npz files")  # others may unpack to any size
    with archive.open(member) as file:
        return read_array(file, member.file_size)
