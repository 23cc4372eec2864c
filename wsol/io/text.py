"""Reading the text files of data sets: lines, rows of fields, CSV, and the numbers in them."""

import csv
import io
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from wsol.errors import InputError
from wsol.io.display import printable, quote
from wsol.io.paths import open_file

T = TypeVar("T")

MAX_CLASSES = 1_000_000
"""Limit of class indices; a larger number is something else, such as an image id."""

_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")


def read_text(path: Path, content: str) -> str:
    """Read a UTF-8 text file, with or without a byte order mark; every line end becomes a line feed.

    Args:
        path: The file.
        content: What it should contain, for the message.

    Raises:
        InputError: The file is missing, not a regular file, or not UTF-8.
    """
    try:
        with io.TextIOWrapper(open_file(path), "utf-8-sig") as file:
            return file.read()
    except FileNotFoundError as error:
        raise InputError(f"{printable(path)} is missing: it should contain {content}; check --data-root") from error
    except OSError as error:
        raise InputError(
            f"{printable(path)} cannot be read ({error.strerror}); it should be a file with {content}"
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"{printable(path)} is not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8"
        ) from error


def read_lines(path: Path, content: str) -> list[str]:
    """Read the lines of a UTF-8 text file, without line ends.

    Args:
        path: The file.
        content: What it should contain, for the message.

    Raises:
        InputError: As for ``read_text``, or the text has control characters, which no list needs.
    """
    return _read_printable(path, content).split("\n")


def read_rows(path: Path, content: str, columns: int, separator: str | None = None) -> Iterator[list[str]]:
    """Yield the fields of each line that is not blank.

    Args:
        path: The file.
        content: What a line contains, for the message.
        columns: Fields per line; additional separators belong to the first field.
        separator: Separator of the fields; white space if None.

    Raises:
        InputError: As for ``read_lines``, or a line has too few fields.
    """
    for number, line in enumerate(read_lines(path, content), 1):
        if line.strip():
            fields = line.rsplit(separator, columns - 1)
            if len(fields) < columns:
                raise InputError(f"{printable(path)}, line {number}: {quote(line)} should be {content}")
            yield [field.strip() for field in fields]


def read_csv(path: Path, required: Sequence[str]) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Read a CSV file with a header line. Fields in quotes may contain separators and line breaks.

    Args:
        path: The file.
        required: Names of the columns that it must have, in lower case.

    Returns:
        The column names, in lower case and without spaces around them, and each row's line number and fields by column.

    Raises:
        InputError: As for ``read_lines``, a column is missing or named twice, a row has more or fewer fields than the
            header, or a quote is not closed.
    """
    content = ",".join(required)
    reader = csv.reader(io.StringIO(_read_printable(path, content)), strict=True, skipinitialspace=True)
    rows, line = [], 1
    try:
        columns = [column.strip().lower() for column in next(reader, [])]
        duplicate = next((column for column in columns if column and columns.count(column) > 1), None)
        if duplicate is not None:
            raise InputError(f"{printable(path)} has the column {quote(duplicate)} twice; name each column once")
        missing = [column for column in required if column not in columns]
        if missing:
            separator = next((name for mark, name in _SEPARATORS.items() if mark in "".join(columns)), None)
            remedy = f"; its fields seem to be separated by {separator}, not by commas" if separator else ""
            raise InputError(
                f"{printable(path)} lacks the columns {', '.join(missing)}; its header should be {content}{remedy}"
            )
        line = reader.line_num + 1
        for row in reader:
            if row and len(row) != len(columns):
                raise InputError(
                    f"{printable(path)}, line {line}: the row does not have the {len(columns)} fields of the header"
                )
            if row:
                rows.append((line, dict(zip(columns, map(str.strip, row), strict=True))))
            line = reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"{printable(path)}, line {line}: {error}; fix the line") from error
    return columns, rows


def parse_number(text: str, path: Path, where: str) -> float:
    """Return ``text`` as a finite number.

    Raises:
        InputError: The text is not a finite number; the message names ``path`` and ``where``.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{printable(path)}, {printable(where)}: {quote(text)} is not a number; fix the field")
    return value


def parse_int(text: str, path: Path, where: str) -> int:
    """Return ``text`` as an integer.

    Raises:
        InputError: The text is not an integer; the message names ``path`` and ``where``.
    """
    value = parse_number(text, path, where)
    if value != int(value):
        raise InputError(f"{printable(path)}, {printable(where)}: {quote(text)} is not an integer; fix the field")
    return int(value)


def json_integer(value: Any) -> int | None:
    """Return a number of a JSON file as an integer, 96.0 included, which some programs write for 96.

    Returns:
        The integer; None for anything else, and for integers of more than 63 bits.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 2**63 or value != int(value):
        return None
    return int(value)


def parse_class_index(text: str, path: Path, where: str, first: int = 0) -> int:
    """Return ``text`` as a class index, counted from 0.

    Args:
        text: The number.
        path: The list, for the message.
        where: The line, for the message.
        first: Number of the first class in the list.

    Raises:
        InputError: The text is not an integer, or out of range.
    """
    value = parse_int(text, path, where) - first
    if not 0 <= value < MAX_CLASSES:
        raise InputError(
            f"{printable(path)}, {printable(where)}: {quote(text)} is not a class; number classes from {first}"
        )
    return value


def set_once(table: dict[str, T], key: str, value: T, path: Path) -> None:
    """Store the value that a list gives for a key.

    Raises:
        InputError: The list has given another value for the key.
    """
    if table.setdefault(key, value) != value:
        raise InputError(f"{printable(path)} has two different entries for {printable(key)}; keep one line")


def _read_printable(path: Path, content: str) -> str:
    text = read_text(path, content)
    if match := _CONTROL.search(text):
        line = 1 + text.count("\n", 0, match.start())
        raise InputError(
            f"{printable(path)}, line {line}: the control character {quote(match[0])} is not allowed; remove it, or "
            "save the file as UTF-8 if it has another encoding"
        )
    return text
