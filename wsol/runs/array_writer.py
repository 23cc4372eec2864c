"""Arrays that grow batch by batch on disk."""

from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from wsol.io.atomic import TMP_SUFFIX, fsync_rename


class ArrayWriter:
    """A ``.npy`` file that grows along its first axis; memory does not grow.

    A context: the file appears on exit, and only if something was written and nothing was raised.

    Args:
        path: The file.

    Attributes:
        path: The file.
        file: The file while it is written.
        item_shape: Shape after the first axis, of what was written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._tmp = path.with_name(path.name + TMP_SUFFIX)
        self._tmp.unlink(missing_ok=True)  # it might be a link to another place
        self.file = self._tmp.open("wb")
        self.item_shape: tuple[int, ...] = ()
        self._dtype: np.dtype[Any] | None = None
        self._count = 0

    def append(self, rows: NDArray[Any]) -> None:
        """Append ``(n, ...)``; all calls have the same dtype, and the same shape after the first axis."""
        if self._dtype is None:
            self.item_shape, self._dtype = rows.shape[1:], rows.dtype
            self.write_header(0)
        self._count += len(rows)
        np.ascontiguousarray(rows, self._dtype).tofile(self.file)

    def write_header(self, count: int) -> None:
        """Write the header of an array of ``count`` rows, as long as that of any other number."""
        assert self._dtype is not None
        descr, shape = npy.dtype_to_descr(self._dtype), (count, *self.item_shape)
        npy.write_array_header_1_0(self.file, {"descr": descr, "fortran_order": False, "shape": shape})

    def discard(self) -> None:
        """Remove what was written."""
        self.file.close()
        self._tmp.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self.file.closed or kind is not None or self._dtype is None:
            self.discard()
            return
        self.file.seek(0)
        self.write_header(self._count)
        self.file.close()
        fsync_rename(self._tmp, self.path)
