"""ILSVRC 2012, classification and localization: the 1,000 classes of ImageNet."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from xml.etree.ElementTree import Element

from wsol.datasets.base import DATASETS, TENTH_OF_TRAIN, Dataset, Sample, Split, as_boxes, hold_out_tenth
from wsol.datasets.metadata import read_lists
from wsol.errors import InputError
from wsol.io.display import printable, quote
from wsol.io.images import SUFFIXES
from wsol.io.paths import FOLLOW_LINKS, find_by_stem, only_file, refuse_links, resolve, safe_join
from wsol.io.text import parse_int, parse_number, read_lines, read_rows, set_once
from wsol.io.xml import read_xml
from wsol.runtime.progress import track

_CLASSES = 1000


@DATASETS.register("ilsvrc", alias="imagenet")
def ilsvrc(
    root: Path, split: Split, blacklist: str = "", v2: str = "", v2_images: str = "", links: str = ""
) -> Dataset:
    """Read ILSVRC 2012 (Russakovsky et al., "ImageNet Large Scale Visual Recognition Challenge", IJCV 2015).

    Two layouts are supported: Kaggle's (``ILSVRC/Data/CLS-LOC``, ``ILSVRC/Annotations/CLS-LOC``, ``ILSVRC/ImageSets``,
    ``LOC_synset_mapping.txt``), and the classic one, a ``val/`` folder next to a folder of XML files. In both the
    validation images may be in one folder or sorted into a folder per synset, and images may have any suffix.

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
    names = tuple(layout.synsets[wnid] for wnid in labels)
    if split == "test":
        excluded = _read_blacklist(Path(blacklist)) if blacklist else set()
        samples = tuple(
            replace(sample, boxes=as_boxes([]), class_only=True) if sample.image_id in excluded else sample
            for sample in _read_samples(layout.val, labels, trusted)
        )
        return Dataset("ilsvrc", split, samples, names, _blacklist_origin(samples))
    if split == "val" and v2:
        return Dataset("ilsvrc", split, read_lists(Path(v2), Path(v2_images or root)), names, "ImageNetV2")
    train = list(_list_train(layout))
    boxed = [item for item in train if item.xml.is_file()]
    if split == "val":
        if len(boxed) < 10:
            raise InputError(
                f"ilsvrc: there is no val split, since {root} has no training images with boxes; give ImageNetV2 as "
                "--dataset-arg v2=DIR"
            )
        held_out = hold_out_tenth(boxed, "val")
        return Dataset("ilsvrc", split, _read_samples(held_out, labels, trusted), names, TENTH_OF_TRAIN)
    val_ids = set() if v2 else {item.image_id for item in hold_out_tenth(boxed, "val")}
    unboxed = (
        Sample(i.image_id, _find_label(i.image_id.split("_")[0], labels, i.path), as_boxes([]), "inclusive", i.path)
        for i in train
        if i.image_id not in val_ids
    )
    return Dataset("ilsvrc", split, tuple(unboxed), names)


@dataclass(frozen=True)
class _Item:
    image_id: str
    path: Path
    xml: Path


@dataclass(frozen=True)
class _Layout:
    synsets: dict[str, str]  # WordNet id to name
    val: list[_Item]
    train_images: Path
    train_xml: Path


def _read_kaggle(root: Path) -> _Layout:
    images, xml = root / "ILSVRC" / "Data" / "CLS-LOC", root / "ILSVRC" / "Annotations" / "CLS-LOC"
    lists = root / "ILSVRC" / "ImageSets" / "CLS-LOC"
    path = lists / "val.txt"
    files, notes = find_by_stem(images / "val", SUFFIXES, 1), find_by_stem(xml / "val", (".xml",), 1)
    val = []
    for image_id, _ in read_rows(path, "an image id and its number", 2):
        image = safe_join(images / "val", f"{image_id}.JPEG", path)
        val.append(_Item(image_id, resolve(image, files), resolve(xml / "val" / f"{image_id}.xml", notes)))
    return _Layout(_read_synsets(root / "LOC_synset_mapping.txt"), val, images / "train", xml / "train")


