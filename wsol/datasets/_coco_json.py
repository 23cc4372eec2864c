"""Reading COCO's JSON: every field looked at before it is used, so that nothing further on has to."""

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

_PARTS = ("images", "annotations", "categories")


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
        segmentation: As the file has it, polygons or RLE; None where there is none.
    """

    category: int
    box: tuple[float, float, float, float]
    crowd: bool
    segmentation: Any


@dataclass(frozen=True)
class Annotations:
    """What a file holds.

    Attributes:
        categories: Name of each category by its id, sorted by id.
        pictures: Images by id, sorted by id.
        regions: Annotations of each image by its id.
    """

    categories: dict[int, str]
    pictures: dict[int, ImageEntry]
    regions: dict[int, list[AnnotationEntry]]


def read_coco(path: Path) -> Annotations:
    """Read annotations.

    Args:
        path: The JSON file.

    Raises:
        InputError: The file is missing or not COCO's JSON, an id stands twice, or a field is missing or of another
            type.
    """
    data = _parsed(path)
    parts: dict[str, Any] = {part: data.get(part) for part in _PARTS} if isinstance(data, dict) else {}
    if not parts or not all(
        isinstance(part, list) and all(isinstance(entry, dict) for entry in part) for part in parts.values()
    ):
        raise InputError(f"{printable(path)} is not COCO's JSON with images, annotations and categories; mend it")
    categories = _by_id(parts["categories"], "category", path)
    images = _by_id(parts["images"], "image", path)
    regions: dict[int, list[AnnotationEntry]] = defaultdict(list)
    for entry in parts["annotations"]:
        image_id = entry.get("image_id")
        if not _is_whole(image_id):
            raise InputError(f"{printable(path)}: {_annotation(entry)} has no image_id that is a whole number; mend it")
        if image_id in images:
            regions[image_id].append(_region(entry, categories, path))
    return Annotations(
        {key: _text(entry.get("name", key)) for key, entry in categories.items()},
        {key: _picture(key, entry, path) for key, entry in images.items()},
        regions,
    )


def _parsed(path: Path) -> Any:
    text = read_text(path, "COCO-format annotations, or give annotations=FILE")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{printable(path)} is not COCO's JSON with images, annotations and categories "
            f"({first_line(error):.200}); mend it"
        ) from error


def _by_id(entries: Iterable[dict[str, Any]], what: str, path: Path) -> dict[int, dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    for entry in entries:
        key = entry.get("id")
        if not _is_whole(key):
            raise InputError(f"{printable(path)}: the {what} id {printable(key)} should be a whole number; mend it")
        if key in found:
            raise InputError(f"{printable(path)}: two entries have the {what} id {key}; keep one")
        found[key] = entry
    return dict(sorted(found.items()))


def _picture(key: int, entry: dict[str, Any], path: Path) -> ImageEntry:
    name, width, height = (entry.get(field) for field in ("file_name", "width", "height"))
    if not isinstance(name, str) or not _is_whole(width) or not _is_whole(height):
        raise InputError(f"{printable(path)}: image {key} lacks file_name, width or height; mend it")
    return ImageEntry(name, (width, height))


def _region(entry: dict[str, Any], categories: dict[int, Any], path: Path) -> AnnotationEntry:
    category, box = entry.get("category_id"), entry.get("bbox")
    if not _is_whole(category) or category not in categories:
        raise InputError(
            f"{printable(path)}: image {entry['image_id']} has the unknown category {printable(category)} as a "
            "category_id; add it to 'categories'"
        )
    if not isinstance(box, list) or len(box) != 4 or not all(map(math.isfinite, map(_float, box))):
        raise InputError(f"{printable(path)}: {_annotation(entry)} has no bbox of four numbers; mend it")
    x, y, width, height = map(_float, box)
    return AnnotationEntry(
        category, (x, y, width, height), bool(entry.get("iscrowd")), entry.get("segmentation") or None
    )


def _annotation(entry: dict[str, Any]) -> str:
    return f"annotation {printable(entry.get('id'))}"


def _is_whole(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63


def _float(value: Any) -> float:
    """Return a JSON number, and NaN for what is none or too large."""
    try:
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    except OverflowError:
        return math.nan


def _text(name: Any) -> str:
    return name if isinstance(name, str) else str(name)[:100]
