"""The raw score maps that a run keeps, ``maps.npy``: written batch by batch, read image by image."""

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsol.io.arrays import memory_map
from wsol.protocols import View, find_protocol
from wsol.runs.array_writer import ArrayWriter
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


class ScoreMapWriter(ArrayWriter):
    """Writes ``maps.npy``, with the same header under any version of NumPy."""

    def write_header(self, count: int) -> None:
        """Write the header of the maps of ``count`` images."""
        text = str({"descr": "<f4", "fortran_order": False, "shape": (count, *self.item_shape)})
        room = _HEADER_SIZE - 10
        self.file.write(b"\x93NUMPY\x01\x00" + room.to_bytes(2, "little") + f"{text:<{room - 1}}\n".encode())

    def reader(self) -> "ScoreMapReader":
        """Return a reader of the file, for use after the context is left."""
        return ScoreMapReader(self.path, self.item_shape)


class ScoreMapReader:
    """Score maps on disk: a slice of images is read on access, and the others take no memory.

    Args:
        path: A file that ``ScoreMapWriter`` wrote.
        shape: Shape of the maps of one image.
    """

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        self._path, self._shape = path, shape

    def __getitem__(self, rows: slice) -> NDArray[np.float32]:
        """Return the maps of consecutive images, of which at least one exists."""
        count = math.prod(self._shape)
        numbers = np.fromfile(
            self._path, np.float32, count * (rows.stop - rows.start), offset=_HEADER_SIZE + 4 * count * rows.start
        )
        return numbers.reshape(-1, *self._shape)
