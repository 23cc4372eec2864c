"""Any data set in COCO's JSON format."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wsol.datasets._coco_json import AnnotationEntry, read_coco
from wsol.datasets._coco_masks import decode_segmentation
from wsol.datasets.base import DATASETS, Dataset, Mask, MaskReader, Sample, Split, as_boxes
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

    Annotations whose box has no width or no height and those of images that are not listed are left out; a note of the
    run counts them. Several categories of one name are told apart by their ids.

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
                    _Segmentations(path, name, regions, image.size)
                    if any(entry.segmentation for entry in objects)
                    else None,
                    coco=(image_id, category),
                )
            )
    if not samples:
        reason = "; ".join(content.notes) or "none of its images has an annotation"
        raise InputError(f"{printable(path)} has no box to evaluate ({reason}); fix the annotations")
    return Dataset("coco", split, tuple(samples), names, notes=content.notes)


@dataclass(frozen=True)
class _Segmentations(MaskReader):
    """Rasterizes the annotations of one category in an image."""

    path: Path
    name: str
    regions: Sequence[AnnotationEntry]
    size: tuple[int, int]

    def __call__(self) -> Mask:
        foreground, crowd = np.zeros(self.size[::-1], bool), np.zeros(self.size[::-1], bool)
        for region in self.regions:
            if region.segmentation:
                target = crowd if region.crowd else foreground
                try:
                    target |= decode_segmentation(region.segmentation, self.size)
                except ValueError as error:
                    raise InputError(
                        f"{printable(self.path)}: a segmentation of {printable(self.name)} is invalid ({error}); fix "
                        "the annotation"
                    ) from error
        return Mask(foreground, crowd & ~foreground)

    def source(self) -> tuple[Sequence[Path], str]:
        return (), json.dumps([[region.crowd, region.segmentation] for region in self.regions])
