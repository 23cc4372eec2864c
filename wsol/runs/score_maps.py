"""The raw score maps that a run keeps, ``maps.npy``: written batch by batch, read image by image."""

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsol.io.arrays import memory_map
from wsol.io.atomic import TMP_SUFFIX, fsync_rename
from wsol.protocols import View, find_protocol
from wsol.runs.arrays import ARRAYS, axis_lengths
from wsol.runs.metadata import RunMetadata

_HEADER_SIZE = 128  # bytes, which NumPy aligns its own headers to as well


def read_maps(folder: Path, metadata: RunMetadata, predictions: tuple[int, ...]) -> tuple[View, NDArray[np.float32]]:
    """Map ``maps.npy`` into memory.

    Args:
        folder: Folder of the run.
        metadata: Contents of its ``run.json``.
        predictions: ``(n, k)``, images and classes per image that the run has.

    Returns:
        What the network saw of an image, and float32 ``(n, k, h, w)``, or ``(n, k, crops, h, w)`` for several crops.

    Raises:
        FileNotFoundError: It has none.
        ValueError: They are not those of its predictions and its protocol.
    """
    maps = memory_map(folder / "maps.npy")
    protocol = find_protocol(metadata.protocol)
    if metadata.provenance.view != protocol.view:
        raise ValueError("run.json: the view is not that of the protocol")
    expected = next(array for array in ARRAYS if array.name == "maps")
    n, k = predictions
    if not expected.fits(maps, {**axis_lengths(protocol, n, maps), "k": k}) or not (
        maps.size and maps.flags.c_contiguous
    ):
        raise ValueError(f"maps.npy: its files do not belong together, as it holds {maps.dtype} {maps.shape}")
    return protocol.view, maps


class ScoreMapWriter:
    """A ``.npy`` file of float32 that grows along its first axis batch by batch; memory does not grow.

    A context: the file appears on exit, and only if nothing was raised.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._tmp = path.with_name(path.name + TMP_SUFFIX)
        self._file = self._tmp.open("wb")
        self._file.write(b"\0" * _HEADER_SIZE)
        self._shape: tuple[int, ...] = (0,)

    def append(self, maps: NDArray[np.float32]) -> None:
        """Append ``(n, ...)``; all calls have the same shape after the first axis."""
        self._shape = (self._shape[0] + len(maps), *maps.shape[1:])
        np.ascontiguousarray(maps, np.float32).tofile(self._file)

    def reader(self) -> "ScoreMapReader":
        """Return a reader of the file, for use after the context is left."""
        return ScoreMapReader(self.path, self._shape[1:])

    def __enter__(self) -> "ScoreMapWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            text = str({"descr": "<f4", "fortran_order": False, "shape": self._shape})
            room = _HEADER_SIZE - 10
            self._file.seek(0)
            self._file.write(b"\x93NUMPY\x01\x00" + room.to_bytes(2, "little") + f"{text:<{room - 1}}\n".encode())
        self._file.close()
        if kind is None:
            fsync_rename(self._tmp, self.path)
        else:
            self._tmp.unlink()


class ScoreMapReader:
    """Score maps on disk: those of an image are read on access and take no memory otherwise.

    Args:
        path: A file that ``ScoreMapWriter`` wrote.
        shape: Shape of the maps of one image.
    """

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        self._path, self._shape = path, shape

    def __getitem__(self, i: int) -> NDArray[np.float32]:
        count = math.prod(self._shape)
        numbers = np.fromfile(self._path, np.float32, count, offset=_HEADER_SIZE + 4 * count * i)
        return numbers.reshape(self._shape)
