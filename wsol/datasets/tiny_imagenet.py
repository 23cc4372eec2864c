"""Tiny ImageNet: 200 classes at 64 x 64 pixels."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from wsol.datasets._download import ARCHIVES, Archive
from wsol.datasets.base import DATASETS, TENTH_OF_TRAIN, ZIPPED, Dataset, Sample, Split, as_boxes, hold_out_tenth
from wsol.errors import InputError
from wsol.io.display import printable, quote
from wsol.io.images import SUFFIXES
from wsol.io.paths import FilesByStem, find_by_stem, is_folder, resolve, safe_join
from wsol.io.text import parse_number, read_lines, read_rows

ARCHIVES["tiny-imagenet"] = (
    Archive("http://cs231n.stanford.edu/tiny-imagenet-200.zip", "90528d7ca1a48142e341f4ef8d21d0de"),
)
ZIPPED.add("tiny-imagenet")


@DATASETS.register("tiny-imagenet")
def tiny_imagenet(root: Path, split: Split, classes: str = "") -> Dataset:
    """Read Tiny ImageNet (Stanford CS231n), whose training and validation images have one box each.

    Layout: ``wnids.txt``, ``words.txt``, ``train/<synset>/images/*.JPEG``, ``train/<synset>/<synset>_boxes.txt``,
    ``val/images/*.JPEG`` and ``val/val_annotations.txt``. Validation images may also be sorted into ``val/<synset>`` or
    ``val/<synset>/images``, and training images may be in ``train/<synset>`` itself; images may have any suffix.

    Corners are 0-based and inclusive, from 0 to 63. Classes are the synsets of ``wnids.txt`` in SORTED order, as
    torchvision's ``ImageFolder`` orders them, not in the order of that file. The frame is the image file's own.

    Splits: ``test`` is the official validation set (the official test set has no labels), ``val`` a seeded tenth of
    the training set, ``train`` the rest.

    Args:
        root: The folder ``tiny-imagenet-200``, its parent, or a zip archive of either, such as the one that Stanford
            offers; it is not unpacked.
        split: ``train``, ``val`` or ``test``.
        classes: Number of synsets to keep, evenly spaced in sorted order; all if empty. Every image stays in its split,
            labels count the synsets that are kept, and the origin names the number.

    Raises:
        InputError: A file of the layout is missing or malformed, or there are not as many synsets.
    """
    home = root / "tiny-imagenet-200" if is_folder(root / "tiny-imagenet-200") else root
    wnids = sorted(row[0] for row in read_rows(home / "wnids.txt", "a synset", 1))
    if duplicate := next((wnid for wnid, other in pairwise(wnids) if wnid == other), None):
        raise InputError(f"{printable(home)}/wnids.txt lists {quote(duplicate)} twice; keep one line")
    words = dict(line.split("\t", 1) for line in read_lines(home / "words.txt", "synset, tab, name") if "\t" in line)
    rows = _list_test(home, wnids) if split == "test" else hold_out_tenth(list(_list_train(home, wnids)), split)
    kept = _space_evenly(wnids, classes)
    labels = {wnid: label for label, wnid in enumerate(kept)}
    samples = tuple(_build_sample(row, labels[row.wnid]) for row in rows if row.wnid in labels)
    origins = [TENTH_OF_TRAIN if split == "val" else "", f"classes={len(kept)}" if len(kept) < len(wnids) else ""]
    names = tuple(words.get(wnid, wnid).strip() for wnid in kept)
    return Dataset("tiny-imagenet", split, samples, names, ",".join(filter(None, origins)), synsets=tuple(kept))


class _Row(NamedTuple):
    """A line of a list of boxes."""

    file: str
    wnid: str
    corners: Sequence[str]
    images: Path
    found: FilesByStem
    source: Path


def _list_test(home: Path, wnids: Sequence[str]) -> list[_Row]:
    path = home / "val" / "val_annotations.txt"
    lists, known = find_by_stem(path.parent, (".txt",), 0), set(wnids)
    if path.stem not in lists and any(is_folder(path.parent / wnid) for wnid in wnids):
        raise InputError(
            f"{printable(path)}, which has the boxes, is missing, as after a script that sorts val/ into folders; "
            "restore it from the archive"
        )
    found, rows = find_by_stem(home / "val", SUFFIXES, 2), []
    for file, wnid, *corners in read_rows(path, "file, synset, x0, y0, x1, y1", 6):
        if wnid not in known:
            raise InputError(
                f"{printable(path)}: {printable(file)} has the synset {quote(wnid)}, which wnids.txt does not list; "
                "restore the file"
            )
        rows.append(_Row(file, wnid, corners, home / "val" / "images", found, path))
    return rows


def _list_train(home: Path, wnids: Sequence[str]) -> Iterable[_Row]:
    for wnid in wnids:
        path = safe_join(home / "train", wnid, home / "wnids.txt") / f"{wnid}_boxes.txt"
        found = find_by_stem(path.parent, SUFFIXES, 1)
        for file, *corners in read_rows(path, "file, x0, y0, x1, y1", 5):
            yield _Row(file, wnid, corners, path.parent / "images", found, path)


def _space_evenly(wnids: Sequence[str], classes: str) -> Sequence[str]:
    """Return a number of synsets, evenly spaced from the first on; all if the number is empty."""
    if not classes:
        return wnids
    count = int(classes) if classes.isdecimal() else 0
    if not 2 <= count <= len(wnids):
        raise InputError(f"tiny-imagenet: classes={classes} is not a number from 2 to {len(wnids)}, all its classes")
    return [wnids[i * len(wnids) // count] for i in range(count)]


def _build_sample(row: _Row, label: int) -> Sample:
    box = as_boxes([[parse_number(corner, row.source, row.file) for corner in row.corners]])
    return Sample(row.file, label, box, "inclusive", resolve(safe_join(row.images, row.file, row.source), row.found))