def _read_classic(root: Path) -> _Layout:
    if not (root / "val").is_dir():
        raise InputError(
            f"{root} does not contain ILSVRC: expected Kaggle's folder ILSVRC/, or a folder val/ with the images and a "
            "folder of XML files next to it"
        )
    xml = _find_xml_folder(root)
    notes = find_by_stem(xml, (".xml",), 1)
    paths = sorted(map(only_file, find_by_stem(root / "val", SUFFIXES, 1).values()), key=lambda path: path.name)
    val = [_Item(path.stem, path, resolve(xml / f"{path.stem}.xml", notes)) for path in paths]
    train_xml = xml.parent / "train"
    for name in ("LOC_synset_mapping.txt", "synsets.txt"):
        if (root / name).is_file():
            return _Layout(_read_synsets(root / name), val, root / "train", train_xml)
    folders = [path for name in ("train", "val") for path in root.glob(f"{name}/n*") if path.is_dir()]
    wnids = {folder.name for folder in folders}
    if len(wnids) != _CLASSES:
        wnids = {name for item in val if item.xml.is_file() for name in _find_wnids(read_xml(item.xml))}
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


def _read_synsets(path: Path) -> dict[str, str]:
    synsets: dict[str, str] = {}
    for line in read_lines(path, "lines with a synset and its name"):
        wnid, _, name = line.strip().partition(" ")
        if wnid:
            set_once(synsets, wnid, name or wnid, path)
    return synsets


def _list_train(layout: _Layout) -> Iterable[_Item]:
    if not layout.train_images.is_dir():
        raise InputError(f"{layout.train_images} is missing: it should contain one folder of images per synset")
    for folder in sorted(path for path in layout.train_images.iterdir() if path.is_dir()):
        for path in sorted(map(only_file, find_by_stem(folder, SUFFIXES, 0).values())):
            yield _Item(path.stem, path, layout.train_xml / folder.name / f"{path.stem}.xml")


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
    return tuple(_read_sample(item, labels) for item in track(items, "ilsvrc annotations", unit="file"))


def _read_sample(item: _Item, labels: dict[str, int]) -> Sample:
    tree, where = read_xml(item.xml), printable(item.xml)
    wnids = _find_wnids(tree)
    if len(wnids) != 1:
        names = ", ".join(quote(wnid) for wnid in sorted(wnids)[:3]) + ", ..." * (len(wnids) > 3) or "no object"
        raise InputError(f"{where} should have boxes of one synset, but has {names}; fix the file or remove the image")
    if len(tree.findall("size")) != 1 or any(len(node.findall("bndbox")) != 1 for node in tree.iterfind("object")):
        raise InputError(f"{where} should have one <size>, and one <bndbox> in every <object>; restore the file")
    size = [parse_int(tree.findtext(f"size/{side}", ""), item.xml, f"<{side}>") for side in ("width", "height")]
    corners = ("xmin", "ymin", "xmax", "ymax")
    nodes = tree.iterfind("object/bndbox")
    boxes = [[parse_number(node.findtext(tag, ""), item.xml, f"<{tag}>") for tag in corners] for node in nodes]
    label = _find_label(wnids.pop(), labels, item.xml)
    return Sample(item.image_id, label, as_boxes(boxes), "inclusive", item.path, (size[0], size[1]))


def _find_wnids(tree: Element) -> set[str]:
    return {(name.text or "").strip() for name in tree.iterfind("object/name")}


def _find_label(wnid: str, labels: dict[str, int], path: Path) -> int:
    if wnid not in labels:
        raise InputError(
            f"{printable(path)}: the synset {quote(wnid)} is not one of the {len(labels)} in the class list; check the "
            "list"
        )
    return labels[wnid]
