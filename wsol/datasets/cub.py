"""CUB-200-2011: 200 species of birds."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from wsol.datasets._download import ARCHIVES, Archive
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
from wsol.datasets.metadata import read_lists
from wsol.errors import InputError
from wsol.io.display import printable, quote
from wsol.io.fingerprint import measure_files
from wsol.io.images import SUFFIXES, open_image
from wsol.io.paths import FOLLOW_LINKS, FilesByStem, find_by_stem, refuse_links, resolve, safe_join
from wsol.io.pixels import decode_stored, to_rgb
from wsol.io.text import parse_class_index, parse_number, read_rows, set_once

ARCHIVES["cub"] = (
    Archive("https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz", "97eceeb196236b17998738112f37df78"),
)

_CUT = "0.5"
_V2 = "CUBV2"


@DATASETS.register("cub")
def cub(
    root: Path,
    split: Split,
    v2: str = "",
    v2_images: str = "",
    masks: str = "",
    mask_cut: str = "",
    links: str = "",
) -> Dataset:
    """Read CUB-200-2011 (Wah et al., "The Caltech-UCSD Birds-200-2011 Dataset", 2011).

    Layout: ``images/<class>/*.jpg``, and the lists ``images.txt``, ``classes.txt``, ``image_class_labels.txt``,
    ``train_test_split.txt`` and ``bounding_boxes.txt``.

    Images may have any suffix.

    Boxes are published as ``x y width height``, one per image, and stored as ``(x, y, x + width, y + height)``,
    half-open edges; a few exceed the image by a pixel. The data does not tell whether x + width is the last pixel or
    the edge behind it: boxes that reach the bottom end at height - 1, but some reach width and width + 1 at the right,
    which as inclusive corners would be two pixels outside. The frame is the image file's own.

    Splits: ``test`` is the official test set. If ``v2`` is given, ``val`` is CUBV2 and ``train`` the whole official
    training set; otherwise ``val`` is a seeded tenth of the official training set and ``train`` the rest.

    The segmentations, an archive of their own (``segmentations/<class>/*.png``), are used if ``masks`` names their
    folder. Their gray values, 0 to 255, tell how many annotators marked a pixel; which of them make an object is
    ``mask_cut``. CUBV2 has none. The boxes remain the published ones.

    Args:
        root: The folder ``CUB_200_2011``, or its parent.
        split: ``train``, ``val`` or ``test``.
        v2: Folder with the lists of Choe et al. for CUBV2.
        v2_images: Folder of its images; ``root`` if empty.
        masks: The folder ``segmentations``; without it there are no masks.
        mask_cut: A pixel is the object if its gray value is above this share of 255, from 0 to below 1; 0.5 if empty.
            0 takes every pixel that an annotator marked, as evaluations do that read the masks as 8 bit and compare
            them with 0.5.
        links: ``follow`` lets symbolic links lead out of the folder of the masks.

    Raises:
        InputError: A file of the layout is missing or malformed, or a mask is missing.
    """
    if mask_cut and not masks:
        raise InputError("cub: mask_cut needs the masks; give --dataset-arg masks=DIR")
    data = _read(root, split, v2, v2_images)
    if not masks or split == "train" or data.origin == _V2:
        return data
    cut = parse_number(mask_cut or _CUT, Path("cub"), "mask_cut")
    if not 0 <= cut < 1:
        raise InputError(f"cub: mask_cut={quote(mask_cut)} should be at least 0 and below 1")
    return _with_masks(data, Path(masks), cut, links)


def _read(root: Path, split: Split, v2: str, v2_images: str) -> Dataset:
    """Read the data set without masks; arguments as for ``cub``."""
    home = root / "CUB_200_2011" if (root / "CUB_200_2011").is_dir() else root
    names = tuple(row[1] for row in read_rows(home / "classes.txt", "a class number and its name", 2))
    if split == "val" and v2:
        return Dataset("cub", split, read_lists(Path(v2), Path(v2_images or root)), names, _V2)
    official = "0" if split == "test" else "1"
    splits = _read_table(home / "train_test_split.txt", "an image number and 1 (train) or 0 (test)", 2)
    labels = _read_table(home / "image_class_labels.txt", "an image number and its class number", 2)
    boxes = _read_table(home / "bounding_boxes.txt", "an image number, x, y, width, height", 5)
    found: dict[Path, FilesByStem] = {}
    samples = []
    for key, image in read_rows(home / "images.txt", "an image number and its path", 2):
        for name, table in (("train_test_split", splits), ("image_class_labels", labels), ("bounding_boxes", boxes)):
            if key not in table:
                raise InputError(
                    f"{home / name}.txt has no line for image {printable(key)} ({printable(image)}); restore the file"
                )
        if splits[key] not in (["0"], ["1"]):
            raise InputError(
                f"{printable(home)}/train_test_split.txt: image {printable(key)} should be 1 (train) or 0 (test)"
            )
        if splits[key] != [official]:
            continue
        x, y, width, height = (parse_number(field, home / "bounding_boxes.txt", f"image {key}") for field in boxes[key])
        label = parse_class_index(labels[key][0], home / "image_class_labels.txt", f"image {key}", 1)
        corners = as_boxes([[x, y, x + width, y + height]])
        path = safe_join(home / "images", image, home / "images.txt")
        if path.parent not in found:
            found[path.parent] = find_by_stem(path.parent, SUFFIXES, 0)
        samples.append(Sample(image, label, corners, "edges", resolve(path, found[path.parent])))
    if split == "test" or v2:
        return Dataset("cub", split, tuple(samples), names)
    return Dataset("cub", split, hold_out_tenth(samples, split), names, TENTH_OF_TRAIN if split == "val" else "")


def _read_table(path: Path, content: str, columns: int) -> dict[str, list[str]]:
    table: dict[str, list[str]] = {}
    for key, *fields in read_rows(path, content, columns):
        set_once(table, key, fields, path)
    return table


def _with_masks(data: Dataset, folder: Path, cut: float, links: str) -> Dataset:
    """Return the data set with the masks of a folder."""
    paths = [safe_join(folder, f"{os.path.splitext(s.image_id)[0]}.png", folder) for s in data]  # noqa: PTH122  # a name
    if missing := next((path for path, size in measure_files(paths).items() if size < 0), None):
        raise InputError(
            f"{printable(missing)} is missing or no file: it should be the mask of an image; give the folder "
            "segmentations of segmentations.tgz as --dataset-arg masks=DIR"
        )
    if links != FOLLOW_LINKS:
        refuse_links(paths, [folder])
    samples = zip(data.samples, paths, strict=True)
    masked = tuple(replace(sample, mask=_Segmentation(path, cut)) for sample, path in samples)
    return replace(data, samples=masked, mask_rule=f"cut={cut:g}")


@dataclass(frozen=True)
class _Segmentation(MaskReader):
    """Reads a mask of gray values that tell how many annotators marked a pixel."""

    path: Path
    cut: float

    def __call__(self) -> Mask:
        missing = ": it should contain the mask of an image; restore it"
        with open_image(self.path, InputError, missing, "restore the mask") as file:
            gray = np.asarray(to_rgb(decode_stored(file)).convert("L"))
        foreground = gray > self.cut * 255
        if not foreground.any():
            raise InputError(
                f"{printable(self.path)} has no pixel above mask_cut={self.cut:g} of 255; lower the cut, or restore "
                "the mask"
            )
        return Mask(foreground, np.zeros_like(foreground))

    def source(self) -> tuple[Sequence[Path], str]:
        return [self.path], f"cut={self.cut!r}"
