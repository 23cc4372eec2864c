"""From a name to the samples of one split."""

import inspect
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from wsol.datasets._download import download as fetch
from wsol.datasets.base import DATASETS, SPLITS, Dataset, Split, as_boxes, check_dataset
from wsol.errors import InputError
from wsol.io.paths import FOLLOW_LINKS, refuse_links


def load_dataset(
    name: str,
    root: str | Path | None = None,
    split: Split = "test",
    dataset_args: Mapping[str, str] | None = None,
    download: bool = False,
) -> Dataset:
    """Read one split of a data set.

    Args:
        name: Registered name, see ``python -m wsol.list datasets``.
        root: Folder that holds the data set; ``datasets/<name>`` if None. A generated data set has none.
        split: ``train``, ``val`` or ``test``.
        dataset_args: The adapter's own arguments, as its docstring and the data set's card name them; and ``links``,
            where there are files: ``follow`` lets symbolic links lead out of ``root`` and the folders named here.
        download: Fetch the data set into ``root`` first, where its host allows it.

    Returns:
        The samples, checked: ids are unique, labels name a class, and in ``val`` and ``test`` every sample has a box
        and every box is finite and not inverted; no image lies elsewhere by a link. Samples of ``train`` come without
        boxes and masks.

    Raises:
        InputError: Something is unknown, missing or malformed.
    """
    adapter = DATASETS.get(name)
    if split not in SPLITS:
        raise InputError(f"unknown split {split!r}; known: {', '.join(SPLITS)}")
    parameters = list(inspect.signature(adapter).parameters)
    place: tuple[Path, ...] = ()
    if "root" in parameters:
        place = (_folder(name, root, download),)
    elif root is not None or download:
        raise InputError(f"{name} is generated and needs no files; leave out --data-root and --download")
    known, given = parameters[len(place) + 1 :], dict(dataset_args or {})
    takes = dict.fromkeys([*known, *(["links"] if place else [])])
    for argument in given:
        if argument not in takes:
            raise InputError(f"{name}: unknown --dataset-arg {argument!r}; it takes: {', '.join(takes) or 'none'}")
    links = given.get("links", "")
    if links not in ("", FOLLOW_LINKS):
        raise InputError(
            f"{name}: unknown links={links!r}; give {FOLLOW_LINKS}, or leave it out to refuse links that leave"
        )
    dataset = adapter(*place, split, **{key: value for key, value in given.items() if key in known})
    if split == "train":  # weak labels only: nothing downstream can look at a box
        dataset = replace(dataset, samples=tuple(replace(s, boxes=as_boxes([]), mask=None) for s in dataset.samples))
    check_dataset(dataset)
    if links != FOLLOW_LINKS:
        named = [base / value for value in given.values() if value for base in (Path(), *place)]
        refuse_links((s.path for s in dataset.samples if s.path), [*place, *named])
    return dataset


def _folder(name: str, root: str | Path | None, download: bool) -> Path:
    folder = Path("datasets") / name if root is None else Path(root)
    if download:
        fetch(name, folder)
    if not folder.is_dir():
        raise InputError(
            f"{name}: there is no folder {folder}; give --data-root the folder that the card datasets/{name}.md "
            "describes, or --download where the data set is public"
        )
    return folder
