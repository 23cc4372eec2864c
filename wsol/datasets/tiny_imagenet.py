"""Tiny ImageNet: 200 classes at 64 x 64 pixels."""

from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

from wsol.datasets._download import ARCHIVES, Archive
from wsol.datasets.base import DATASETS, TENTH_OF_TRAIN, Dataset, Sample, Split, as_boxes, hold_out_tenth
from wsol.errors import InputError
from wsol.io.display import printable, quote
from wsol.io.images import SUFFIXES
from wsol.io.paths import FilesByStem, find_by_stem, resolve, safe_join
from wsol.io.text import parse_number, read_lines, read_rows

ARCHIVES["tiny-imagenet"] = (
    Archive("http://cs231n.stanford.edu/tiny-imagenet-200.zip", "90528d7ca1a48142e341f4ef8d21d0de"),
)


@DATASETS.register("tiny-imagenet")
def tiny_imagenet(root: Path, split: Split) -> Dataset:
    """Read Tiny ImageNet (Stanford CS231n), whose training and validation images have one box each.

    Layout: ``wnids.txt``, ``words.txt``, ``train/<synset>/images/*.JPEG``, ``train/<synset>/<synset>_boxes.txt``,
    ``val/images/*.JPEG`` and ``val/val_annotations.txt``. Validation images may also be sorted into ``val/<synset>`` or
    ``val/<synset>/images``, and training images may be in ``train/<synset>`` itself; images may have any suffix.

    Corners are 0-based and inclusive, from 0 to 63. Classes are the synsets of ``wnids.txt`` in SORTED order, as
    torchvision's ``ImageFolder`` orders them, not in the order of that file. The frame is the image file's own.

    Splits: ``test`` is the official validation set (the official test set has no labels), ``val`` a seeded tenth of
    the training set, ``train`` the rest.

    Args:
        root: The folder ``tiny-imagenet-200``, or its parent.
        split: ``train``, ``val`` or ``test``.

    Raises:
        InputError: A file of the layout is missing or malformed.
    """
    home = root / "tiny-imagenet-200" if (root / "tiny-imagenet-200").is_dir() else root
    wnids = sorted(row[0] for row in read_rows(home / "wnids.txt", "a synset", 1))
    if duplicate := next((wnid for wnid, other in pairwise(wnids) if wnid == other), None):
        raise InputError(f"{printable(home)}/wnids.txt lists {quote(duplicate)} twice; keep one line")
    words = dict(line.split("\t", 1) for line in read_lines(home / "words.txt", "synset, tab, name") if "\t" in line)
    names = tuple(words.get(wnid, wnid).strip() for wnid in wnids)
    if split == "test":
        path = home / "val" / "val_annotations.txt"
        if not path.is_file() and any((home / "val" / wnid).is_dir() for wnid in wnids):
            raise InputError(
                f"{printable(path)}, which has the boxes, is missing, as after a script that sorts val/ into folders; "
                "restore it from the archive"
            )
        rows = read_rows(path, "file, synset, x0, y0, x1, y1", 6)
        found = find_by_stem(home / "val", SUFFIXES, 2)
        images = home / "val" / "images"
        samples = [_build_sample(file, wnid, wnids, corners, images, found, path) for file, wnid, *corners in rows]
        return Dataset("tiny-imagenet", split, tuple(samples), names, synsets=tuple(wnids))
    selected = hold_out_tenth(list(_read_train(home, wnids)), split)
    origin = TENTH_OF_TRAIN if split == "val" else ""
    return Dataset("tiny-imagenet", split, selected, names, origin, synsets=tuple(wnids))


def _read_train(home: Path, wnids: list[str]) -> Iterable[Sample]:
    for wnid in wnids:
        path = safe_join(home / "train", wnid, home / "wnids.txt") / f"{wnid}_boxes.txt"
        found = find_by_stem(path.parent, SUFFIXES, 1)
        for file, *corners in read_rows(path, "file, x0, y0, x1, y1", 5):
            yield _build_sample(file, wnid, wnids, corners, path.parent / "images", found, path)


def _build_sample(
    file: str, wnid: str, wnids: list[str], corners: list[str], images: Path, found: FilesByStem, path: Path
) -> Sample:
    if wnid not in wnids:
        raise InputError(
            f"{printable(path)}: {printable(file)} has the synset {quote(wnid)}, which wnids.txt does not list; "
            "restore the file"
        )
    box = as_boxes([[parse_number(corner, path, file) for corner in corners]])
    return Sample(file, wnids.index(wnid), box, "inclusive", resolve(safe_join(images, file, path), found))
