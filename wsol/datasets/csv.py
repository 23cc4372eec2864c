"""A folder of images and a CSV file: the format for your own data."""

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
    """Read a CSV file with the columns ``image_id,label,x0,y0,x1,y1``, one row per box.

    ``image_id`` is the image's path below ``images``. Labels are integers from 0 or names; names become classes in
    sorted order. The optional columns ``width,height`` give the frame of the boxes (by default the image file's own),
    and the optional column ``split`` assigns rows to ``train``, ``val`` and ``test``. Without it every row is ``test``.
    If no row is ``val``, ``val`` is a seeded tenth of ``train``. Boxes may be empty in ``train``.

    Args:
        root: Folder with the file and the images.
        split: ``train``, ``val`` or ``test``.
        file: The CSV file, relative to ``root``.
        images: The folder of the images, relative to ``root``.
        corners: Convention of the corners: ``edges`` (half-open, the box of the top-left pixel is 0,0,1,1),
            ``inclusive`` (0,0,0,0) or ``one-based`` (1,1,1,1).

    Raises:
        InputError: A column is missing, a field is malformed, or rows of one image disagree.
    """
    if corners not in get_args(Corners):
        raise InputError(f"csv: unknown corners={corners!r}; known: {', '.join(get_args(Corners))}")
    convention: Corners = corners  # type: ignore[assignment]  # checked above
    path = root / file
    _, rows = read_csv(path, ("image_id", "label", *_BOX))
    attributes: dict[str, tuple[str, tuple[int, int] | None, str]] = {}
    boxes: dict[str, list[list[float]]] = {}
    for line, row in rows:
        image, where = row["image_id"], f"line {line}"
        values = row["label"], _parse_size(row, path, where), _parse_split(row, path, where)
        if attributes.setdefault(image, values) != values:
            raise InputError(
                f"{path}, {where}: label, size or split of {printable(image)} differ from an earlier row; make them "
                "equal"
            )
        if any(row[corner] for corner in _BOX):
            boxes.setdefault(image, []).append([parse_number(row[corner], path, where) for corner in _BOX])
    index, names = _index_labels({label for label, _, _ in attributes.values()}, path)
    splits: dict[str, list[Sample]] = {"train": [], "val": [], "test": []}
    for image, (label, size, name) in attributes.items():
        box = as_boxes(boxes.get(image, []))
        splits[name].append(Sample(image, index[label], box, convention, safe_join(root / images, image, path), size))
    if split == "test" or splits["val"]:
        selected, origin = tuple(splits[split]), ""
    else:
        selected = hold_out_tenth(splits["train"], split)
        origin = TENTH_OF_TRAIN if split == "val" else ""
    if not selected:
        raise InputError(f"{path} has no row of the split {split}; {_how_to_split(split, len(splits['train']))}")
    return Dataset("csv", split, selected, names, origin)


def _how_to_split(split: Split, train_rows: int) -> str:
    if split == "val":
        return f"a tenth of its {train_rows} train images is none: write val into a column split for some rows"
    advice = f"write {split} into a column split for the rows that belong to it (without the column every row is test)"
    return f"{advice}, and val for others unless wsol.train gets --no-validation" if split == "train" else advice


def _parse_size(row: dict[str, str], path: Path, where: str) -> tuple[int, int] | None:
    if not row.get("width") and not row.get("height"):
        return None
    return parse_int(row.get("width", ""), path, where), parse_int(row.get("height", ""), path, where)


def _parse_split(row: dict[str, str], path: Path, where: str) -> str:
    name = row.get("split", "test")
    if name.lower() not in _ALIASES:
        raise InputError(f"{path}, {where}: unknown split {quote(name)}; write train, val or test")
    return _ALIASES[name.lower()]


def _index_labels(labels: set[str], path: Path) -> tuple[dict[str, int], tuple[str, ...]]:
    """Return the class index of each label and the class names: integers are indices, names are sorted."""
    numeric = {label for label in labels if _is_number(label)}
    if numeric != labels or not labels:
        if "" in labels or numeric:
            odd = "" if "" in labels else min(numeric)
            raise InputError(
                f"{path}: the label {quote(odd)} is mixed with names; give every row a name, or every row a number"
            )
        names = tuple(sorted(labels))
        return {name: label for label, name in enumerate(names)}, names
    index = {label: parse_int(label, path, "the column label") for label in labels}
    if min(index.values()) < 0 or max(index.values()) >= MAX_CLASSES:
        raise InputError(
            f"{path}: labels range from {min(index.values())} to {max(index.values())}; number classes from 0"
        )
    return index, tuple(map(str, range(1 + max(index.values()))))


def _is_number(label: str) -> bool:
    try:
        return math.isfinite(float(label))  # "nan" and "inf" are names
    except ValueError:
        return False
