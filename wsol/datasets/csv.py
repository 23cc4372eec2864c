"""A folder of images and a CSV file: the way in for one's own data."""

import math
from pathlib import Path
from typing import get_args

from wsol.datasets.base import DATASETS, TENTH_OF_TRAIN, Corners, Dataset, Sample, Split, as_boxes, hold_out_tenth
from wsol.errors import InputError
from wsol.io.display import printable, quote
from wsol.io.paths import safe_join
from wsol.io.text import MAX_CLASSES, parse_int, parse_number, read_csv

_BOX = ("x0", "y0", "x1", "y1")
_ALIASES = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


@DATASETS.register("csv")
def csv(root: Path, split: Split, file: str = "boxes.csv", images: str = ".", corners: str = "edges") -> Dataset:
    """Read ``image_id,label,x0,y0,x1,y1``, one row a box.

    ``image_id`` is the image's path below ``images``. Labels are whole numbers from 0 or names; names become classes
    in sorted order. Columns ``width,height`` name the frame of the boxes (else it is the image file's own) and a column
    ``split`` says which rows are ``train``, ``val`` and ``test``. Without it every row is ``test``.
    If the column names no ``val``, ``val`` is a seeded tenth of ``train``. Boxes may be left empty in ``train``.

    Args:
        root: Folder that holds the file and the images.
        split: ``train``, ``val`` or ``test``.
        file: The CSV file, relative to ``root``.
        images: The folder of the images, relative to ``root``.
        corners: What the numbers mean: ``edges`` (half-open, the top-left pixel alone is 0,0,1,1), ``inclusive``
            (0,0,0,0) or ``one-based`` (1,1,1,1).

    Raises:
        InputError: A column is missing, a field is malformed, or rows of one image disagree.
    """
    if corners not in get_args(Corners):
        raise InputError(f"csv: unknown corners={corners!r}; known: {', '.join(get_args(Corners))}")
    convention: Corners = corners  # type: ignore[assignment]  # checked in the line above
    path = root / file
    columns, rows = read_csv(path, "image_id,label,x0,y0,x1,y1")
    absent = [column for column in ("image_id", "label", *_BOX) if column not in columns]
    if absent:
        raise InputError(
            f"{path} lacks the columns {', '.join(absent)}; its header should be image_id,label,x0,y0,x1,y1"
        )
    facts: dict[str, tuple[str, tuple[int, int] | None, str]] = {}
    boxes: dict[str, list[list[float]]] = {}
    for line, row in rows:
        image, where = row["image_id"], f"line {line}"
        fact = row["label"], _size(row, path, where), _split(row, path, where)
        if facts.setdefault(image, fact) != fact:
            raise InputError(
                f"{path}, {where}: label, size or split of {printable(image)} differ from an earlier row; make them "
                "agree"
            )
        if any(row[corner] for corner in _BOX):
            boxes.setdefault(image, []).append([parse_number(row[corner], path, where) for corner in _BOX])
    index, names = _labels({label for label, _, _ in facts.values()}, path)
    parts: dict[str, list[Sample]] = {"train": [], "val": [], "test": []}
    for image, (label, size, part) in facts.items():
        box = as_boxes(boxes.get(image, []))
        parts[part].append(Sample(image, index[label], box, convention, safe_join(root / images, image, path), size))
    if split == "test" or parts["val"]:
        return Dataset("csv", split, tuple(parts[split]), names)
    return Dataset("csv", split, hold_out_tenth(parts["train"], split), names, TENTH_OF_TRAIN if split == "val" else "")


def _size(row: dict[str, str], path: Path, where: str) -> tuple[int, int] | None:
    if not row.get("width") and not row.get("height"):
        return None
    return parse_int(row.get("width", ""), path, where), parse_int(row.get("height", ""), path, where)


def _split(row: dict[str, str], path: Path, where: str) -> str:
    word = row.get("split", "test")
    if word not in _ALIASES:
        raise InputError(f"{path}, {where}: unknown split {quote(word)}; write train, val or test")
    return _ALIASES[word]


def _labels(words: set[str], path: Path) -> tuple[dict[str, int], tuple[str, ...]]:
    """Return the label of each word and the class names: whole numbers mean themselves, names their sorted place."""
    numeric = {word for word in words if _is_number(word)}
    if numeric != words or not words:
        if "" in words or numeric:
            odd = "" if "" in words else min(numeric)
            raise InputError(
                f"{path}: the label {quote(odd)} stands among names; give every row a name, or every row a number"
            )
        names = tuple(sorted(words))
        return {name: label for label, name in enumerate(names)}, names
    index = {word: parse_int(word, path, "the column label") for word in words}
    if min(index.values()) < 0 or max(index.values()) >= MAX_CLASSES:
        raise InputError(
            f"{path}: labels go from {min(index.values())} to {max(index.values())}; number classes from 0"
        )
    return index, tuple(map(str, range(1 + max(index.values()))))


def _is_number(word: str) -> bool:
    try:
        return math.isfinite(float(word))  # "nan" and "inf" are names
    except ValueError:
        return False
