"""Reading the text files that data sets come with."""

import csv
import io
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from wsol.errors import InputError
from wsol.io.display import printable, quote
from wsol.io.paths import check_file

T = TypeVar("T")

MAX_CLASSES = 1_000_000
"""A larger number is no class but something else, an image id for one."""

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")


def read_text(path: Path, what: str) -> str:
    """Read a UTF-8 text file, with or without a byte order mark; every line ends in a line feed.

    Args:
        path: The file.
        what: What it should hold, for the message.

    Raises:
        InputError: The file is missing, no file, or not UTF-8.
    """
    try:
        check_file(path)
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise InputError(f"{printable(path)} is missing: it should hold {what}; check --data-root") from error
    except OSError as error:
        raise InputError(
            f"{printable(path)} cannot be read ({error.strerror}); it should be a file with {what}"
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"{printable(path)} is not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8"
        ) from error


def read_lines(path: Path, what: str) -> list[str]:
    """Read the lines of a UTF-8 text file, without their ends.

    Args:
        path: The file.
        what: What it should hold, for the message.

    Raises:
        InputError: As for ``read_text``, or the text has control characters, which a list never means.
    """
    return _printable(path, what).split("\n")


def read_rows(path: Path, what: str, columns: int, separator: str | None = None) -> Iterator[list[str]]:
    """Yield the fields of each line that is not blank.

    Args:
        path: The file.
        what: What a line holds, for the message.
        columns: How many fields a line has; the first takes what is left over, so that it may hold separators.
        separator: What stands between fields; white space if None.

    Raises:
        InputError: As for ``read_lines``, or a line has too few fields.
    """
    for number, line in enumerate(read_lines(path, what), 1):
        if line.strip():
            fields = line.rsplit(separator, columns - 1)
            if len(fields) < columns:
                raise InputError(f"{printable(path)}, line {number}: {quote(line)} should be {what}")
            yield [field.strip() for field in fields]


def read_csv(path: Path, what: str) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Read a CSV file with a header line. Fields in quotes may hold separators and line breaks.

    Args:
        path: The file.
        what: What it should hold, for the message.

    Returns:
        The column names, and each row's line number and fields by column.

    Raises:
        InputError: As for ``read_lines``, a column stands twice, a row has more or fewer fields than the header, or a
            quote is not closed.
    """
    reader = csv.reader(io.StringIO(_printable(path, what)), strict=True)
    rows, line = [], 1
    try:
        columns = next(reader, [])
        twice = next((column for column in columns if columns.count(column) > 1), None)
        if twice is not None:
            raise InputError(f"{printable(path)} has the column {quote(twice)} twice; a header names each once")
        line = reader.line_num + 1
        for row in reader:
            if row and len(row) != len(columns):
                raise InputError(
                    f"{printable(path)}, line {line}: the row has not the {len(columns)} fields of the header"
                )
            if row:
                rows.append((line, dict(zip(columns, map(str.strip, row), strict=True))))
            line = reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"{printable(path)}, line {line}: {error}; mend the line") from error
    return columns, rows


def parse_number(text: str, path: Path, where: str) -> float:
    """Return ``text`` as a finite number.

    Raises:
        InputError: It is none; the message names ``path`` and ``where``.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{printable(path)}, {printable(where)}: {quote(text)} is not a number; mend the field")
    return value


def parse_int(text: str, path: Path, where: str) -> int:
    """Return ``text`` as a whole number.

    Raises:
        InputError: It is none; the message names ``path`` and ``where``.
    """
    value = parse_number(text, path, where)
    if value != int(value):
        raise InputError(f"{printable(path)}, {printable(where)}: {quote(text)} is not a whole number; mend the field")
    return int(value)


def parse_class_index(text: str, path: Path, where: str, first: int = 0) -> int:
    """Return ``text`` as a class index, counted from 0.

    Args:
        text: The number.
        path: The list, for the message.
        where: The line, for the message.
        first: What the list calls the first class.

    Raises:
        InputError: It is no whole number, or out of range.
    """
    value = parse_int(text, path, where) - first
    if not 0 <= value < MAX_CLASSES:
        raise InputError(
            f"{printable(path)}, {printable(where)}: {quote(text)} is no class; number classes from {first}"
        )
    return value


def set_once(table: dict[str, T], key: str, value: T, path: Path) -> None:
    """Enter what a list says of an image.

    Raises:
        InputError: The list said something else before.
    """
    if table.setdefault(key, value) != value:
        raise InputError(f"{printable(path)} says two things of {printable(key)}; keep one line")


def _printable(path: Path, what: str) -> str:
    text = read_text(path, what)
    if found := _CONTROL.search(text):
        line = 1 + text.count("\n", 0, found.start())
        raise InputError(
            f"{printable(path)}, line {line}: there is the control character {quote(found[0])}; take it out, or save "
            "the "
            "file as UTF-8 if it has another encoding"
        )
    return text
