"""Oxford-IIIT Pet: 37 breeds with trimaps."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsol.datasets._download import ARCHIVES, Archive
from wsol.datasets._extent import extent_of
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
from wsol.io.display import printable
from wsol.io.images import SUFFIXES, open_image
from wsol.io.paths import FOLLOW_LINKS, FilesByStem, find_by_stem, refuse_links, resolve, safe_join
from wsol.io.pixels import decode_stored
from wsol.io.text import parse_class_index, read_lines
from wsol.runtime.progress import track

ARCHIVES["oxford-pets"] = (
    Archive("https://www.robots.ox.ac.uk/~vgg/data/pets/data/images.tar.gz", "5c4f3ee8e5d25df40f4fd59a7f44e54c"),
    Archive("https://www.robots.ox.ac.uk/~vgg/data/pets/data/annotations.tar.gz", "95a8c909bbe2e81eed6a22bccdf3f68f"),
)

_PET, _BORDER = 1, 3


@DATASETS.register("oxford-pets")
def oxford_pets(root: Path, split: Split, links: str = "") -> Dataset:
    """Read Oxford-IIIT Pet (Parkhi et al., "Cats and Dogs", CVPR 2012) through its trimaps.

    Layout: ``images/*.jpg``, ``annotations/trainval.txt``, ``annotations/test.txt`` and ``annotations/trimaps/*.png``.

    In a trimap, 1 is the pet (foreground), 2 the background, and 3 the border, which is ignored. The box is the extent
    of the foreground, half-open edges, in the trimap's frame. The XML boxes of the data set frame the head and are not
    used.

    Splits: ``test`` is the official test set, ``val`` a seeded tenth of the official trainval set, ``train`` the rest.

    Args:
        root: The folder with ``images`` and ``annotations``, or its parent if it is named ``oxford-iiit-pet``.
        split: ``train``, ``val`` or ``test``.
        links: ``follow`` lets symbolic links lead out of the data root.

    Raises:
        InputError: A file of the layout is missing or malformed.
    """
    home = root / "oxford-iiit-pet" if (root / "oxford-iiit-pet").is_dir() else root
    lists = {name: _read_list(home / "annotations" / f"{name}.txt") for name in ("trainval", "test")}
    names = {label: name.rsplit("_", 1)[0] for entries in lists.values() for name, label in entries}
    found = find_by_stem(home / "images", SUFFIXES, 0)
    files = {name: _find_files(home, name, found) for entries in lists.values() for name, _ in entries}
    classes = tuple(names.get(label, str(label)) for label in range(1 + max(names, default=-1)))
    selected = tuple(lists["test"]) if split == "test" else hold_out_tenth(lists["trainval"], split)
    if links != FOLLOW_LINKS:
        refuse_links((files[name][1] for name, _ in selected), [root])
    tracked = track(selected, "oxford-pets trimaps", unit="file")
    samples = tuple(_read_sample(name, label, *files[name], has_box=split != "train") for name, label in tracked)
    return Dataset("oxford-pets", split, samples, classes, TENTH_OF_TRAIN if split == "val" else "")


def _read_list(path: Path) -> list[tuple[str, int]]:
    entries = []
    for line in read_lines(path, "lines with name, class, species, breed"):
        if line.strip() and not line.startswith("#"):
            name, label, *_ = [*line.split(), ""]
            entries.append((name, parse_class_index(label, path, name, 1)))
    return entries


def _find_files(home: Path, name: str, found: FilesByStem) -> tuple[Path, Path]:
    """Return the paths of an image, which may have another suffix than in the archive, and its trimap."""
    source = home / "annotations"
    image, trimap = (
        safe_join(home / "images", f"{name}.jpg", source),
        safe_join(source / "trimaps", f"{name}.png", source),
    )
    return resolve(image, found), trimap


def _read_sample(name: str, label: int, image: Path, trimap: Path, has_box: bool) -> Sample:
    if not has_box:
        return Sample(name, label, as_boxes([]), "edges", image)
    values = _read_trimap(trimap)
    box = extent_of(values == _PET)
    if box is None:
        raise InputError(
            f"{printable(trimap)} marks no pet (1), so the image has no box; fix the trimap or remove the image"
        )
    return Sample(name, label, as_boxes([box]), "edges", image, (values.shape[1], values.shape[0]), _Trimap(trimap))


@dataclass(frozen=True)
class _Trimap(MaskReader):
    """Reads a trimap."""

    path: Path

    def __call__(self) -> Mask:
        values = _read_trimap(self.path)
        return Mask(values == _PET, values == _BORDER)

    def source(self) -> tuple[Sequence[Path], str]:
        return [self.path], ""


def _read_trimap(path: Path) -> NDArray[np.uint8]:
    missing = ": the image has no trimap and so no box; restore it"
    with open_image(path, InputError, missing, "restore the trimap") as file:
        return np.asarray(decode_stored(file).convert("L"), np.uint8)
