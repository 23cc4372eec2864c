"""Any data set in COCO's JSON format."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from wsol.datasets._coco_json import AnnotationEntry, read_coco
from wsol.datasets._coco_masks import decode_segmentation
from wsol.datasets.base import DATASETS, Dataset, Mask, Sample, Split, as_boxes
from wsol.errors import InputError
from wsol.io.display import printable
from wsol.io.paths import safe_join


@DATASETS.register("coco")
def coco(root: Path, split: Split, annotations: str = "", images: str = "") -> Dataset:
    """Read COCO-format JSON (Lin et al., "Microsoft COCO", ECCV 2014).

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
    found = read_coco(path)
    labels = {category: label for label, category in enumerate(found.categories)}
    names = tuple(found.categories.values())
    samples = []
    for image_id, picture in found.pictures.items():
        regions = found.regions.get(image_id, [])
        file = safe_join(folder, picture.name, path)
        present = sorted({region.category for region in regions if not region.crowd})
        for category in present:
            mine = [region for region in regions if region.category == category]
            solid = [region for region in mine if not region.crowd]
            name = picture.name if len(present) == 1 else f"{picture.name}#{names[labels[category]]}"
            samples.append(
                Sample(
                    name,
                    labels[category],
                    as_boxes([(x, y, x + w, y + h) for x, y, w, h in (region.box for region in solid)]),
                    "edges",
                    file,
                    picture.size,
                    partial(_mask, path, name, mine, picture.size) if any(r.segmentation for r in solid) else None,
                    coco=(image_id, category),
                )
            )
    return Dataset("coco", split, tuple(samples), names)


def _mask(path: Path, name: str, regions: Sequence[AnnotationEntry], size: tuple[int, int]) -> Mask:
    foreground, crowd = np.zeros(size[::-1], bool), np.zeros(size[::-1], bool)
    for region in regions:
        if region.segmentation:
            target = crowd if region.crowd else foreground
            try:
                target |= decode_segmentation(region.segmentation, size)
            except ValueError as error:
                raise InputError(
                    f"{printable(path)}: a segmentation of {printable(name)} is broken: {error}; mend it"
                ) from error
    return Mask(foreground, crowd & ~foreground)
