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

    A sample is a pair of image and category, on which GT-known localization is defined. Its id is the file name, with
    the suffix ``#category name`` where an image has several categories; top-1 classification expects that category.
    Classes are the categories sorted by id. Boxes are ``x, y, width, height`` from 0, half-open edges; the frame is the
    JSON's width and height. Crowd regions are ignored pixels, not boxes. A mask is the union of the category's
    instances (polygons or RLE).

    Args:
        root: Folder with annotations and images.
        split: ``train``, ``val`` or ``test``.
        annotations: The JSON file, relative to ``root``. By default ``annotations/instances_train2017.json`` for
            ``train`` and ``annotations/instances_val2017.json`` for ``test``; there is no default for ``val``.
        images: The folder of the images, relative to ``root``; by default ``train2017`` or ``val2017``, or ``root``
            if ``annotations`` is given.

    Raises:
        InputError: The file is missing or not COCO's JSON.
    """
    year = {"train": "train2017", "test": "val2017", "val": ""}[split]
    if not annotations and not year:
        raise InputError("coco: there is no official val split; give --dataset-arg annotations=FILE and images=DIR")
    path = root / (annotations or f"annotations/instances_{year}.json")
    folder = root / (images or (year if not annotations else ""))
    content = read_coco(path)
    labels = {category: label for label, category in enumerate(content.categories)}
    names = tuple(content.categories.values())
    samples = []
    for image_id, image in content.images.items():
        entries = content.annotations.get(image_id, [])
        file = safe_join(folder, image.name, path)
        categories = sorted({entry.category for entry in entries if not entry.crowd})
        for category in categories:
            regions = [entry for entry in entries if entry.category == category]
            objects = [entry for entry in regions if not entry.crowd]
            name = image.name if len(categories) == 1 else f"{image.name}#{names[labels[category]]}"
            samples.append(
                Sample(
                    name,
                    labels[category],
                    as_boxes([(x, y, x + w, y + h) for x, y, w, h in (entry.box for entry in objects)]),
                    "edges",
                    file,
                    image.size,
                    partial(_read_mask, path, name, regions, image.size)
                    if any(entry.segmentation for entry in objects)
                    else None,
                    coco=(image_id, category),
                )
            )
    return Dataset("coco", split, tuple(samples), names)


def _read_mask(path: Path, name: str, regions: Sequence[AnnotationEntry], size: tuple[int, int]) -> Mask:
    foreground, crowd = np.zeros(size[::-1], bool), np.zeros(size[::-1], bool)
    for region in regions:
        if region.segmentation:
            target = crowd if region.crowd else foreground
            try:
                target |= decode_segmentation(region.segmentation, size)
            except ValueError as error:
                raise InputError(
                    f"{printable(path)}: a segmentation of {printable(name)} is invalid ({error}); fix the annotation"
                ) from error
    return Mask(foreground, crowd & ~foreground)
