"""Stanford Dogs: 120 breeds, with boxes."""

from pathlib import Path

from wsol.datasets._voc_xml import parse_boxes
from wsol.datasets.base import DATASETS, TENTH_OF_TRAIN, Dataset, Sample, Split, as_boxes, hold_out_tenth
from wsol.errors import InputError
from wsol.io.display import printable, quote
from wsol.io.images import SUFFIXES
from wsol.io.mat import MatFile
from wsol.io.parallel import map_small_files
from wsol.io.paths import FOLLOW_LINKS, find_by_stem, refuse_links, resolve, safe_join
from wsol.io.text import MAX_CLASSES
from wsol.io.xml import read_xml
from wsol.runtime.progress import track

_LISTS = {"train": "train_list.mat", "test": "test_list.mat"}


@DATASETS.register("stanford-dogs")
def stanford_dogs(root: Path, split: Split, links: str = "") -> Dataset:
    """Read Stanford Dogs (Khosla et al., "Novel Dataset for Fine-Grained Image Categorization", FGVC 2011).

    Layout: ``Images/<synset>-<breed>/*.jpg``, ``Annotation/<synset>-<breed>/*`` (XML of PASCAL VOC, in files without a
    suffix), ``train_list.mat`` and ``test_list.mat``. Images may have any suffix.

    Corners are 0-based and inclusive, those of ImageNet, from which images and boxes come: of all 22,126 boxes 2,278
    begin at x = 0 and 1,540 at y = 0, and all but two end at width - 1 and height - 1 or before. The two, of training
    images that are not in ``val``, end up to 21 pixels outside. An image has up to six boxes, all of its breed. The
    frame is the XML's ``<size>``.

    Splits: ``test`` is the official test set, ``val`` a seeded tenth of the official training set, ``train`` the rest.

    Args:
        root: The folder with ``Images``, ``Annotation`` and the lists.
        split: ``train``, ``val`` or ``test``.
        links: ``follow`` lets symbolic links lead out of the data root.

    Raises:
        InputError: A file of the layout is missing or malformed.
    """
    lists = {name: _read_list(root / file) for name, file in _LISTS.items()}
    classes: dict[int, str] = {}
    for name, entries in lists.items():
        for image, label in entries:
            folder = image.partition("/")[0]
            if classes.setdefault(label, folder) != folder:
                raise InputError(
                    f"{printable(root / _LISTS[name])} has images of {printable(folder)} and of "
                    f"{printable(classes[label])} with the label {label + 1}; restore the file"
                )
    if sorted(classes) != list(range(len(classes))):
        raise InputError(f"{printable(root)}: the labels in the lists leave out a class; restore the lists")
    selected = tuple(lists["test"]) if split == "test" else hold_out_tenth(lists["train"], split)
    source = root / _LISTS["test" if split == "test" else "train"]
    paths = [safe_join(root / "Images", image, source) for image, _ in selected]
    xml = [safe_join(root / "Annotation", image.rpartition(".")[0] or image, source) for image, _ in selected]
    if links != FOLLOW_LINKS:
        refuse_links(xml, [root])
    found = {folder: find_by_stem(folder, SUFFIXES, 0) for folder in {path.parent for path in paths}}
    boxes = map_small_files(lambda path: parse_boxes(read_xml(path), path), xml if split != "train" else [])
    frames = list(track(boxes, "stanford-dogs annotations", len(xml) if split != "train" else 0, unit="file"))
    samples = tuple(
        Sample(
            image,
            label,
            as_boxes(frames[i][1] if frames else []),
            "inclusive",
            resolve(path, found[path.parent]),
            frames[i][0] if frames else None,
        )
        for i, ((image, label), path) in enumerate(zip(selected, paths, strict=True))
    )
    names = [classes[label].partition("-") for label in range(len(classes))]
    return Dataset(
        "stanford-dogs",
        split,
        samples,
        tuple(breed.replace("_", " ") or synset for synset, _, breed in names),
        TENTH_OF_TRAIN if split == "val" else "",
        synsets=tuple(synset for synset, _, _ in names),
    )


def _read_list(path: Path) -> list[tuple[str, int]]:
    """Return image and label, counted from 0, of each entry of a list."""
    lists = MatFile(path, "the images and labels of a split")
    images, labels = lists.texts("file_list"), lists.numbers("labels")
    if len(labels) != len(images) or not ((labels >= 1) & (labels <= MAX_CLASSES) & (labels % 1 == 0)).all():
        raise InputError(
            f"{printable(path)}: labels should be {len(images)} numbers from 1 on, one per image; restore the file"
        )
    if odd := next((image for image in images if "/" not in image), None):
        raise InputError(f"{printable(path)}: {quote(odd)} is not <synset>-<breed>/<image>; restore the file")
    return [(image, int(label) - 1) for image, label in zip(images, labels.tolist(), strict=True)]
