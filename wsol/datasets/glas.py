"""GlaS: colon tissue with glands, benign and malignant."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects

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
from wsol.io.display import printable, quote
from wsol.io.images import SUFFIXES, open_image
from wsol.io.paths import FOLLOW_LINKS, file_name, find_by_stem, refuse_links, resolve, safe_join
from wsol.io.pixels import decode_stored
from wsol.io.text import read_csv, read_rows
from wsol.runtime.progress import track

_FOLDERS = ("Warwick_QU_Dataset_(Released_2016_07_08)", "Warwick QU Dataset (Released 2016_07_08)")
_MAX_GLANDS = 1000  # the published annotations have a few dozens at most
_CLASSES = ("benign", "malignant")
_LISTS = {"train": "train", "val": "valpx"}


@DATASETS.register("glas")
def glas(root: Path, split: Split, lists: str = "", links: str = "") -> Dataset:
    """Read GlaS (Sirinukunwattana et al., "Gland Segmentation in Colon Histology Images", Medical Image Analysis 2017).

    Layout: ``{train,testA,testB}_<n>.bmp`` with the annotation ``..._anno.bmp`` beside each, and ``Grade.csv``, whose
    first and third columns are the name and the grade, benign or malignant. Images and annotations may have any suffix.

    In an annotation 0 is the background and every other value a gland: foreground are all glands, and the extent of
    each is a box, half-open edges, in the annotation's frame. Glands of both classes are objects.

    Splits: ``test`` is test A and test B. If ``lists`` is given, ``val`` and ``train`` are ``valpx`` and ``train`` of a
    fold of Rony et al.; otherwise ``val`` is a seeded tenth of the official training set and ``train`` the rest.

    Args:
        root: The folder with these files, or its parent.
        split: ``train``, ``val`` or ``test``.
        lists: Folder of a fold, such as ``folds/wsol-done-right-splits/GLAS/fold-0`` in the repository
            jeromerony/survey_wsl_histology.
        links: ``follow`` lets symbolic links lead out of the data root.

    Raises:
        InputError: A file of the layout is missing or malformed.
    """
    home = next((root / name for name in _FOLDERS if (root / name).is_dir()), root)
    grades = _read_grades(home / "Grade.csv")
    official = tuple(name for name in grades if name.startswith("test") is (split == "test"))
    if split == "test":
        names, origin = official, ""
    elif lists:
        names, origin = _read_fold(Path(lists) / _LISTS[split], grades), file_name(Path(lists).name)
    else:
        names, origin = hold_out_tenth(official, split), TENTH_OF_TRAIN if split == "val" else ""
    found = find_by_stem(home, SUFFIXES, 0)
    images, notes = (
        {name: resolve(safe_join(home, f"{name}{end}.bmp", home / "Grade.csv"), found) for name in names}
        for end in ("", "_anno")
    )
    if split == "train":
        samples = tuple(Sample(name, grades[name], as_boxes([]), "edges", images[name]) for name in names)
        return Dataset("glas", split, samples, _CLASSES, origin)
    if links != FOLLOW_LINKS:
        refuse_links(notes.values(), [root])
    tracked = track(names, "glas annotations", unit="file")
    samples = tuple(_read_sample(name, grades[name], images[name], notes[name]) for name in tracked)
    return Dataset("glas", split, samples, _CLASSES, origin)


def _read_grades(path: Path) -> dict[str, int]:
    """Return the class index of each image, in the order of the file."""
    columns, rows = read_csv(path, ("name",))
    grade = columns[2] if len(columns) > 2 else ""
    grades: dict[str, int] = {}
    for line, row in rows:
        name, text = row["name"], row.get(grade, "").lower()
        if text not in _CLASSES:
            raise InputError(
                f"{printable(path)}, line {line}: the grade in the third column is {quote(text)}; restore the file, "
                f"which has {' or '.join(_CLASSES)} there"
            )
        if name in grades:
            raise InputError(f"{printable(path)}, line {line}: {quote(name)} is listed twice; keep one line")
        grades[name] = _CLASSES.index(text)
    return grades


def _read_fold(folder: Path, grades: dict[str, int]) -> tuple[str, ...]:
    path = folder / "image_ids.txt"
    names = tuple(Path(row[0]).stem for row in read_rows(path, "an image path", 1, ","))
    if unknown := next((name for name in names if name not in grades), None):
        raise InputError(f"{printable(path)}: {quote(unknown)} is not in Grade.csv; give the lists of GlaS")
    return names


def _read_sample(name: str, label: int, image: Path, notes: Path) -> Sample:
    glands = _read_glands(notes)
    present = np.unique(glands[glands > 0])
    if not 1 <= len(present) <= _MAX_GLANDS:
        raise InputError(
            f"{printable(notes)} marks {len(present)} glands, not 1 to {_MAX_GLANDS}; restore the annotation, or "
            "remove the image"
        )
    places = find_objects(np.where(glands > 0, np.searchsorted(present, glands) + 1, 0))
    boxes = [[columns.start, rows.start, columns.stop, rows.stop] for rows, columns in places]
    size = (glands.shape[1], glands.shape[0])
    return Sample(name, label, as_boxes(boxes), "edges", image, size, _Glands(notes))


@dataclass(frozen=True)
class _Glands(MaskReader):
    """Reads the glands of an annotation as one mask."""

    path: Path

    def __call__(self) -> Mask:
        foreground = _read_glands(self.path) > 0
        return Mask(foreground, np.zeros_like(foreground))

    def source(self) -> tuple[Sequence[Path], str]:
        return [self.path], ""


def _read_glands(path: Path) -> NDArray[np.integer]:
    """Return the number of the gland at each pixel, 0 for none."""
    with open_image(path, InputError, ": the image has no annotation; restore it", "restore the annotation") as file:
        image = decode_stored(file)
        values: NDArray[np.integer] = np.asarray(image if len(image.getbands()) == 1 else image.convert("L"))
    return values
