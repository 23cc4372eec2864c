"""Reading the lists of data sets in MATLAB's format: numbers, texts, and records of both.

``scipy.io.loadmat`` is for files that one trusts: on damaged ones it ends the process (a segmentation fault for one in
a few thousand random mutations of a small file) or reserves as much memory as their dimensions declare.
"""

import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from wsol.errors import InputError, first_line
from wsol.io.display import printable, quote
from wsol.io.paths import check_file

_MAX_BYTES = 2**28  # of a file, and of its content once unpacked; the lists of data sets have a few million
_MAX_DEPTH = 16  # of cells and structures in each other

_HEADER_BYTES, _TAG_BYTES = 128, 8
_MATRIX, _COMPRESSED = 14, 15
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_TEXTS = {1: "ascii", 2: "ascii", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
_CELL, _STRUCT, _CHAR, _FIRST_NUMBERS, _LAST = 1, 2, 4, 6, 15  # classes of arrays
_COMPLEX = 0x0800  # flag of an array with imaginary parts

_Value = NDArray[np.float64] | str | list["_Value"] | list[dict[str, "_Value"]] | None
"""Numbers in column-major order; a text of one row; the cells or structures in column-major order; None for the rest,
such as sparse and complex matrices, objects, functions, and texts of several rows."""


class MatFile:
    """The variables of a ``.mat`` file of MATLAB 5 to 7.

    Args:
        path: The file.
        content: What it should contain, for messages.

    Raises:
        InputError: The file is missing, not a regular file, too large, damaged, or has another format.
    """

    def __init__(self, path: Path, content: str) -> None:
        self._path, self._content = path, content
        where = printable(path)
        try:
            size = check_file(path)
            if size > _MAX_BYTES:
                raise ValueError(f"it has {size >> 20} MiB; at most {_MAX_BYTES >> 20} MiB are read")
            self._variables = _read_variables(path.read_bytes())
        except FileNotFoundError as error:
            raise InputError(f"{where} is missing: it should contain {content}; check --data-root") from error
        except (OSError, ValueError, zlib.error) as error:
            reason = printable(str(error.strerror if isinstance(error, OSError) else first_line(error)), 100)
            raise InputError(
                f"{where} is not a readable .mat file with {content} ({reason}); restore it from the archive"
            ) from error

    def numbers(self, name: str) -> NDArray[np.float64]:
        """Return a variable that is an array of numbers, float64 ``(n,)``, in column-major order.

        Raises:
            InputError: There is no such variable, or it is something else.
        """
        value = self._variable(name)
        if not isinstance(value, np.ndarray):
            raise self._unexpected(name, "an array of numbers")
        return value

    def texts(self, name: str) -> list[str]:
        """Return a variable that is a cell array of texts, in column-major order.

        Raises:
            InputError: As for ``numbers``.
        """
        texts: list[str] = []
        for value in self._list(name, "a cell array of texts"):
            if not isinstance(value, str):
                raise self._unexpected(f"{name}({len(texts) + 1})", "a text")
            texts.append(value)
        return texts

    def records(
        self, name: str, numbers: Sequence[str] = (), texts: Sequence[str] = ()
    ) -> list[tuple[list[float], list[str]]]:
        """Return the fields of a variable that is an array of structures, in column-major order.

        Args:
            name: The variable.
            numbers: Fields that hold one number each.
            texts: Fields that hold a text each.

        Returns:
            The numbers and the texts of each structure, in the order of these arguments.

        Raises:
            InputError: As for ``numbers``, or a structure lacks a field, or the field is something else.
        """
        records = []
        for i, value in enumerate(self._list(name, "an array of structures"), 1):
            record: Mapping[str, _Value] = value if isinstance(value, dict) else {}
            own_numbers: list[float] = []
            for field in numbers:
                number = record.get(field)
                if not isinstance(number, np.ndarray) or number.size != 1:
                    raise self._unexpected(f"{name}({i}).{field}", "a number")
                own_numbers.append(float(number[0]))
            own_texts: list[str] = []
            for field in texts:
                text = record.get(field)
                if not isinstance(text, str):
                    raise self._unexpected(f"{name}({i}).{field}", "a text")
                own_texts.append(text)
            records.append((own_numbers, own_texts))
        return records

    def _variable(self, name: str) -> _Value:
        if name not in self._variables:
            present = ", ".join(map(quote, list(self._variables)[:5])) or "no variable"
            raise InputError(
                f"{printable(self._path)} has no variable {name!r} ({self._content}), but {present}; restore the file"
            )
        return self._variables[name]

    def _list(self, name: str, kind: str) -> Sequence[object]:
        value = self._variable(name)
        if isinstance(value, np.ndarray) and not value.size:  # MATLAB's [], an empty list of anything
            return []
        if not isinstance(value, list):
            raise self._unexpected(name, kind)
        return value

    def _unexpected(self, where: str, kind: str) -> InputError:
        return InputError(f"{printable(self._path)}: {where} should be {kind} ({self._content}); restore the file")


def _read_variables(data: bytes) -> dict[str, _Value]:
    """Return the variables of a file by their names.

    Raises:
        ValueError: The content is damaged, or of another format.
        zlib.error: A compressed variable is damaged.
    """
    order: Literal["<", ">"] | None = {b"IM": "<", b"MI": ">"}.get(data[126:_HEADER_BYTES])  # type: ignore[assignment]  # one of the three
    if data[:10].startswith(b"MATLAB 7.3"):
        raise ValueError("it is in MATLAB's format 7.3, which is HDF5; save it with the option -v7")
    if order is None or int.from_bytes(data[124:126], "little" if order == "<" else "big") >> 8 != 1:
        raise ValueError("it has no header of MATLAB 5 to 7")
    variables: dict[str, _Value] = {}
    left = _MAX_BYTES
    top = _Elements(memoryview(data)[_HEADER_BYTES:], order)
    while top.rest:
        kind, body = top.next()
        if kind == _COMPRESSED:
            unpacked = zlib.decompressobj().decompress(body, left + 1)
            left -= len(unpacked)
            if left < 0:
                raise ValueError(f"it holds more than {_MAX_BYTES >> 20} MiB")
            kind, body = _Elements(memoryview(unpacked), order).next()
        if kind != _MATRIX:
            raise ValueError(f"a variable is an element of type {kind}")
        name, value = _read_array(_Elements(body, order), 0)
        if name:  # that of functions and objects has none
            variables[name] = value
    return variables


@dataclass
class _Elements:
    """Data elements in a row: a tag with type and length, and the data.

    Attributes:
        rest: What has not been read.
        order: Byte order, ``<`` or ``>``.
    """

    rest: memoryview
    order: Literal["<", ">"]

    def next(self) -> tuple[int, memoryview]:
        """Return the type and the data of the next element.

        Raises:
            ValueError: There is less data than the tag declares.
        """
        if len(self.rest) < _TAG_BYTES:
            raise ValueError("it ends within an array")
        kind, length = np.frombuffer(self.rest[:_TAG_BYTES], f"{self.order}u4").tolist()
        if kind >> 16:  # a small element: its length and up to four bytes of data are in the tag
            kind, length, start, end = kind & 0xFFFF, kind >> 16, _TAG_BYTES // 2, _TAG_BYTES
        else:
            padding = 0 if kind == _COMPRESSED else -length % 8
            start, end = _TAG_BYTES, _TAG_BYTES + length + padding
        body = self.rest[start : min(start + length, end)]
        if len(body) < length:
            raise ValueError(f"an element declares {length} bytes, but {len(body)} are left")
        self.rest = self.rest[end:]
        return kind, body

    def numbers(self) -> NDArray[np.generic]:
        """Return the numbers in the next element.

        Raises:
            ValueError: It has other content.
        """
        kind, body = self.next()
        dtype = np.dtype(self.order + _NUMBERS[kind]) if kind in _NUMBERS else None
        if dtype is None or len(body) % dtype.itemsize:
            raise ValueError(f"an element of type {kind} and {len(body)} bytes is not an array of numbers")
        return np.frombuffer(body, dtype)

    def text(self) -> str:
        """Return the text in the next element.

        Raises:
            ValueError: It has other content.
        """
        kind, body = self.next()
        if not body:
            return ""
        codec = _TEXTS.get(kind)
        if codec is None:
            raise ValueError(f"an element of type {kind} is not a text")
        if codec in ("utf-16", "utf-32"):
            codec += "-le" if self.order == "<" else "-be"
        return bytes(body).decode(codec)


def _read_array(elements: _Elements, depth: int) -> tuple[str, _Value]:
    """Return the name and the value of an array, whose own elements these are."""
    if not elements.rest:  # how MATLAB writes [] in a cell
        return "", np.empty(0)
    if depth > _MAX_DEPTH:
        raise ValueError(f"arrays are nested more than {_MAX_DEPTH} deep")
    flags = elements.numbers()
    kind = int(flags[0]) & 0xFF if len(flags) == 2 else 0
    if not _CELL <= kind <= _LAST:  # objects of newer classes have no dimensions
        return "", None
    shape = elements.numbers().tolist()
    name = elements.text()
    if len(shape) < 2 or not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError(f"the dimensions of {quote(name)} are damaged")
    is_complex = bool(flags[0] & _COMPLEX)
    return name, None if is_complex else _read_value(elements, kind, shape, depth)


def _read_value(elements: _Elements, kind: int, shape: Sequence[int], depth: int) -> _Value:
    """Return the value of an array of a class and of these dimensions."""
    count = math.prod(shape)
    value: _Value = None
    if kind == _CELL:
        value = _read_list(elements, count, depth)
    elif kind == _STRUCT:
        value = _read_structs(elements, count, depth)
    elif kind == _CHAR:
        text = elements.text()
        value = text if len(text) == count and (shape[0] == 1 or not text) else None
    elif kind >= _FIRST_NUMBERS:
        numbers = elements.numbers()
        if len(numbers) != count:
            raise ValueError(f"an array declares {count} numbers, but has {len(numbers)}")
        value = numbers.astype(np.float64)
    return value


def _read_list(elements: _Elements, count: int, depth: int) -> list[_Value]:
    if count > len(elements.rest) // _TAG_BYTES:
        raise ValueError(f"an array declares {count} cells, but only {len(elements.rest)} bytes are left")
    values: list[_Value] = []
    for _ in range(count):
        kind, body = elements.next()
        if kind != _MATRIX:
            raise ValueError(f"a cell is an element of type {kind}")
        values.append(_read_array(_Elements(body, elements.order), depth + 1)[1])
    return values


def _read_structs(elements: _Elements, count: int, depth: int) -> list[dict[str, _Value]]:
    lengths = elements.numbers().tolist()
    _, body = elements.next()
    if len(lengths) != 1 or not isinstance(length := lengths[0], int) or length < 1 or len(body) % length:
        raise ValueError("the fields of a structure have no names")
    names = [bytes(body[i : i + length]).split(b"\0")[0].decode("ascii") for i in range(0, len(body), length)]
    if not names and count:
        raise ValueError("a structure has no fields")
    values = _read_list(elements, count * len(names), depth)
    step = len(names) or 1
    return [dict(zip(names, values[i : i + step], strict=True)) for i in range(0, len(values), step)]
