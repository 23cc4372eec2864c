"""ILSVRC 2012, classification and localization: the 1,000 classes of ImageNet."""

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from wsol.datasets._ilsvrc_xml import read_annotation, read_wnids
from wsol.datasets._synsets import read_synsets
from wsol.datasets.base import DATASETS, TENTH_OF_TRAIN, Dataset, Sample, Split, as_boxes, hold_out_tenth
from wsol.datasets.metadata import read_lists
from wsol.errors import InputError
from wsol.io.display import printable, quote
from wsol.io.images import SUFFIXES
from wsol.io.parallel import map_small_files
from wsol.io.paths import FOLLOW_LINKS, FilesByStem, find_by_stem, only_file, refuse_links, resolve, safe_join
from wsol.io.text import parse_int, read_rows
from wsol.runtime.progress import track

_CLASSES = 1000


@DATASETS.register("ilsvrc", alias="imagenet")
def ilsvrc(
    root: Path, split: Split, blacklist: str = "", v2: str = "", v2_images: str = "", links: str = ""
) -> Dataset:
    """Read ILSVRC 2012 (Russakovsky et al., "ImageNet Large Scale Visual Recognition Challenge", IJCV 2015).

    Two layouts are supported: Kaggle's (``ILSVRC/Data/CLS-LOC``, ``ILSVRC/Annotations/CLS-LOC``, ``ILSVRC/ImageSets``,
    ``LOC_synset_mapping.txt``), and the classic one, a ``val/`` folder next to a folder of XML files. In both the
    validation images may be in one folder or sorted into a folder per synset, and images may have any suffix. Kaggle's
    ``LOC_val_solution.csv`` is not read: it has the boxes of the XML files but not the frame.

    Classes are the 1000 synsets in sorted order. Corners are 0-based and inclusive; in some XML files a corner is at
    the width itself, a pixel too far. The frame is the XML's ``<size>``, whatever the file's size.

    Splits: ``test`` is the official validation set. If ``v2`` is given, ``val`` is ImageNetV2 and ``train`` the whole
    training set; otherwise ``val`` is a seeded tenth of the training images that have boxes, and ``train`` the rest.

    Args:
        root: Folder with either layout.
        split: ``train``, ``val`` or ``test``.
        blacklist: The devkit's ``ILSVRC2014_clsloc_validation_blacklist.txt``, one image number per line. As in the
            devkit, these images count in the classification error but not in localization.
        v2: Folder with the lists of Choe et al. for ImageNetV2.
        v2_images: Folder of its images; ``root`` if empty.
        links: ``follow`` lets symbolic links lead out of the data root.

    Raises:
        InputError: A file of the layout is missing or malformed.
    """
    trusted = None if links == FOLLOW_LINKS else root
    layout = _read_kaggle(root) if (root / "ILSVRC").is_dir() else _read_classic(root)
    labels = {wnid: label for label, wnid in enumerate(sorted(layout.synsets))}
    names, synsets = tuple(layout.synsets[wnid] for wnid in labels), tuple(labels)
    if split == "test":
        excluded = _read_blacklist(Path(blacklist)) if blacklist else set()
        samples = tuple(
            replace(sample, boxes=as_boxes([]), class_only=True) if sample.image_id in excluded else sample
            for sample in _read_samples(layout.val, labels, trusted)
        )
        return Dataset("ilsvrc", split, samples, names, _blacklist_origin(samples), synsets=synsets)
    if split == "val" and v2:
        lists = read_lists(Path(v2), Path(v2_images or root))
        return Dataset("ilsvrc", split, lists, names, "ImageNetV2", synsets=synsets)
    train = list(_list_train(layout))
    boxed = [item for item in train if os.path.isfile(item.xml)]  # noqa: PTH113  # a million files
    if split == "val":
        if len(boxed) < 10:
            raise InputError(
                f"ilsvrc: there is no val split, since {root} has no training images with boxes; give ImageNetV2 as "
                "--dataset-arg v2=DIR"
            )
        held_out = hold_out_tenth(boxed, "val")
        samples = _read_samples(held_out, labels, trusted)
        return Dataset("ilsvrc", split, samples, names, TENTH_OF_TRAIN, synsets=synsets)
    val_ids = set() if v2 else {item.image_id for item in hold_out_tenth(boxed, "val")}
    unboxed = (
        Sample(i.image_id, _find_label(i.image_id.split("_")[0], labels, i.path), as_boxes([]), "inclusive", i.path)
        for i in train
        if i.image_id not in val_ids
    )
    return Dataset("ilsvrc", split, tuple(unboxed), names, synsets=synsets)


@dataclass(frozen=True)
class _Item:
    image_id: str
    path: Path
    xml: str


@dataclass(frozen=True)
class _Layout:
    synsets: dict[str, str]  # WordNet id to name
    val: list[_Item]
    train_images: Path
    train_xml: Path


