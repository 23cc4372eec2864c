"""ISIC 2017: dermoscopic images of skin lesions with masks."""

from pathlib import Path

from wsol.datasets._object_masks import sample_from_masks
from wsol.datasets.base import DATASETS, Dataset, Sample, Split, as_boxes
from wsol.errors import InputError
from wsol.io.display import printable
from wsol.io.images import SUFFIXES
from wsol.io.paths import FOLLOW_LINKS, find_by_stem, refuse_links, resolve, safe_join
from wsol.io.text import parse_number, read_csv
from wsol.runtime.progress import track

_PREFIXES = {"train": "ISIC-2017_Training", "val": "ISIC-2017_Validation", "test": "ISIC-2017_Test_v2"}
_DIAGNOSES = ("melanoma", "seborrheic_keratosis")
_CLASSES = ("nevus", "melanoma", "seborrheic keratosis")


@DATASETS.register("isic2017")
def isic2017(root: Path, split: Split, links: str = "") -> Dataset:
    """Read ISIC 2017 (Codella et al., "Skin Lesion Analysis Toward Melanoma Detection", ISBI 2018).

    Layout, with ``PART`` one of ``Training``, ``Validation`` and ``Test_v2``: ``ISIC-2017_PART_Data/<id>.jpg``, the
    lesion masks ``ISIC-2017_PART_Part1_GroundTruth/<id>_segmentation.png``, and the diagnoses
    ``ISIC-2017_PART_Part3_GroundTruth.csv`` with the columns ``image_id,melanoma,seborrheic_keratosis``. Images may
    have any suffix. The superpixels (``<id>_superpixels.png``) are not used.

    Every image shows one lesion, 255 in its mask, whose extent is the box, half-open edges, in the frame of the mask.
    A lesion is a melanoma, a seborrheic keratosis, or, if it is neither, a nevus, which is the first class.

    Args:
        root: The folder with these folders and files.
        split: ``train``, ``val`` or ``test``, as published.
        links: ``follow`` lets symbolic links lead out of the data root.

    Raises:
        InputError: A file of the layout is missing or malformed.
    """
    prefix = _PREFIXES[split]
    path, data, masks = (root / f"{prefix}_{part}" for part in ("Part3_GroundTruth.csv", "Data", "Part1_GroundTruth"))
    _, rows = read_csv(path, ("image_id", *_DIAGNOSES))
    found = find_by_stem(data, SUFFIXES, 0)
    entries: list[tuple[str, int, Path, Path]] = []
    for line, row in rows:
        name = row["image_id"]
        image = resolve(safe_join(data, f"{name}.jpg", path), found)
        label = _find_label(row, path, f"line {line}")
        entries.append((name, label, image, safe_join(masks, f"{name}_segmentation.png", path)))
    if split == "train":
        samples = tuple(Sample(name, label, as_boxes([]), "edges", image) for name, label, image, _ in entries)
        return Dataset("isic2017", split, samples, _CLASSES)
    if links != FOLLOW_LINKS:
        refuse_links((mask for *_, mask in entries), [root])
    tracked = track(entries, "isic2017 masks", unit="file")
    samples = tuple(sample_from_masks(name, label, image, None, [mask], None) for name, label, image, mask in tracked)
    return Dataset("isic2017", split, samples, _CLASSES)


def _find_label(row: dict[str, str], path: Path, where: str) -> int:
    flags = [parse_number(row[name], path, where) for name in _DIAGNOSES]
    if not {*flags} <= {0, 1} or sum(flags) > 1:
        raise InputError(
            f"{printable(path)}, {where}: melanoma and seborrheic_keratosis should be 0 or 1, and at most one of them "
            "1; restore the file"
        )
    return flags.index(1) + 1 if 1 in flags else 0
