"""ImageNet-S: 50, 300 or 919 classes of ImageNet with masks."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsol.datasets._extent import extent_of
from wsol.datasets._synsets import read_synsets
from wsol.datasets.base import DATASETS, Dataset, Mask, MaskReader, Sample, Split, as_boxes
from wsol.errors import InputError
from wsol.io.display import list_first, printable
from wsol.io.images import SUFFIXES, open_image
from wsol.io.parallel import map_files
from wsol.io.paths import FOLLOW_LINKS, find_by_stem, only_file, refuse_links
from wsol.io.pixels import decode_stored
from wsol.runtime.progress import track

_COUNTS = (50, 300, 919)
_FOLDERS: dict[Split, str] = {"train": "train", "val": "train-semi", "test": "validation"}
_IGNORED = 1000


@DATASETS.register("imagenet-s")
def imagenet_s(root: Path, split: Split, names: str = "", links: str = "") -> Dataset:
    """Read ImageNet-S (Gao et al., "Large-scale Unsupervised Semantic Segmentation", TPAMI 2022).

    Layout: ``validation/<synset>/*.JPEG`` with ``validation-segmentation/<synset>/*.png``, ``train-semi`` with
    ``train-semi-segmentation``, and ``train``. Images may have any suffix.

    The class of a pixel is its red value plus 256 times its green value, counted from 1 in the sorted order of the
    synsets; 0 is any other object or the background, 1000 is ignored. The label of an image is its folder's, the class
    that was annotated, which is not always the label of ILSVRC. In its mask, pixels of that class are the object; 0 and
    other classes are background, as in the authors' evaluation, where they are errors if they are predicted.

    There are no boxes: the box is the extent of all pixels of the class, half-open edges, which is more than one object
    where there are several. The frame is the mask's. Images without a pixel of their class have no box and are left
    out; a note of the run counts them.

    Splits: ``test`` is ``validation``, as the masks of the official test set are not public, ``val`` is ``train-semi``
    (ten training images per class), ``train`` is ``train``.

    Args:
        root: The folder ``ImageNetS50``, ``ImageNetS300`` or ``ImageNetS919``, or a folder with one of them.
        split: ``train``, ``val`` or ``test``.
        names: A list with a synset and its name on each line, such as ILSVRC's ``LOC_synset_mapping.txt``, for names of
            the classes; without it they are named by their synsets.
        links: ``follow`` lets symbolic links lead out of the data root.

    Raises:
        InputError: A file of the layout is missing or malformed.
    """
    home = _find_home(root)
    folder = home / _FOLDERS[split]
    synsets = _list_synsets(folder)
    known = read_synsets(Path(names)) if names else {}
    images = list(_list_images(folder, synsets))
    left_out: list[str] = []
    if split == "train":
        samples = [Sample(item.image_id, item.label, as_boxes([]), "edges", item.path) for item in images]
    else:
        if links != FOLLOW_LINKS:
            refuse_links((item.mask for item in images), [root])
        read = map_files(lambda item: _read_sample(item, len(synsets)), images, at_once=8)
        samples = []
        for item, sample in zip(images, track(read, "imagenet-s masks", len(images), unit="file"), strict=True):
            if sample:
                samples.append(sample)
            else:
                left_out.append(item.image_id)
    if left_out and not samples:
        raise InputError(f"no mask of {printable(folder)} has a pixel of its folder's class; restore the masks")
    note = f"images whose mask has no pixel of their class are left out ({len(left_out)}): {list_first(left_out)}"
    return Dataset(
        "imagenet-s",
        split,
        tuple(samples),
        tuple(known.get(synset, synset) for synset in synsets),
        f"{len(synsets)} classes",
        notes=(note,) if left_out else (),
        synsets=tuple(synsets),
    )


@dataclass(frozen=True)
class _Item:
    image_id: str
    label: int
    path: Path
    mask: Path


def _find_home(root: Path) -> Path:
    if any((root / name).is_dir() for name in _FOLDERS.values()):
        return root
    homes = [root / f"ImageNetS{count}" for count in _COUNTS if (root / f"ImageNetS{count}").is_dir()]
    if len(homes) != 1:
        found = " and ".join(printable(home.name) for home in homes) or "none"
        raise InputError(
            f"{printable(root)} should be one of the folders ImageNetS50, ImageNetS300 and ImageNetS919, or contain "
            f"one ({found} found); give that folder as --data-root"
        )
    return homes[0]


def _list_synsets(folder: Path) -> list[str]:
    """Return the synsets in sorted order; a missing one would shift the classes of all masks."""
    if not folder.is_dir():
        raise InputError(f"{printable(folder)} is missing: it should contain a folder of images per synset")
    synsets = sorted(path.name for path in folder.iterdir() if re.fullmatch(r"n\d{8}", path.name) and path.is_dir())
    stated = re.fullmatch(r"ImageNetS(\d+)", folder.parent.name)
    if len(synsets) not in _COUNTS or (stated and len(synsets) != int(stated[1])):
        raise InputError(
            f"{printable(folder)} has {len(synsets)} folders of synsets, not the {stated[1] if stated else _COUNTS} of "
            "ImageNet-S, by whose order the classes in the masks count; restore the others, empty ones will do"
        )
    return synsets


def _list_images(folder: Path, synsets: Sequence[str]) -> Iterator[_Item]:
    masks = folder.parent / f"{folder.name}-segmentation"
    for label, synset in enumerate(synsets):
        for stem, files in sorted(find_by_stem(folder / synset, SUFFIXES, 0).items()):
            yield _Item(f"{synset}/{stem}.JPEG", label, only_file(files), masks / synset / f"{stem}.png")


def _read_sample(item: _Item, classes: int) -> Sample | None:
    """Read the mask of an image; None if it has no pixel of its class."""
    mask = _Segmentation(item.mask, item.label + 1, classes)
    foreground = mask().foreground
    box = extent_of(foreground)
    if box is None:
        return None
    size = foreground.shape[1], foreground.shape[0]
    return Sample(item.image_id, item.label, as_boxes([box]), "edges", item.path, size, mask)


@dataclass(frozen=True)
class _Segmentation(MaskReader):
    """Reads the pixels of a class from an image whose red and green values are classes."""

    path: Path
    number: int
    classes: int

    def __call__(self) -> Mask:
        missing = ": the image has no mask and so no box; restore it"
        with open_image(self.path, InputError, missing, "restore the mask") as file:
            image = decode_stored(file)
            values: NDArray[np.uint8] = np.asarray(image)
        if image.mode != "RGB":
            raise InputError(f"{printable(self.path)} has pixels of mode {image.mode}, not RGB; restore the mask")
        numbers = values[..., 0] + values[..., 1] * np.uint16(256)
        odd = ((numbers > self.classes) & (numbers != _IGNORED)) | (values[..., 2] > 0)
        if odd.any():
            red, green, blue = values[odd][0].tolist()
            raise InputError(
                f"{printable(self.path)} has a pixel ({red}, {green}, {blue}), which is none of the {self.classes} "
                "classes; restore the mask"
            )
        return Mask(numbers == self.number, numbers == _IGNORED)

    def source(self) -> tuple[Sequence[Path], str]:
        return [self.path], f"{self.number}/{self.classes}"
