"""Arrays, tables and JSON from other people: nothing in a file is run, and none takes more memory than its size."""

import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
import pyarrow.parquet
from numpy.lib import format as npy
from numpy.typing import NDArray

from wsol.errors import first_line
from wsol.io.display import printable
from wsol.io.paths import check_file

MAX_BYTES = 1 << 29  # of an array that is read into memory
_MAX_HEADER_BYTES = 10_000  # NumPy's own limit
_HEADER_READERS = {  # by format version, after the size of the field with the header's length
    (1, 0): (2, npy.read_array_header_1_0),
    (2, 0): (4, npy.read_array_header_2_0),
    (3, 0): (4, npy.read_array_header_2_0),  # it differs from 2.0 in the encoding of field names only
}


def require_file(path: Path) -> Path:
    """Return the path of a regular file, or of a link to one; opening a pipe might never return.

    Raises:
        FileNotFoundError: The path does not exist.
        ValueError: The path is not a regular file.
    """
    try:
        check_file(path)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ValueError(f"{path.name} cannot be read: {error.strerror}") from error
    return path


def read_array(file: IO[bytes], size: int) -> NDArray[np.generic]:
    """Read an array of numbers in the ``.npy`` format. The array is read-only.

    Args:
        file: The file, at its start.
        size: Its size in bytes, as the file system or the archive states it.

    Raises:
        ValueError: The file has another content, or less data than its header declares.
    """
    dtype, shape, order, start = _read_header(file)
    length = _check_length(dtype, shape, size - start)
    if length > MAX_BYTES:
        raise ValueError(f"it holds {length >> 20} MiB; at most {MAX_BYTES >> 20} MiB are read")
    data = file.read(length)
    if len(data) < length:
        raise ValueError(f"its header declares {length} bytes of data, but it has {len(data)}")
    return np.ndarray(shape, dtype, data, order=order)


def memory_map(path: Path) -> NDArray[Any]:
    """Map the array of a ``.npy`` file into memory, read-only; errors as for ``read_array`` and ``require_file``."""
    with require_file(path).open("rb") as file:
        try:
            dtype, shape, order, start = _read_header(file)
            _check_length(dtype, shape, path.stat().st_size - start)
        except ValueError as error:
            raise ValueError(f"{path.name}: {error}") from error
    return np.memmap(path, dtype, "r", start, shape, order)


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The file is not JSON.
    """
    try:
        return json.loads(require_file(path).read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError(f"{path.name} is nested too deeply") from error


def read_parquet(path: Path, columns: Sequence[str], optional: Sequence[str] = ()) -> pd.DataFrame:
    """Read columns of a Parquet file, and those of the optional ones that it has.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The file lacks a column, or declares more rows than it has bytes. For damaged files pyarrow raises
            its own errors.
    """
    with require_file(path).open("rb") as file:
        parquet = pyarrow.parquet.ParquetFile(file)
        if missing := [column for column in columns if column not in parquet.schema_arrow.names]:
            raise ValueError(f"{path.name} lacks the columns {', '.join(missing)}")
        if parquet.metadata.num_rows > path.stat().st_size:  # constant columns take next to no space
            raise ValueError(f"{path.name} declares {parquet.metadata.num_rows} rows, more than it has bytes")
        present = [column for column in optional if column in parquet.schema_arrow.names]
        table: pd.DataFrame = parquet.read([*columns, *present]).to_pandas(ignore_metadata=True)
    return table


def _read_header(file: IO[bytes]) -> tuple[np.dtype[Any], tuple[int, ...], Any, int]:
    """Return dtype, shape, memory order, and the offset of the data."""
    magic = file.read(npy.MAGIC_LEN)
    try:
        width, read_header = _HEADER_READERS[npy.read_magic(io.BytesIO(magic))]
    except (ValueError, KeyError) as error:
        raise ValueError("it is not a .npy file") from error
    prefix = file.read(width)
    length = int.from_bytes(prefix, "little")
    if length > _MAX_HEADER_BYTES:  # NumPy would read the header before it checks the length
        raise ValueError(f"its header is {length} bytes long; at most {_MAX_HEADER_BYTES} are read")
    header = io.BytesIO(prefix + file.read(length))
    try:
        shape, is_fortran, dtype = read_header(header, max_header_size=_MAX_HEADER_BYTES)
        if dtype.kind not in "biufc" or not all(type(n) is int and 0 <= n < 10**18 for n in shape):
            raise ValueError(f"dtype {dtype}, shape {shape}")
    except Exception as error:  # NumPy's parser raises anything from TokenError to MemoryError
        reason = printable(first_line(error), 100)
        raise ValueError(f"its header is not that of an array of plain numbers ({reason})") from error
    return dtype, shape, "F" if is_fortran else "C", len(magic) + width + length


def _check_length(dtype: np.dtype[Any], shape: tuple[int, ...], available: int) -> int:
    """Return the length of the data in bytes.

    Raises:
        ValueError: Fewer bytes are available.
    """
    length = math.prod(shape) * dtype.itemsize
    if length > available:
        raise ValueError(f"its header declares {length} bytes of data, but it has {max(available, 0)}")
    return length
