"""ILSVRC 2012, classification and localization: the ImageNet benchmark."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element

from tqdm import tqdm

from wsol.datasets.base import DATASETS, TENTH_OF_TRAIN, Dataset, Sample, Split, as_boxes, hold_out_tenth
from wsol.datasets.metadata import read_lists
from wsol.errors import InputError
from wsol.io.display import printable, quote
from wsol.io.paths import FOLLOW_LINKS, refuse_links, safe_join
from wsol.io.text import parse_int, parse_number, read_lines, read_rows, set_once
from wsol.io.xml import read_xml

_CLASSES = 1000


@DATASETS.register("ilsvrc")
def ilsvrc(
    root: Path, split: Split, blacklist: str = "", v2: str = "", v2_images: str = "", links: str = ""
) -> Dataset:
    """Read ILSVRC 2012 (Russakovsky et al., "ImageNet Large Scale Visual Recognition Challenge", IJCV 2015).

    Two layouts are known: Kaggle's (``ILSVRC/Data/CLS-LOC``, ``ILSVRC/Annotations/CLS-LOC``, ``ILSVRC/ImageSets``,
    ``LOC_synset_mapping.txt``), and the classic one, a flat ``val/`` folder (or one folder a synset) beside a folder
    of XML files. Classes are the 1000 synsets in sorted order. Corners are 0-based and inclusive; now and then the
    XML reaches the width itself. The frame is the XML's ``<size>``, whatever the size of the file.

    Splits: ``test`` is the official validation set. ``val`` is ImageNetV2 where ``v2`` names its lists, and ``train``
    the whole training set then; else ``val`` is a seeded tenth of the training images that have boxes.

    Args:
        root: Folder that holds either layout.
        split: ``train``, ``val`` or ``test``.
        blacklist: The devkit's ``ILSVRC2014_clsloc_validation_blacklist.txt``, one image number a line, to leave out.
        v2: Folder with the lists of Choe et al. for ImageNetV2.
        v2_images: Folder that holds its images; ``root`` if empty.
        links: ``follow`` lets symbolic links lead out of the data root.

    Raises:
        InputError: A file of the layout is missing or malformed.
    """
    trusted = None if links == FOLLOW_LINKS else root
    layout = _kaggle(root) if (root / "ILSVRC").is_dir() else _classic(root)
    labels = {wnid: label for label, wnid in enumerate(sorted(layout.synsets))}
    names = tuple(layout.synsets[wnid] for wnid in labels)
    if split == "test":
        blacklisted = _blacklisted(Path(blacklist)) if blacklist else set()
        kept = [item for item in layout.val if item.image_id not in blacklisted]
        return Dataset("ilsvrc", split, _annotated(kept, labels, trusted), names)
    if split == "val" and v2:
        return Dataset("ilsvrc", split, read_lists(Path(v2), Path(v2_images or root)), names, "ImageNetV2")
    train = list(_train(layout))
    boxed = [item for item in train if item.xml.is_file()]
    if split == "val":
        if len(boxed) < 10:
            raise InputError(
                f"ilsvrc: no val split: {root} has no training images with boxes; name ImageNetV2 by v2=DIR"
            )
        held_out = hold_out_tenth(boxed, "val")
        return Dataset("ilsvrc", split, _annotated(held_out, labels, trusted), names, TENTH_OF_TRAIN)
    val_ids = set() if v2 else {item.image_id for item in hold_out_tenth(boxed, "val")}
    kept = [item for item in train if item.image_id not in val_ids]
    samples = (
        Sample(i.image_id, _label(i.image_id.split("_")[0], labels, i.path), as_boxes([]), "inclusive", i.path)
        for i in kept
    )
    return Dataset("ilsvrc", split, tuple(samples), names)


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


def _kaggle(root: Path) -> _Layout:
    images, xml = root / "ILSVRC" / "Data" / "CLS-LOC", root / "ILSVRC" / "Annotations" / "CLS-LOC"
    lists = root / "ILSVRC" / "ImageSets" / "CLS-LOC"
    path = lists / "val.txt"
    ids = [row[0] for row in read_rows(path, "an image id and its number", 2)]
    val = [
        _Item(i, safe_join(images / "val", f"{i}.JPEG", path), safe_join(xml / "val", f"{i}.xml", path)) for i in ids
    ]
    return _Layout(_synsets(root / "LOC_synset_mapping.txt"), val, images / "train", xml / "train")


def _classic(root: Path) -> _Layout:
    if not (root / "val").is_dir():
        raise InputError(
            f"{root} holds no ILSVRC: expected Kaggle's folder ILSVRC/, or a folder val/ with the images beside a "
            "folder of XML files"
        )
    xml = _xml_folder(root)
    paths = sorted((*root.glob("val/*.JPEG"), *root.glob("val/*/*.JPEG")), key=lambda path: path.name)
    val = [_Item(path.stem, path, xml / f"{path.stem}.xml") for path in paths]
    train_xml = xml.parent / "train"
    for name in ("LOC_synset_mapping.txt", "synsets.txt"):
        if (root / name).is_file():
            return _Layout(_synsets(root / name), val, root / "train", train_xml)
    folders = [path for part in ("train", "val") for path in root.glob(f"{part}/n*") if path.is_dir()]
    wnids = {folder.name for folder in folders}
    if len(wnids) != _CLASSES:
        wnids = {name for item in val if item.xml.is_file() for name in _wnids(read_xml(item.xml))}
    if len(wnids) != _CLASSES:
        raise InputError(
            f"{root}: the {_CLASSES} synsets cannot be told from {len(wnids)} of them; put LOC_synset_mapping.txt or "
            "synsets.txt there, one synset a line"
        )
    return _Layout({wnid: wnid for wnid in wnids}, val, root / "train", train_xml)


def _xml_folder(root: Path) -> Path:
    for folder in sorted(
        path for path in root.iterdir() if path.is_dir() and path.name != "train" and path.name[0] != "."
    ):
        for inner in (folder, folder / "val", folder / "CLS-LOC" / "val"):
            if next(inner.glob("*.xml"), None):
                return inner
    raise InputError(f"{root} holds no folder of XML files; unpack the validation bounding boxes beside val/")


def _synsets(path: Path) -> dict[str, str]:
    synsets: dict[str, str] = {}
    for line in read_lines(path, "a synset and its name on each line"):
        wnid, _, name = line.strip().partition(" ")
        if wnid:
            set_once(synsets, wnid, name or wnid, path)
    return synsets


def _train(layout: _Layout) -> Iterable[_Item]:
    if not layout.train_images.is_dir():
        raise InputError(f"{layout.train_images} is missing: it should hold one folder of images a synset")
    for path in sorted(layout.train_images.glob("*/*.JPEG")):
        yield _Item(path.stem, path, layout.train_xml / path.parent.name / f"{path.stem}.xml")


def _blacklisted(path: Path) -> set[str]:
    rows = read_rows(path, "an image number", 1)
    return {f"ILSVRC2012_val_{parse_int(row[0], path, 'an image number'):08d}" for row in rows}


def _annotated(items: Sequence[_Item], labels: dict[str, int], trusted: Path | None) -> tuple[Sample, ...]:
    """Read the boxes; the files have to lie below ``trusted``, if there is one."""
    if trusted:
        refuse_links((item.xml for item in items), [trusted])
    bar = tqdm(items, desc="ilsvrc annotations", unit="file", leave=False, disable=None)
    return tuple(_sample(item, labels) for item in bar)


def _sample(item: _Item, labels: dict[str, int]) -> Sample:
    tree, where = read_xml(item.xml), printable(item.xml)
    wnids = _wnids(tree)
    if len(wnids) != 1:
        found = ", ".join(quote(wnid) for wnid in sorted(wnids)[:3]) + ", ..." * (len(wnids) > 3) or "no object"
        raise InputError(f"{where} should hold boxes of one synset and holds {found}; mend it or leave the image out")
    if len(tree.findall("size")) != 1 or any(len(thing.findall("bndbox")) != 1 for thing in tree.iterfind("object")):
        raise InputError(f"{where} should hold one <size>, and in every <object> one <bndbox>; restore the file")
    size = [parse_int(tree.findtext(f"size/{side}", ""), item.xml, f"<{side}>") for side in ("width", "height")]
    corners = ("xmin", "ymin", "xmax", "ymax")
    things = tree.iterfind("object/bndbox")
    boxes = [[parse_number(box.findtext(tag, ""), item.xml, f"<{tag}>") for tag in corners] for box in things]
    label = _label(wnids.pop(), labels, item.xml)
    return Sample(item.image_id, label, as_boxes(boxes), "inclusive", item.path, (size[0], size[1]))


def _wnids(tree: Element) -> set[str]:
    return {(name.text or "").strip() for name in tree.iterfind("object/name")}


def _label(wnid: str, labels: dict[str, int], path: Path) -> int:
    if wnid not in labels:
        raise InputError(
            f"{printable(path)}: synset {quote(wnid)} is not among the {len(labels)} of the class list; check that list"
        )
    return labels[wnid]
