"""Rows of a file of boxes: a CSV file, or results in COCO's JSON format; classes become indices of the data set."""

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wsol.datasets import Dataset
from wsol.errors import InputError
from wsol.io.text import json_integer, parse_number, read_csv, read_text

_CORNERS = ("x0", "y0", "x1", "y1")
_MAX_DIGITS = 9  # of a class index; more do not fit into 32 bits
_INDEX = re.compile(rf"([0-9]{{1,{_MAX_DIGITS}}})(?:\.0*)?")  # some programs write 3.0


@dataclass(frozen=True)
class BoxRow:
    """One box of a file.

    Attributes:
        where: Line or entry, for messages.
        key: Id of the image, as the file spells it.
        label: Class index, or COCO's category id; None without a class.
        score: Score; NaN without one.
        corners: ``(x0, y0, x1, y1)`` in the convention of the file.
    """

    where: str
    key: str
    label: int | None
    score: float
    corners: tuple[float, float, float, float]


def read_box_csv(path: Path, dataset: Dataset) -> Iterator[BoxRow]:
    """Yield the rows of a CSV file.

    Args:
        path: The file.
        dataset: The data set, which has the names of the classes.

    Raises:
        InputError: The file is malformed, or has a class that is none or ambiguous.
    """
    columns, rows = read_csv(path, ("image_id", *_CORNERS))
    lines: dict[str, int] = {}
    for line, row in rows if "class_id" in columns else ():
        lines.setdefault(row["class_id"], line)
    labels = _index_classes(lines, dataset, path)
    for line, row in rows:
        where = f"line {line}"
        score = parse_number(row["score"], path, where) if row.get("score") else np.nan
        x0, y0, x1, y1 = (_parse_float(row[column]) for column in _CORNERS)
        yield BoxRow(where, row["image_id"], labels.get(row.get("class_id", "")), score, (x0, y0, x1, y1))


def _index_classes(lines: Mapping[str, int], dataset: Dataset, path: Path) -> dict[str, int]:
    """Return the class index of every text in the column ``class_id``: all are indices, or all are names.

    Args:
        lines: The texts with the number of their first line.
        dataset: The data set, which has the names.
        path: The file, for messages.

    Raises:
        InputError: A text is neither, some are indices and others names, or both readings are possible and differ.
    """
    named: defaultdict[str, list[int]] = defaultdict(list)
    for label, name in enumerate(dataset.classes):
        named[name].append(label)
    numbers = {text: int(match[1]) for text in lines if (match := _INDEX.fullmatch(text))}
    names = {text: named.get(text) or named.get(str(numbers.get(text, text)), []) for text in lines}
    indices = {text: number for text, number in numbers.items() if _is_class_index(number, dataset)}
    for text, line in lines.items():
        if text not in indices and not names[text]:
            raise InputError(
                f"{path}, line {line}: {text!r:.80} is no class of {dataset.name}, which has {len(dataset.classes)}; "
                "fix the field"
            )
    if len(indices) < len(lines) and all(names.values()):
        for text, labels in names.items():
            if len(labels) > 1:
                raise InputError(
                    f"{path}, line {lines[text]}: {text!r:.80} is the name of the classes "
                    f"{' and '.join(map(str, labels))} of {dataset.name}; give class indices as class_id"
                )
        return {text: label for text, (label,) in names.items()}
    for text, index in indices.items():
        if names[text] not in ([], [index]):
            raise InputError(
                f"{path}, line {lines[text]}: {text!r:.80} is the index of one class of {dataset.name} and the name of "
                f"another (class {names[text][0]}); give the boxes as COCO's results, whose category_id is the index"
            )
    if len(indices) < len(lines):
        name, number = next(text for text in lines if text not in indices), next(iter(indices))
        raise InputError(
            f"{path}: the column class_id has names, such as {name!r:.80} in line {lines[name]}, and indices, such as "
            f"{number!r:.80} in line {lines[number]}; give one or the other"
        )
    return indices


def _is_class_index(number: int, dataset: Dataset) -> bool:
    """Return whether a class may have this index; lists without class names may lack the last classes."""
    if number < len(dataset.classes):
        return number >= 0
    return all(name == str(label) for label, name in enumerate(dataset.classes))


def read_box_json(path: Path, dataset: Dataset) -> Iterator[BoxRow]:
    """Yield the entries of results in COCO's format.

    Args:
        path: The file.
        dataset: The data set. Labels are its category ids if it has those of COCO, its class indices otherwise.

    Raises:
        InputError: As for ``read_box_csv``.
    """
    categories = {sample.coco[1] for sample in dataset if sample.coco}
    is_complete = len(categories) == len(dataset.classes)  # a category without images has an unknown id
    try:
        entries = json.loads(read_text(path, "COCO's results"), object_pairs_hook=_unique_dict)
        if not isinstance(entries, list):
            raise TypeError(f"it is a {type(entries).__name__}")
        for place, entry in enumerate(entries):
            x, y, width, height = map(_as_float, _require_type(entry["bbox"], list))
            score = _as_float(entry.get("score", np.nan))
            label = _as_int(entry["category_id"])
            if len(str(abs(label))) > _MAX_DIGITS:
                raise ValueError(f"category_id {label} is too large")
            is_known = label in categories if is_complete else bool(categories) or _is_class_index(label, dataset)
            if not is_known:
                raise InputError(
                    f"{path}, entry {place}: the category_id {label} is no class of {dataset.name}, which has "
                    f"{len(dataset.classes)}; fix the entry"
                )
            image_id = entry["image_id"]
            key = image_id if isinstance(image_id, str) else str(_as_int(image_id))
            yield BoxRow(f"entry {place}", key, label, score, (x, y, x + width, y + height))
    except InputError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise InputError(
            f"{path} is not COCO's results, a list of image_id, category_id, bbox and score ({error!r:.200}); fix "
            "the file"
        ) from error


def _unique_dict(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a dictionary of JSON's pairs; without this, the last of several values with one name would win."""
    entry = dict(pairs)
    if len(entry) < len(pairs):
        raise ValueError(f"an entry has the same name twice, among {', '.join(entry)}")
    return entry


def _require_type(value: Any, *kinds: type) -> Any:
    if type(value) not in kinds:
        raise TypeError(f"{value!r:.80} is no {' or '.join(kind.__name__ for kind in kinds)}")
    return value


def _as_int(value: Any) -> int:
    number = json_integer(value)
    if number is None:
        raise TypeError(f"{value!r:.80} is no integer")
    return number


def _as_float(value: Any) -> float:
    return float(_require_type(value, int, float))


def _parse_float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
