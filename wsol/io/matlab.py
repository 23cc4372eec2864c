"""Lists of data sets in MATLAB files (format 5, ``.mat``): numbers, text, cells and structures.

The reader is our own since ``scipy.io.loadmat`` follows nested cells in C without a limit, allocates what a file
declares, and ends the process with a segmentation fault on damaged files.
"""

import math
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wsol.errors import InputError, first_line
from wsol.io.display import printable
from wsol.io.paths import check_file

_MAX_BYTES = 1 << 23  # of a file; lists of data sets have a tenth of it
_MAX_UNPACKED = 1 << 26
_MAX_DEPTH = 4  # of cells and structures: the cells of a structure array have 2
_HEADER = 128
_MATRIX, _COMPRESSED = 14, 15
_CELL, _STRUCT, _CHAR = 1, 2, 4  # classes of arrays
_NUMBERS = range(6, 16)
_COMPLEX = 8  # a flag
_DTYPES = {1: "i1", 2: "u1", 3: "<i2", 4: "<u2", 5: "<i4", 6: "<u4", 7: "<f4", 9: "<f8", 12: "<i8", 13: "<u8"}
_ENCODINGS = {1: "ascii", 2: "ascii", 4: "utf-16-le", 16: "utf-8", 17: "utf-16-le", 18: "utf-32-le"}
_NOTHING = (0, memoryview(b""))


def read_mat(path: Path, names: Sequence[str], content: str) -> dict[str, Any]:
    """Read variables of a MATLAB file.

    Args:
        path: The file.
        names: The variables, all of which it must have.
        content: What the file should contain, for the message.

    Returns:
        The value of each: numbers as an array of the shape and type in the file, text as str, a cell array as a list of
        values and a structure array as a list of dicts, both in MATLAB's order, first dimension first.

    Raises:
        InputError: The file is missing, not a regular file, too large, of another version or damaged, lacks a variable,
            or has anything else, such as objects, functions and sparse arrays.
    """
    where = printable(path)
    try:
        size = check_file(path)
        if size > _MAX_BYTES:
            raise ValueError(f"it has {size:,} bytes, too many for a list")
        variables = dict(_parse(matrix, 0) for matrix in _matrices(path.read_bytes()))
    except FileNotFoundError as error:
        raise InputError(f"{where} is missing: it should contain {content}; check --data-root") from error
    except (OSError, ValueError, struct.error, zlib.error) as error:
        reason = error.strerror if isinstance(error, OSError) else first_line(error)
        raise InputError(f"{where} is not a readable MATLAB file ({printable(reason)}); restore the file") from error
    missing = [name for name in names if name not in variables]
    if missing:
        raise InputError(
            f"{where} lacks the variables {', '.join(missing)}: it should contain {content}; restore the file"
        )
    return {name: variables[name] for name in names}


def _matrices(data: bytes) -> Iterator[memoryview]:
    """Yield the variables, unpacked; each is compressed on its own, or not at all."""
    if len(data) < _HEADER or data[124:128] != b"\0\1IM":
        hdf = data.startswith((b"\x89HDF", b"MATLAB 7.3"))
        raise ValueError(f"it has {'version 7.3, which is HDF5' if hdf else 'another format'}; save it with -v7")
    left = _MAX_UNPACKED
    for kind, payload in _elements(memoryview(data)[_HEADER:], padded=False):
        if kind != _COMPRESSED:
            yield _expect_matrix(kind, payload)
            continue
        unpacked = zlib.decompressobj().decompress(payload, left)
        left -= len(unpacked)
        if left <= 0:
            raise ValueError(f"it unpacks to more than {_MAX_UNPACKED >> 20} MiB")
        yield _expect_matrix(*next(_elements(memoryview(unpacked), padded=False), _NOTHING))


def _expect_matrix(kind: int, payload: memoryview) -> memoryview:
    if kind != _MATRIX:
        raise ValueError(f"it has an element of kind {kind} in place of an array")
    return payload


def _parse(matrix: memoryview, depth: int) -> tuple[str, Any]:
    """Return name and value of an array.

    Args:
        matrix: The array: flags, dimensions, name and content.
        depth: Number of arrays around it.
    """
    if not matrix:
        return "", np.empty((0, 0))
    content = _elements(matrix)
    flags, dims, name = (next(content, _NOTHING)[1] for _ in range(3))
    if len(flags) != 8 or len(dims) % 4 or not 8 <= len(dims) <= 32:
        raise ValueError("the header of an array is damaged")
    array_class, shape = flags[0], struct.unpack(f"<{len(dims) // 4}i", dims)
    count = math.prod(shape)
    if min(shape) < 0 or count > len(matrix):
        raise ValueError(f"an array declares the shape {shape}, more than it has bytes")
    if depth > _MAX_DEPTH:
        raise ValueError("arrays are nested too deeply")
    if array_class in (_CELL, _STRUCT):
        fields = _read_fields(content) if array_class == _STRUCT else [""]
        values = [_parse(_expect_matrix(*element), depth + 1)[1] for element in content]
        if len(values) != count * len(fields):
            raise ValueError(f"an array of {count * len(fields)} arrays has {len(values)}")
        rows = [dict(zip(fields, values[i : i + len(fields)], strict=True)) for i in range(0, len(values), len(fields))]
        value: Any = rows if array_class == _STRUCT else values
    elif array_class == _CHAR:
        value = _read_text(*next(content, _NOTHING))
        if len(value) != count:
            raise ValueError(f"a text of {count} characters has {len(value)}")
    elif array_class in _NUMBERS and not flags[1] & _COMPLEX:
        kind, payload = next(content, _NOTHING)
        if kind not in _DTYPES:
            raise ValueError(f"numbers have the unknown kind {kind}")
        value = np.frombuffer(payload, _DTYPES[kind]).reshape(shape, order="F")
    else:
        raise ValueError(f"it has an array of class {array_class}: complex, sparse, an object or a function")
    return bytes(name).decode("ascii"), value


def _read_fields(content: Iterator[tuple[int, memoryview]]) -> list[str]:
    """Read the names of the fields of a structure array."""
    (_, length), (_, names) = next(content, _NOTHING), next(content, _NOTHING)
    if len(length) != 4 or not 1 <= (width := struct.unpack("<i", length)[0]) <= 64 or not names or len(names) % width:
        raise ValueError("the fields of a structure are damaged")
    return [bytes(names[i : i + width]).split(b"\0")[0].decode("ascii") for i in range(0, len(names), width)]


def _read_text(kind: int, payload: memoryview) -> str:
    if kind not in _ENCODINGS and payload:
        raise ValueError(f"a text has the unknown kind {kind}")
    return bytes(payload).decode(_ENCODINGS.get(kind, "ascii"))


def _elements(data: memoryview, padded: bool = True) -> Iterator[tuple[int, memoryview]]:
    """Yield kind and payload of each element of a sequence.

    Args:
        data: The sequence.
        padded: Whether payloads are padded to multiples of eight bytes; variables are not, or by their own length.
    """
    start = 0
    while start < len(data):
        if len(data) - start < 8:
            raise ValueError("its end is missing")
        kind, length = struct.unpack_from("<II", data, start)
        if kind >> 16:  # a small element, whose payload is in its tag
            kind, length, begin, end = kind & 0xFFFF, kind >> 16, start + 4, start + 8
        else:
            begin = start + 8
            end = begin + length + (-length % 8 if padded else 0)
        if begin + length > min(end, len(data)):
            raise ValueError("its end is missing")
        yield kind, data[begin : begin + length]
        start = end
