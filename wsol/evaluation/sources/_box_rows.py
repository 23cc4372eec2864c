"""Rows of a file of boxes: a CSV file, or results in COCO's JSON format; classes become indices of the data set."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wsol.datasets import Dataset
from wsol.errors import InputError
from wsol.evaluation.sources._class_names import MAX_DIGITS, index_classes, is_class_index
from wsol.io.text import json_integer, parse_number, read_csv, read_text

_CORNERS = ("x0", "y0", "x1", "y1")


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
    places: dict[str, str] = {}
    for line, row in rows if "class_id" in columns else ():
        places.setdefault(row["class_id"], f"line {line}")
    remedy = "give the boxes as COCO's results, whose category_id is the index"
    labels = index_classes(places, dataset, str(path), "class_id", remedy)
    for line, row in rows:
        where = f"line {line}"
        score = parse_number(row["score"], path, where) if row.get("score") else np.nan
        x0, y0, x1, y1 = (_parse_float(row[column]) for column in _CORNERS)
        yield BoxRow(where, row["image_id"], labels.get(row.get("class_id", "")), score, (x0, y0, x1, y1))


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
            if len(str(abs(label))) > MAX_DIGITS:
                raise ValueError(f"category_id {label} is too large")
            is_known = label in categories if is_complete else bool(categories) or is_class_index(label, dataset)
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
