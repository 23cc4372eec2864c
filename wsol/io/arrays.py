"""Files that anybody may have written: nothing in them is run, and none takes more memory than it has bytes."""

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
import pyarrow.parquet
from numpy.typing import NDArray

from wsol.io.paths import check_file

_LARGEST = 1 << 29  # bytes of an array that is read as a whole
_LONGEST = 10_000  # bytes of a header, which is NumPy's own limit
_VERSIONS = {b"\x93NUMPY\x01\x00": 2, b"\x93NUMPY\x02\x00": 4, b"\x93NUMPY\x03\x00": 4}  # bytes of the header's length
_ENTRIES = (  # of the header, a Python dictionary, where it is that of an array of numbers
    r"'descr'\s*:\s*'(?P<descr>[<>|=]?[biufc]\d{1,2})'",
    r"'fortran_order'\s*:\s*(?P<order>True|False)",
    r"'shape'\s*:\s*\(\s*(?P<shape>(?:\d{1,18}L?\s*,\s*)*(?:\d{1,18}L?)?)\s*\)",
)
_HEADER = re.compile(rf"\s*\{{\s*(?:(?:{'|'.join(_ENTRIES)})\s*,?\s*){{3}}\}}\s*")


def require_file(path: Path) -> Path:
    """Return the path of a file, or of a link to one; whoever opened a pipe would wait for ever.

    Raises:
        FileNotFoundError: There is nothing.
        ValueError: It is something else.
    """
    try:
        check_file(path)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ValueError(f"{path.name} cannot be read: {error.strerror}") from error
    return path


def read_array(file: IO[bytes], size: int) -> NDArray[np.generic]:
    """Read an array of numbers in the format of ``.npy``; it cannot be written to.

    Args:
        file: At its start.
        size: Bytes that it has, or says that it has.

    Raises:
        ValueError: It holds anything else, or less than it promises.
    """
    dtype, shape, order, start = _header(file)
    length = _length(dtype, shape, size - start)
    if length > _LARGEST:
        raise ValueError(f"it holds {length >> 20} MiB, and {_LARGEST >> 20} can be read")
    content = file.read(length)
    if len(content) < length:
        raise ValueError(f"it promises {length} bytes and has {len(content)}")
    return np.ndarray(shape, dtype, content, order=order)


def memory_map(path: Path) -> NDArray[Any]:
    """Return the array of a ``.npy`` file, mapped into memory; errors as those of ``read_array`` and ``regular``."""
    with require_file(path).open("rb") as file:
        try:
            dtype, shape, order, start = _header(file)
            _length(dtype, shape, path.stat().st_size - start)
        except ValueError as error:
            raise ValueError(f"{path.name}: {error}") from error
    return np.memmap(path, dtype, "r", start, shape, order)


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        FileNotFoundError: There is none.
        ValueError: It is none.
    """
    try:
        return json.loads(require_file(path).read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError(f"{path.name} is nested too deeply") from error


def read_parquet(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Read columns of a Parquet file.

    Raises:
        FileNotFoundError: There is none.
        ValueError: It lacks a column, or has more rows than bytes. Damaged files raise what pyarrow makes of them.
    """
    with require_file(path).open("rb") as file:
        held = pyarrow.parquet.ParquetFile(file)
        if missing := [column for column in columns if column not in held.schema_arrow.names]:
            raise ValueError(f"{path.name} lacks the columns {', '.join(missing)}")
        if held.metadata.num_rows > path.stat().st_size:  # constant columns take next to nothing
            raise ValueError(f"{path.name} promises {held.metadata.num_rows} rows, more than it has bytes")
        table: pd.DataFrame = held.read([*columns]).to_pandas(ignore_metadata=True)
    return table


def _header(file: IO[bytes]) -> tuple[np.dtype[Any], tuple[int, ...], Any, int]:
    """Read dtype, shape, order and where the content starts; nothing is evaluated."""
    magic = file.read(8)
    if magic not in _VERSIONS:
        raise ValueError("it is no .npy file")
    width = _VERSIONS[magic]
    length = int.from_bytes(file.read(width), "little")
    if length > _LONGEST:
        raise ValueError(f"its header is {length} bytes long")
    text = file.read(length).decode("latin-1").replace('"', "'")
    found = _HEADER.fullmatch(text)
    if found is None or None in found.groups():
        raise ValueError("its header is not that of an array of plain numbers")
    try:
        dtype = np.dtype(found["descr"])
    except TypeError as error:
        raise ValueError(f"it holds {found['descr']}, which is no kind of number") from error
    shape = tuple(map(int, re.findall(r"\d+", found["shape"])))
    return dtype, shape, "F" if found["order"] == "True" else "C", len(magic) + width + length


def _length(dtype: np.dtype[Any], shape: tuple[int, ...], room: int) -> int:
    length = math.prod(shape) * dtype.itemsize
    if length > room:
        raise ValueError(f"it promises {length} bytes and has {max(room, 0)}")
    return length