def _read_kaggle(root: Path) -> _Layout:
    images, xml = root / "ILSVRC" / "Data" / "CLS-LOC", root / "ILSVRC" / "Annotations" / "CLS-LOC"
    val_images, val_xml = images / "val", xml / "val"
    files, notes = find_by_stem(val_images, SUFFIXES, 1), find_by_stem(val_xml, (".xml",), 1)
    path = root / "ILSVRC" / "ImageSets" / "CLS-LOC" / "val.txt"
    val = []
    for image_id, _ in read_rows(path, "an image id and its number", 2):
        image = _find_file(image_id, ".JPEG", val_images, files, path)
        val.append(_Item(image_id, Path(image), _find_file(image_id, ".xml", val_xml, notes, path)))
    return _Layout(read_synsets(root / "LOC_synset_mapping.txt"), val, images / "train", xml / "train")


def _find_file(image_id: str, suffix: str, folder: Path, found: FilesByStem, source: Path) -> str:
    """Return the file of a listed image, without a path object where there is exactly one of its name."""
    files = found.get(image_id, ())
    return files[0] if len(files) == 1 else os.fspath(resolve(safe_join(folder, image_id + suffix, source), found))


def _read_classic(root: Path) -> _Layout:
    if not (root / "val").is_dir():
        raise InputError(
            f"{root} does not contain ILSVRC: expected Kaggle's folder ILSVRC/, or a folder val/ with the images and a "
            "folder of XML files next to it"
        )
    xml = _find_xml_folder(root)
    notes = find_by_stem(xml, (".xml",), 1)
    paths = sorted(map(only_file, find_by_stem(root / "val", SUFFIXES, 1).values()), key=lambda path: path.name)
    val = [_Item(path.stem, path, os.fspath(resolve(xml / f"{path.stem}.xml", notes))) for path in paths]
    train_xml = xml.parent / "train"
    for name in ("LOC_synset_mapping.txt", "synsets.txt"):
        if (root / name).is_file():
            return _Layout(read_synsets(root / name), val, root / "train", train_xml)
    folders = [path for name in ("train", "val") for path in root.glob(f"{name}/n*") if path.is_dir()]
    wnids = {folder.name for folder in folders}
    if len(wnids) != _CLASSES:
        wnids = {name for item in val if os.path.isfile(item.xml) for name in read_wnids(item.xml)}  # noqa: PTH113
    if len(wnids) != _CLASSES:
        raise InputError(
            f"{root}: the {_CLASSES} synsets cannot be determined, since only {len(wnids)} occur; add "
            "LOC_synset_mapping.txt or synsets.txt, with one synset per line"
        )
    return _Layout({wnid: wnid for wnid in wnids}, val, root / "train", train_xml)


def _find_xml_folder(root: Path) -> Path:
    folders = sorted(path for path in root.iterdir() if path.is_dir() and path.name != "train" and path.name[0] != ".")
    places = [inner for folder in folders for inner in (folder, folder / "val", folder / "CLS-LOC" / "val")]
    for pattern in ("*.xml", "n*/ILSVRC2012_val_*.xml"):  # sorted into synsets, like those of training images
        for place in places:
            if next(place.glob(pattern), None):
                return place
    raise InputError(f"{root} has no folder of XML files; unpack the validation bounding boxes next to val/")


def _list_train(layout: _Layout) -> Iterable[_Item]:
    if not layout.train_images.is_dir():
        raise InputError(f"{layout.train_images} is missing: it should contain one folder of images per synset")
    for folder in sorted(path for path in layout.train_images.iterdir() if path.is_dir()):
        xml = layout.train_xml / folder.name
        for path in sorted(map(only_file, find_by_stem(folder, SUFFIXES, 0).values())):
            yield _Item(path.stem, path, os.path.join(xml, f"{path.stem}.xml"))  # noqa: PTH118  # a million files


def _read_blacklist(path: Path) -> set[str]:
    rows = read_rows(path, "an image number", 1)
    return {f"ILSVRC2012_val_{parse_int(row[0], path, 'an image number'):08d}" for row in rows}


def _blacklist_origin(samples: Sequence[Sample]) -> str:
    """Return what a signature says of a blacklist: a hash of the images on it and of their labels."""
    listed = "\0".join(f"{sample.image_id}\0{sample.label}" for sample in samples if sample.class_only)
    return f"blacklist:{hashlib.sha256(listed.encode()).hexdigest()[:8]}" if listed else ""


def _read_samples(items: Sequence[_Item], labels: dict[str, int], trusted: Path | None) -> tuple[Sample, ...]:
    """Read the boxes; the files must be below ``trusted``, unless it is None."""
    if trusted:
        refuse_links((item.xml for item in items), [trusted])
    samples = map_small_files(lambda item: _read_sample(item, labels), items)
    return tuple(track(samples, "ilsvrc annotations", len(items), unit="file"))


def _read_sample(item: _Item, labels: dict[str, int]) -> Sample:
    annotation = read_annotation(item.xml)
    label = _find_label(annotation.wnid, labels, item.xml)
    return Sample(item.image_id, label, as_boxes(annotation.boxes), "inclusive", item.path, annotation.size)


def _find_label(wnid: str, labels: dict[str, int], path: Path | str) -> int:
    if wnid not in labels:
        raise InputError(
            f"{printable(path)}: the synset {quote(wnid)} is not one of the {len(labels)} in the class list; check the "
            "list"
        )
    return labels[wnid]
