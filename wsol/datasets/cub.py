"""CUB-200-2011: 200 species of birds."""

from pathlib import Path

from wsol.datasets._download import ARCHIVES, Archive
from wsol.datasets.base import DATASETS, TENTH_OF_TRAIN, Dataset, Sample, Split, as_boxes, hold_out_tenth
from wsol.datasets.metadata import read_lists
from wsol.errors import InputError
from wsol.io.display import printable
from wsol.io.images import SUFFIXES
from wsol.io.paths import FilesByStem, find_by_stem, resolve, safe_join
from wsol.io.text import parse_class_index, parse_number, read_rows, set_once

ARCHIVES["cub"] = (
    Archive("https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz", "97eceeb196236b17998738112f37df78"),
)


@DATASETS.register("cub")
def cub(root: Path, split: Split, v2: str = "", v2_images: str = "") -> Dataset:
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

    Args:
        root: The folder ``CUB_200_2011``, or its parent.
        split: ``train``, ``val`` or ``test``.
        v2: Folder with the lists of Choe et al. for CUBV2.
        v2_images: Folder of its images; ``root`` if empty.

    Raises:
        InputError: A file of the layout is missing or malformed.
    """
    home = root / "CUB_200_2011" if (root / "CUB_200_2011").is_dir() else root
    names = tuple(row[1] for row in read_rows(home / "classes.txt", "a class number and its name", 2))
    if split == "val" and v2:
        return Dataset("cub", split, read_lists(Path(v2), Path(v2_images or root)), names, "CUBV2")
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
