"""Reading COCO's JSON: every field is checked before it is used, so that later code need not check it."""

import json
import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from wsol.errors import InputError, first_line
from wsol.io.display import printable
from wsol.io.text import read_text

_SECTIONS = ("images", "annotations", "categories")


@dataclass(frozen=True)
class ImageEntry:
    """An entry of ``images``: file name, and ``(width, height)``."""

    name: str
    size: tuple[int, int]


@dataclass(frozen=True)
class AnnotationEntry:
    """An entry of ``annotations``.

    Attributes:
        category: Id of its category.
        box: ``x, y, width, height``.
        crowd: Whether it is a region of many objects.
        segmentation: Polygons or RLE, as in the file; None where there is none.
    """

    category: int
    box: tuple[float, float, float, float]
    crowd: bool
    segmentation: Any


@dataclass(frozen=True)
class CocoFile:
    """The content of a file.

    Attributes:
        categories: Name of each category by id, sorted by id.
        images: Images by id, sorted by id.
        annotations: Annotations of each image by the image's id.
    """

    categories: dict[int, str]
    images: dict[int, ImageEntry]
    annotations: dict[int, list[AnnotationEntry]]


def read_coco(path: Path) -> CocoFile:
    """Read annotations.

    Args:
        path: The JSON file.

    Raises:
        InputError: The file is missing or not COCO's JSON, an id is not unique, or a field is missing or has another
            type.
    """
    data = _parse(path)
    sections: dict[str, Any] = {name: data.get(name) for name in _SECTIONS} if isinstance(data, dict) else {}
    if not sections or not all(
        isinstance(section, list) and all(isinstance(entry, dict) for entry in section) for section in sections.values()
    ):
        raise InputError(f"{printable(path)} is not COCO's JSON with images, annotations and categories; fix the file")
    categories = _index_by_id(sections["categories"], "category", path)
    images = _index_by_id(sections["images"], "image", path)
    annotations: dict[int, list[AnnotationEntry]] = defaultdict(list)
    for entry in sections["annotations"]:
        image_id = entry.get("image_id")
        if not _is_int(image_id):
            raise InputError(f"{printable(path)}: {_describe(entry)} has no integer image_id; fix the annotation")
        if image_id in images:
            annotations[image_id].append(_annotation_entry(entry, categories, path))
    return CocoFile(
        {key: _to_text(entry.get("name", key)) for key, entry in categories.items()},
        {key: _image_entry(key, entry, path) for key, entry in images.items()},
        annotations,
    )


def _parse(path: Path) -> Any:
    text = read_text(path, "COCO-format annotations, or give annotations=FILE")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{printable(path)} is not COCO's JSON with images, annotations and categories "
            f"({first_line(error):.200}); fix the file"
        ) from error


def _index_by_id(entries: Iterable[dict[str, Any]], kind: str, path: Path) -> dict[int, dict[str, Any]]:
    index: dict[int, dict[str, Any]] = {}
    for entry in entries:
        key = entry.get("id")
        if not _is_int(key):
            raise InputError(f"{printable(path)}: the {kind} id {printable(key)} should be an integer; fix the entry")
        if key in index:
            raise InputError(f"{printable(path)}: two entries have the {kind} id {key}; keep one")
        index[key] = entry
    return dict(sorted(index.items()))


def _image_entry(key: int, entry: dict[str, Any], path: Path) -> ImageEntry:
    name, width, height = (entry.get(field) for field in ("file_name", "width", "height"))
    if not isinstance(name, str) or not _is_int(width) or not _is_int(height):
        raise InputError(f"{printable(path)}: image {key} lacks file_name, width or height; fix the entry")
    return ImageEntry(name, (width, height))


def _annotation_entry(entry: dict[str, Any], categories: dict[int, Any], path: Path) -> AnnotationEntry:
    category, box = entry.get("category_id"), entry.get("bbox")
    if not _is_int(category) or category not in categories:
        raise InputError(
            f"{printable(path)}: image {entry['image_id']} has the unknown category {printable(category)} as a "
            "category_id; add it to 'categories'"
        )
    if not isinstance(box, list) or len(box) != 4 or not all(map(math.isfinite, map(_to_float, box))):
        raise InputError(f"{printable(path)}: {_describe(entry)} has no bbox of four numbers; fix the annotation")
    x, y, width, height = map(_to_float, box)
    return AnnotationEntry(
        category, (x, y, width, height), bool(entry.get("iscrowd")), entry.get("segmentation") or None
    )


def _describe(entry: dict[str, Any]) -> str:
    return f"annotation {printable(entry.get('id'))}"


def _is_int(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63


def _to_float(value: Any) -> float:
    """Return a JSON number as float, and NaN for any other value or one that is too large."""
    try:
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    except OverflowError:
        return math.nan


def _to_text(name: Any) -> str:
    return name if isinstance(name, str) else str(name)[:100]
