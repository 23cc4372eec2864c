"""Pseudo boxes: boxes that no human drew, in place of those of a validation split."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from wsol.datasets.base import Dataset, Sample, check_dataset
from wsol.datasets.coco import coco
from wsol.datasets.metadata import read_lists
from wsol.errors import InputError
from wsol.io.display import list_first, printable

PSEUDO = "pseudo"
"""Last part of the origin of a split whose boxes are pseudo boxes."""

_LIST = "localization.txt"
_UNUSED = "pseudo boxes without an image"
_OF_EMPTY = "pseudo boxes of images that show no object"


def with_pseudo_boxes(dataset: Dataset, source: str | Path) -> Dataset:
    """Replace the boxes of a validation split by pseudo boxes, such as region proposals.

    Murtaza et al., "A Realistic Protocol for Evaluation of Weakly Supervised Object Localization", WACV 2025: a
    threshold or a checkpoint that is chosen on them uses no box that a human drew.

    Args:
        dataset: The validation split.
        source: Folder of lists in the format of Choe et al., or with such a folder ``val``; or a file in COCO's JSON
            format. Images are found by their id: the path in the lists, the id that the data set ``coco`` gives them.

    Returns:
        The same images with the boxes, corner convention and frame of ``source``, without masks. ``origin`` ends with
        ``PSEUDO``; a note counts the images of ``source`` that the split does not have. Images that show no object
        need no box and keep none, as they have none on the evaluated split; a note counts those with boxes.

    Raises:
        InputError: It is no validation split, ``source`` is neither, it lacks images of the split, or the boxes are
            invalid or in the frame of an image with the margins that are cut off.
    """
    path = Path(source)
    if dataset.split != "val":
        raise InputError(f"pseudo boxes replace those of the split val, not of {dataset.split}; leave out --val-boxes")
    pseudo = _read_boxes(path, dataset)
    wanted = [sample for sample in dataset if not (sample.class_only or sample.empty)]
    missing = [printable(sample.image_id) for sample in wanted if sample.image_id not in pseudo]
    if missing:
        raise InputError(
            f"{printable(path)} has no box for {len(missing)} of {len(wanted)} images of {dataset.name} val: "
            f"{list_first(missing)}; add them, or give the boxes of this split"
        )
    boxed = {sample.image_id for sample in wanted}
    samples = tuple(
        _replace_boxes(s, pseudo[s.image_id]) if s.image_id in boxed else replace(s, mask=None) for s in dataset
    )
    own = {sample.image_id for sample in dataset}
    unused = {
        _UNUSED: [printable(image_id) for image_id in pseudo if image_id not in own],
        _OF_EMPTY: [printable(s.image_id) for s in dataset if s.empty and s.image_id in pseudo],
    }
    notes = [
        f"{what} in {dataset.name} val are not used ({len(ids)}): {list_first(ids)}"
        for what, ids in unused.items()
        if ids
    ]
    origin = ",".join(filter(None, [dataset.origin, PSEUDO]))
    replaced = replace(dataset, samples=samples, origin=origin, notes=(*dataset.notes, *notes))
    check_dataset(replaced)
    return replaced


def has_pseudo_boxes(dataset: Dataset) -> bool:
    """Return whether the boxes of a split are pseudo boxes."""
    return dataset.origin.rpartition(",")[2] == PSEUDO


def unused_boxes(dataset: Dataset) -> list[str]:
    """Return the notes on pseudo boxes that a split has no use for, if there are any."""
    return [note for note in dataset.notes if note.startswith((_UNUSED, _OF_EMPTY))]


def _read_boxes(path: Path, dataset: Dataset) -> Mapping[str, Sample]:
    """Read samples with at least one box, by id; those of lists have the labels of the split."""
    if path.is_file():
        return {s.image_id: s for s in coco(path.parent, "val", annotations=path.name)}
    folder = path if (path / _LIST).is_file() else path / "val"
    if not (folder / _LIST).is_file():
        raise InputError(
            f"{printable(path)} holds no pseudo boxes; give a folder with {_LIST} and the other lists of Choe et al., "
            "or a file in COCO's JSON format"
        )
    samples = {s.image_id: s for s in read_lists(folder, None) if len(s.boxes)}
    for sample in dataset:
        found = samples.get(sample.image_id)
        if found and found.label != sample.label:
            raise InputError(
                f"{printable(folder)}: {printable(sample.image_id)} has the label {found.label}, and {sample.label} in "
                f"{dataset.name} val; give the boxes of this split"
            )
    return samples


def _replace_boxes(sample: Sample, pseudo: Sample) -> Sample:
    size, (left, top, right, bottom) = pseudo.size or sample.size, sample.margins
    if any(sample.margins) and sample.size and size == (sample.size[0] + left + right, sample.size[1] + top + bottom):
        raise InputError(
            f"the pseudo boxes of {printable(sample.image_id)} are in the frame of the stored file, "
            f"{size[0]} x {size[1]}, whose margins are cut off; give boxes of the image of "
            f"{sample.size[0]} x {sample.size[1]} pixels"
        )
    return replace(sample, boxes=pseudo.boxes, corners=pseudo.corners, size=size, mask=None)
