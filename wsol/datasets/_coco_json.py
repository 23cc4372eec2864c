"""Reading COCO's JSON: every field is checked before it is used, so that later code need not check it."""

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsol.errors import InputError, first_line
from wsol.io.display import list_first, printable, quote
from wsol.io.text import json_integer, read_text

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
        notes: What was left out or renamed, one sentence each.
    """

    categories: dict[int, str]
    images: dict[int, ImageEntry]
    annotations: dict[int, list[AnnotationEntry]]
    notes: tuple[str, ...]


def read_coco(path: Path) -> CocoFile:
    """Read annotations.

    Annotations whose box has no width or no height (there are two in COCO's train2017) and those of images that are not
    listed are left out and noted. Categories of one name get their ids as suffixes.

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
    entries = {key: _image_entry(key, entry, path) for key, entry in images.items()}
    annotations: dict[int, list[AnnotationEntry]] = defaultdict(list)
    empty, strays = [], []
    for entry in sections["annotations"]:
        image_id = json_integer(entry.get("image_id"))
        if image_id is None:
            raise InputError(f"{printable(path)}: {_describe(entry)} has no integer image_id; fix the annotation")
        if image_id not in images:
            strays.append(f"{printable(entry.get('id'))} (image {image_id})")
            continue
        annotation = _annotation_entry(entry, image_id, categories, path)
        if _is_empty(annotation):
            empty.append(f"{printable(entry.get('id'))} ({printable(entries[image_id].name)})")
        else:
            annotations[image_id].append(annotation)
    names, renamed = _name_categories(categories)
    lists = {
        "annotations without width or height are left out": empty,
        "annotations of images that the file does not list are left out": strays,
        "categories of one name are told apart by their ids": renamed,
    }
    notes = tuple(
        f"{printable(path.name)}: {what} ({len(items)}): {list_first(items)}" for what, items in lists.items() if items
    )
    return CocoFile(names, entries, annotations, notes)


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
        value = entry.get("id")
        key = json_integer(value)
        if key is None:
            shown = quote(value) if isinstance(value, str) else printable(value)
            raise InputError(f"{printable(path)}: the {kind} id {shown} should be an integer; fix the entry")
        if key in index:
            raise InputError(f"{printable(path)}: two entries have the {kind} id {key}; keep one")
        index[key] = entry
    return dict(sorted(index.items()))


def _image_entry(key: int, entry: dict[str, Any], path: Path) -> ImageEntry:
    name, width, height = entry.get("file_name"), json_integer(entry.get("width")), json_integer(entry.get("height"))
    if not isinstance(name, str) or width is None or height is None:
        raise InputError(f"{printable(path)}: image {key} lacks file_name, width or height; fix the entry")
    return ImageEntry(name, (width, height))


def _annotation_entry(entry: dict[str, Any], image_id: int, categories: dict[int, Any], path: Path) -> AnnotationEntry:
    category, box, crowd = json_integer(entry.get("category_id")), entry.get("bbox"), entry.get("iscrowd") or 0
    if category is None or category not in categories:
        raise InputError(
            f"{printable(path)}: image {image_id} has the unknown category {printable(entry.get('category_id'))} as a "
            "category_id; add it to 'categories'"
        )
    if crowd not in (0, 1):
        raise InputError(
            f"{printable(path)}: {_describe(entry)} has the iscrowd {quote(_to_text(crowd))}, not 0 or 1; fix the "
            "annotation"
        )
    if not isinstance(box, list) or len(box) != 4 or not all(map(math.isfinite, map(_to_float, box))):
        raise InputError(f"{printable(path)}: {_describe(entry)} has no bbox of four numbers; fix the annotation")
    x, y, width, height = map(_to_float, box)
    segmentation = entry.get("segmentation")
    if isinstance(segmentation, list):
        segmentation = [polygon for polygon in segmentation if polygon != []]
    return AnnotationEntry(category, (x, y, width, height), bool(crowd), segmentation or None)


def _is_empty(annotation: AnnotationEntry) -> bool:
    """Return whether an object has no extent; one of negative extent is refused later."""
    x, y, width, height = annotation.box
    return not annotation.crowd and ((width >= 0 and x + width == x) or (height >= 0 and y + height == y))


def _name_categories(categories: dict[int, dict[str, Any]]) -> tuple[dict[int, str], list[str]]:
    """Return the name of each category, and those that had to be told apart."""
    names = {key: _to_text(key if entry.get("name") is None else entry["name"]) for key, entry in categories.items()}
    counts = Counter(names.values())
    shared = {key: f"{name} (category {key})" for key, name in names.items() if counts[name] > 1}
    return names | shared, [quote(name) for name in shared.values()]


def _describe(entry: dict[str, Any]) -> str:
    return f"annotation {printable(entry.get('id'))}"


def _to_float(value: Any) -> float:
    """Return a JSON number as float, and NaN for any other value or one that is too large."""
    try:
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    except OverflowError:
        return math.nan


def _to_text(name: Any) -> str:
    return name if isinstance(name, str) else str(name)[:100]
