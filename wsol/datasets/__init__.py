"""Data sets: image, class, boxes and masks, each read in its original layout."""

import inspect
from dataclasses import replace
from pathlib import Path

import numpy as np

from wsol.datasets._download import download as fetch
from wsol.datasets._loader import Batch, read_batches
from wsol.datasets.base import DATASETS, SPLITS, Dataset, Sample, Split, as_boxes, count_clipped
from wsol.errors import InputError

__all__ = [
    "DATASETS",
    "SPLITS",
    "Batch",
    "Dataset",
    "Sample",
    "Split",
    "count_clipped",
    "load_dataset",
    "read_batches",
]


def load_dataset(
    name: str, root: str | Path | None = None, split: Split = "test", download: bool = False, **arguments: str
) -> Dataset:
    """Reads one split of a data set.

    Args:
        name: Registered name, see ``python -m wsol.list datasets``.
        root: Folder that holds the data set; ``datasets/<name>`` if None.
        split: ``train``, ``val`` or ``test``.
        download: Fetch the data set into ``root`` first, where its host allows it.
        **arguments: The adapter's own arguments, as its docstring names them.

    Returns:
        The samples, checked: ids are unique, labels name a class, and in ``val`` and ``test`` every sample has a box
        and every box is finite and not inverted. Samples of ``train`` come without boxes and masks.

    Raises:
        InputError: Something is unknown, missing or malformed.
    """
    adapter = DATASETS.get(name)
    if split not in SPLITS:
        raise InputError(f"unknown split {split!r}; known: {', '.join(SPLITS)}")
    folder = Path("datasets") / name if root is None else Path(root)
    if download:
        fetch(name, folder)
    if not folder.is_dir():
        raise InputError(
            f"{name}: there is no folder {folder}; give --data-root the folder that the card datasets/{name}.md "
            "describes, or --download where the data set is public"
        )
    known = list(inspect.signature(adapter).parameters)[2:]
    for argument in arguments:
        if argument not in known:
            takes = ", ".join(known) or "none"
            raise InputError(f"{name}: unknown --dataset-arg {argument!r}; it takes: {takes}")
    dataset = adapter(folder, split, **arguments)
    if split == "train":  # weak labels only: nothing downstream can look at a box
        dataset = replace(dataset, samples=tuple(replace(s, boxes=as_boxes([]), mask=None) for s in dataset.samples))
    _check(dataset)
    return dataset


def _check(dataset: Dataset) -> None:
    if not dataset.samples:
        raise InputError(f"{dataset.name}: the split {dataset.split!r} has no image")
    seen: set[str] = set()
    for sample in dataset.samples:
        where = f"{dataset.name} {dataset.split}: {sample.image_id}"
        if sample.image_id in seen:
            raise InputError(f"{where} is listed twice; keep one entry")
        seen.add(sample.image_id)
        if not 0 <= sample.label < len(dataset.classes):
            raise InputError(f"{where} has label {sample.label}, outside 0 to {len(dataset.classes) - 1}")
        if dataset.split != "train" and not len(sample.boxes):
            raise InputError(f"{where} has no box; annotate it or take it out of the split")
        edges = sample.edges
        if not np.isfinite(edges).all() or (edges[:, 2:] <= edges[:, :2]).any():
            raise InputError(
                f"{where} has an empty, inverted or non-finite box in {sample.boxes.tolist()} "
                f"({sample.corners} corners x0, y0, x1, y1); mend the annotation"
            )
