"""PASCAL VOC 2007 to 2012: 20 classes, with boxes and, for some images, masks."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsol.datasets._voc_xml import VocObject, read_objects
from wsol.datasets.base import (
    DATASETS,
    TENTH_OF_TRAIN,
    Dataset,
    Mask,
    MaskReader,
    Sample,
    Split,
    as_boxes,
    hold_out_tenth,
)
from wsol.errors import InputError
from wsol.io.display import list_first, printable, quote
from wsol.io.images import SUFFIXES, open_image
from wsol.io.parallel import map_small_files
from wsol.io.paths import FOLLOW_LINKS, find_by_stem, refuse_links, resolve, safe_join
from wsol.io.pixels import decode_stored
from wsol.io.text import read_rows
from wsol.runtime.progress import track

_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
_VOID = 255
_IMAGE_SETS = ("train", "val", "trainval", "test")


@DATASETS.register("voc")
def voc(
    root: Path,
    split: Split,
    year: str = "2007",
    image_set: str = "trainval",
    class_agnostic: str = "false",
    difficult: str = "keep",
    masks: str = "false",
    links: str = "",
) -> Dataset:
    """Read PASCAL VOC (Everingham et al., "The PASCAL Visual Object Classes Challenge", IJCV 2010).

    Layout: ``JPEGImages/*.jpg``, ``Annotations/*.xml``, ``ImageSets/Main/*.txt``, and with ``masks`` also
    ``ImageSets/Segmentation/*.txt`` and ``SegmentationClass/*.png``. Images may have any suffix.

    A sample is a pair of image and class, on which GT-known localization is defined: the metric ``corloc``, a mean over
    classes, is the CorLoc of weakly supervised detection. Its id is the image's, with the suffix ``#class`` where an
    image has several classes. With ``class_agnostic`` it is an image with the objects of all classes, so that
    ``gt_known_loc_acc`` is the CorLoc of object discovery, as LOST (Simeoni et al., BMVC 2021) and TokenCut (Wang et
    al., CVPR 2022) report it.

    Corners are one-based and inclusive. The frame is the XML's ``<size>``. In a mask the value of a class's palette
    entry is the object, 255 is ignored, and other classes are background.

    Splits: ``test`` is the image set ``image_set``: by default ``trainval``, as in papers on both CorLocs, which use
    the images that they train on. ``train`` has the labels of the image set itself if it is ``train`` or
    ``trainval``, and of the official ``train`` otherwise. ``val`` is the official ``val``, or, if that is part of
    ``test``, none for ``trainval`` and a seeded tenth of ``train`` for ``val``.

    Args:
        root: The folder ``VOC<year>``, ``VOCdevkit``, or its parent.
        split: ``train``, ``val`` or ``test``.
        year: ``2007`` to ``2012``; of the later years ``test`` is not public.
        image_set: ``train``, ``val``, ``trainval`` or ``test``, the list that ``test`` consists of.
        class_agnostic: ``true`` for one sample per image.
        difficult: ``keep`` for all objects, as in the code of the papers on CorLoc; ``drop`` to leave out objects that
            are marked as difficult, which the official evaluation of detection ignores, and samples without another.
        masks: ``true`` for the images of ``ImageSets/Segmentation``, which have masks.
        links: ``follow`` lets symbolic links lead out of the data root.

    Raises:
        InputError: A file of the layout is missing or malformed, or an argument has another value.
    """
    choices = _Choices(
        year,
        image_set,
        _parse_flag("class_agnostic", class_agnostic, "true", "false"),
        _parse_flag("difficult", difficult, "drop", "keep"),
        _parse_flag("masks", masks, "true", "false"),
    )
    home = _find_home(root, year)
    ids, origin = _select(home, split, choices)
    notes = [safe_join(home / "Annotations", f"{image_id}.xml", home) for image_id in ids]
    palettes = [home / "SegmentationClass" / f"{image_id}.png" for image_id in ids] if choices.masks else None
    if links != FOLLOW_LINKS:
        refuse_links([*notes, *(palettes or [])], [root])
    images = find_by_stem(home / "JPEGImages", SUFFIXES, 0)
    tracked = track(map_small_files(read_objects, notes), "voc annotations", len(notes), unit="file")
    samples: list[Sample] = []
    left_out: list[str] = []
    for i, (size, objects) in enumerate(tracked):
        image = resolve(home / "JPEGImages" / f"{ids[i]}.jpg", images)
        for name, label, members in _group(ids[i], _labels_of(objects, notes[i]), choices.class_agnostic):
            boxes = [objects[k].box for k in members if not (choices.drops_difficult and objects[k].difficult)]
            if boxes:
                mask = _Palette(palettes[i], None if choices.class_agnostic else label) if palettes else None
                samples.append(Sample(name, label, as_boxes(boxes), "one-based", image, size, mask))
            else:
                left_out.append(name)
    if ids and not samples:
        raise InputError(f"voc: none of the {len(ids)} images of {origin} has an object that counts; restore the files")
    note = f"samples without an object that counts are left out ({len(left_out)}): {list_first(left_out)}"
    return Dataset(
        "voc",
        split,
        tuple(samples),
        ("object",) if choices.class_agnostic else _CLASSES,
        origin,
        notes=(note,) if left_out else (),
    )


@dataclass(frozen=True)
class _Choices:
    """Arguments of the adapter, checked."""

    year: str
    image_set: str
    class_agnostic: bool
    drops_difficult: bool
    masks: bool

    def __post_init__(self) -> None:
        if not re.fullmatch("20(0[7-9]|1[0-2])", self.year):
            raise InputError(f"voc: year={quote(self.year)} should be 2007 to 2012")
        if self.image_set not in _IMAGE_SETS:
            raise InputError(f"voc: image_set={quote(self.image_set)} should be {', '.join(_IMAGE_SETS)}")


def _parse_flag(name: str, value: str, yes: str, no: str) -> bool:
    if value not in (yes, no):
        raise InputError(f"voc: {name}={quote(value)} should be {yes} or {no}")
    return value == yes


def _find_home(root: Path, year: str) -> Path:
    name = f"VOC{year}"
    places = (root / "VOCdevkit" / name, root / name, root)
    home = next((place for place in places if (place / "Annotations").is_dir()), None)
    if home is None or (home == root and root.name != name and re.fullmatch(r"VOC\d{4}", root.name)):
        raise InputError(
            f"{printable(root)} does not contain VOC {year}: expected VOCdevkit/{name}, {name}, or its folders "
            "JPEGImages, Annotations and ImageSets; check --data-root and --dataset-arg year=YEAR"
        )
    return home


def _select(home: Path, split: Split, choices: _Choices) -> tuple[list[str], str]:
    """Return the images of a split, and what a signature says of them and of the objects that count."""
    chosen = choices.image_set
    if split == "val" and chosen == "trainval":
        raise InputError(
            "voc: there is no val split, since test is the image set trainval, which contains it; choose tau otherwise "
            "(a number, or oracle), or give --dataset-arg image_set=test"
        )
    is_held_out = chosen == "val" and split != "test"
    name = chosen if split == "test" or (split == "train" and chosen == "trainval") else split
    name = "train" if is_held_out else name
    path = home / "ImageSets" / ("Segmentation" if choices.masks else "Main") / f"{name}.txt"
    ids = [row[0] for row in read_rows(path, "an image id", 1)]
    if is_held_out:
        ids = list(hold_out_tenth(ids, split))
    words = [choices.year, *(["segmentation"] if choices.masks else []), name]
    settings = ["-".join(words), *([TENTH_OF_TRAIN] if is_held_out and split == "val" else [])]
    settings += ["class-agnostic"] if choices.class_agnostic else []
    settings += ["without-difficult"] if choices.drops_difficult else []
    return ids, ",".join(settings)


def _labels_of(objects: Iterable[VocObject], path: Path) -> list[int]:
    unknown = next((each.name for each in objects if each.name not in _CLASSES), None)
    if unknown is not None:
        raise InputError(f"{printable(path)}: {quote(unknown)} is none of the 20 classes of VOC; restore the file")
    return [_CLASSES.index(each.name) for each in objects]


def _group(image_id: str, labels: Sequence[int], class_agnostic: bool) -> list[tuple[str, int, list[int]]]:
    """Return id, label and objects of each sample of an image."""
    if class_agnostic or not labels:
        return [(image_id, 0, list(range(len(labels))))]
    groups = {k: [i for i, label in enumerate(labels) if label == k] for k in sorted(set(labels))}
    return [(f"{image_id}#{_CLASSES[k]}" if len(groups) > 1 else image_id, k, ids) for k, ids in groups.items()]


@dataclass(frozen=True)
class _Palette(MaskReader):
    """Reads the pixels of a class, or of all classes, from an image whose palette entries are classes from 1 on."""

    path: Path
    label: int | None

    def __call__(self) -> Mask:
        missing = ": the image is listed in ImageSets/Segmentation; restore its mask"
        with open_image(self.path, InputError, missing, "restore the mask") as file:
            image = decode_stored(file)
            values: NDArray[np.uint8] = np.asarray(image)
        if image.mode not in ("P", "L") or ((values > len(_CLASSES)) & (values != _VOID)).any():
            raise InputError(
                f"{printable(self.path)} should have a palette with the classes 0 to {len(_CLASSES)} and {_VOID}; "
                "restore the mask"
            )
        void = values == _VOID
        return Mask((values > 0) & ~void if self.label is None else values == self.label + 1, void)

    def source(self) -> tuple[Sequence[Path], str]:
        return [self.path], "all" if self.label is None else _CLASSES[self.label]
