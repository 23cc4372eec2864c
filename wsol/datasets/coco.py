"""Any data set in COCO's JSON format."""

import contextlib
import io
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from wsol.datasets.base import DATASETS, Dataset, Mask, Sample, Split, as_boxes
from wsol.errors import InputError


@DATASETS.register("coco")
def coco(root: Path, split: Split, annotations: str = "", images: str = "") -> Dataset:
    """Reads COCO-format JSON through pycocotools (Lin et al., "Microsoft COCO", ECCV 2014).

    A sample is one pair of image and category: GT-known localization is defined on it. Its id is the file name, with
    ``#category name`` behind it where an image holds several categories; top-1 classification asks for that category.
    Classes are the categories sorted by their id. Boxes are ``x, y, width, height`` from 0, half-open edges; the
    frame is the JSON's width and height. Crowd regions are ignored pixels, not boxes. Masks unite the category's
    instances (polygons or RLE).

    Args:
        root: Folder that holds annotations and images.
        split: ``train``, ``val`` or ``test``.
        annotations: The JSON file, relative to ``root``. By default ``annotations/instances_train2017.json`` for
            ``train`` and ``annotations/instances_val2017.json`` for ``test``; there is no default for ``val``.
        images: The folder of the images, relative to ``root``; by default ``train2017`` or ``val2017``.

    Raises:
        InputError: The file is missing or not COCO's JSON.
    """
    year = {"train": "train2017", "test": "val2017", "val": ""}[split]
    if not annotations and not year:
        raise InputError("coco: no val split of its own; give --dataset-arg annotations=FILE and images=DIR")
    path = root / (annotations or f"annotations/instances_{year}.json")
    folder = root / (images or (year if not annotations else ""))
    index = _index(path)
    categories = sorted(index.cats)
    labels = {category: label for label, category in enumerate(categories)}
    names = tuple(str(index.cats[category].get("name", category)) for category in categories)
    samples = []
    for image_id in sorted(index.imgs):
        name, size = _image(index.imgs[image_id], path)
        found = index.imgToAnns[image_id]
        present = sorted({a["category_id"] for a in found if not a.get("iscrowd")})
        for category in present:
            if category not in labels:
                raise InputError(
                    f"{path}: image {image_id} has the unknown category {category}; add it to 'categories'"
                )
            mine = [a for a in found if a["category_id"] == category]
            solid = [a for a in mine if not a.get("iscrowd")]
            boxes = as_boxes([_corners(a, path) for a in solid])
            samples.append(
                Sample(
                    name if len(present) == 1 else f"{name}#{names[labels[category]]}",
                    labels[category],
                    boxes,
                    "edges",
                    folder / name,
                    size,
                    partial(_mask, index, mine, size) if any(a.get("segmentation") for a in solid) else None,
                    coco=(image_id, category),
                )
            )
    return Dataset("coco", split, tuple(samples), names)


def _index(path: Path) -> Any:
    from pycocotools.coco import COCO  # noqa: PLC0415  # costs matplotlib

    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it prints as it goes
            index = COCO(str(path))
        _ = sorted(index.cats), sorted(index.imgs), index.imgToAnns
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing: it should hold COCO-format annotations; give annotations=FILE") from error
    except (OSError, ValueError, AssertionError, LookupError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path} is not COCO's JSON with images, annotations and categories ({error!r:.200})"
        ) from error
    return index


def _image(image: dict[str, Any], path: Path) -> tuple[str, tuple[int, int]]:
    name, width, height = (image.get(key) for key in ("file_name", "width", "height"))
    if not isinstance(name, str) or not isinstance(width, int) or not isinstance(height, int):
        raise InputError(f"{path}: image {image.get('id')} lacks file_name, width or height; mend it")
    return name, (width, height)


def _corners(annotation: dict[str, Any], path: Path) -> tuple[float, float, float, float]:
    try:
        x, y, width, height = map(float, annotation["bbox"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: annotation {annotation.get('id')} has no bbox of four numbers; mend it") from error
    return x, y, x + width, y + height


def _mask(index: Any, annotations: list[dict[str, Any]], size: tuple[int, int]) -> Mask:
    foreground, crowd = np.zeros(size[::-1], bool), np.zeros(size[::-1], bool)
    for annotation in annotations:
        if annotation.get("segmentation"):
            target = crowd if annotation.get("iscrowd") else foreground
            target |= index.annToMask(annotation).astype(bool)
    return Mask(foreground, crowd & ~foreground)
