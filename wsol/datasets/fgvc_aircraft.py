"""FGVC-Aircraft: 100 variants of aircraft."""

from pathlib import Path

from wsol.datasets._download import ARCHIVES, Archive
from wsol.datasets.base import DATASETS, Dataset, Sample, Split, as_boxes
from wsol.errors import ImageError, InputError
from wsol.io.display import list_first, printable, quote
from wsol.io.images import SUFFIXES, open_image
from wsol.io.parallel import map_small_files
from wsol.io.paths import find_by_stem, resolve, safe_join
from wsol.io.text import parse_number, read_lines, read_rows, set_once

ARCHIVES["fgvc-aircraft"] = (
    Archive(
        "https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/archives/fgvc-aircraft-2013b.tar.gz",
        "d4acdd33327262359767eeaa97a4f732",
    ),
)

_BANNER = 20  # rows of pixels
_LEVELS = {"variant": "variants", "family": "families", "manufacturer": "manufacturers"}


@DATASETS.register("fgvc-aircraft")
def fgvc_aircraft(root: Path, split: Split, level: str = "variant") -> Dataset:
    """Read FGVC-Aircraft (Maji et al., "Fine-Grained Visual Classification of Aircraft", 2013).

    Layout: ``data/images/*.jpg``, ``data/images_box.txt`` (id xmin ymin xmax ymax), ``data/variants.txt`` and
    ``data/images_variant_{train,val,test}.txt`` (id variant). Images may have any suffix.

    The lowest 20 rows of every image are a banner with its copyright, which is cut off before anything else: the frame
    is the image without it. Corners are one-based and inclusive. A box that reaches into the banner ends above it, and
    a note counts such boxes. Classes are in the order of ``variants.txt``.

    Args:
        root: The folder with ``data``, or its parent if it is named ``fgvc-aircraft-2013b``.
        split: ``train``, ``val`` or ``test``, as published.
        level: ``variant`` (100 classes), ``family`` (70, of ``families.txt`` and ``images_family_*.txt``) or
            ``manufacturer`` (30).

    Raises:
        InputError: A file of the layout is missing or malformed.
    """
    if level not in _LEVELS:
        raise InputError(f"fgvc-aircraft: unknown level={quote(level)}; known: {', '.join(_LEVELS)}")
    home = root / "fgvc-aircraft-2013b" if (root / "fgvc-aircraft-2013b").is_dir() else root
    data = home / "data"
    lines = read_lines(data / f"{_LEVELS[level]}.txt", f"the name of a {level} per line")
    classes = tuple(line.strip() for line in lines if line.strip())
    labels = {name: label for label, name in enumerate(classes)}
    boxes: dict[str, list[float]] = {}
    box_list, path = data / "images_box.txt", data / f"images_{level}_{split}.txt"
    for name, *fields in read_rows(box_list, "an image number, xmin, ymin, xmax, ymax", 5):
        set_once(boxes, name, [parse_number(field, box_list, f"image {name}") for field in fields], box_list)
    found = find_by_stem(data / "images", SUFFIXES, 0)
    entries: list[tuple[str, int, Path]] = []
    for line in read_lines(path, f"an image number and its {level}"):
        if not line.strip():
            continue
        name, _, text = line.strip().partition(" ")
        if text.strip() not in labels:
            raise InputError(
                f"{printable(path)}: {printable(name)} has the {level} {quote(text.strip())}, which "
                f"{_LEVELS[level]}.txt does not list; restore the file"
            )
        if name not in boxes:
            raise InputError(f"{printable(box_list)} has no line for image {printable(name)}; restore the file")
        image = resolve(safe_join(data / "images", f"{name}.jpg", path), found)
        entries.append((name, labels[text.strip()], image))
    samples, clipped = [], []
    sizes = map_small_files(_frame_of, [image for *_, image in entries])
    for (name, label, image), size in zip(entries, sizes, strict=True):
        box = boxes[name]
        if size is not None and box[3] > size[1] >= box[1]:
            box = [*box[:3], float(size[1])]
            clipped.append(name)
        margins = (0, 0, 0, _BANNER)
        samples.append(Sample(name, label, as_boxes([box]), "one-based", image, size, margins=margins))
    notes = (
        (
            f"{len(clipped)} boxes reach into the banner, the lowest {_BANNER} rows, and end above it: "
            f"{list_first(clipped)}",
        )
        if clipped and split != "train"
        else ()
    )
    return Dataset("fgvc-aircraft", split, tuple(samples), classes, notes=notes)


def _frame_of(path: Path) -> tuple[int, int] | None:
    """Return width and height without the banner; None for a broken file, of which its reader says what is wrong."""
    try:
        with open_image(path, ImageError, "", "") as file:
            width, height = file.size
    except ImageError:
        return None
    return (width, height - _BANNER) if height > _BANNER else None
