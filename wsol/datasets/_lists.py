"""Reading the text files that data sets come with."""

import csv
import math
from collections.abc import Iterator
from pathlib import Path

from wsol.errors import InputError


def read_text(path: Path, what: str) -> str:
    """Reads a UTF-8 text file, with or without a byte order mark.

    Args:
        path: The file.
        what: What it should hold, for the message.

    Raises:
        InputError: The file is missing or not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing: it should hold {what}; check --data-root") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); it should be a file with {what}") from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8"
        ) from error


def read_rows(path: Path, what: str, columns: int, separator: str | None = None) -> Iterator[list[str]]:
    """Yields the fields of each line that is not blank.

    Args:
        path: The file.
        what: What a line holds, for the message.
        columns: How many fields a line has; the first takes what is left over, so that it may hold separators.
        separator: What stands between fields; white space if None.

    Raises:
        InputError: The file is missing, not UTF-8, or a line has too few fields.
    """
    for number, line in enumerate(read_text(path, what).splitlines(), 1):
        if line.strip():
            fields = line.rsplit(separator, columns - 1)
            if len(fields) < columns:
                raise InputError(f"{path}, line {number}: {line!r} should be {what}")
            yield [field.strip() for field in fields]


def read_csv(path: Path, what: str) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Reads a CSV file with a header line.

    Args:
        path: The file.
        what: What it should hold, for the message.

    Returns:
        The column names, and each row's line number and fields by column.

    Raises:
        InputError: The file is missing, not UTF-8, or a row has more or fewer fields than the header.
    """
    reader = csv.DictReader(read_text(path, what).splitlines())
    rows = []
    try:
        columns = list(reader.fieldnames or ())
        for row in reader:
            if None in row or None in row.values():
                raise InputError(
                    f"{path}, line {reader.line_num}: the row has not the {len(columns)} fields of the header"
                )
            rows.append((reader.line_num, {key: value.strip() for key, value in row.items()}))
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num + 1}: {error}; mend the line") from error
    return columns, rows


def number(text: str, path: Path, where: str) -> float:
    """Returns ``text`` as a finite number.

    Raises:
        InputError: It is none; the message names ``path`` and ``where``.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{path}, {where}: {text!r} is not a number; mend the field")
    return value


def whole(text: str, path: Path, where: str) -> int:
    """Returns ``text`` as a whole number.

    Raises:
        InputError: It is none; the message names ``path`` and ``where``.
    """
    value = number(text, path, where)
    if value != int(value):
        raise InputError(f"{path}, {where}: {text!r} is not a whole number; mend the field")
    return int(value)
