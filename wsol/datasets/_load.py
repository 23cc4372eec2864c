"""Loading one split of a data set by name."""

import inspect
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from wsol.datasets._download import ARCHIVES, download_archives
from wsol.datasets.base import DATASETS, SPLITS, ZIPPED, Dataset, Split, as_boxes, check_dataset
from wsol.errors import InputError
from wsol.io.paths import FOLLOW_LINKS, refuse_links
from wsol.io.zip_members import is_archive


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
        root: Folder of the data set, for some a zip archive of it; ``datasets/<name>`` if None. A generated data set
            has none.
        split: ``train``, ``val`` or ``test``.
        dataset_args: Arguments of the adapter, documented in its docstring; and ``links`` for data sets with files:
            ``follow`` lets symbolic links lead out of ``root`` and the folders named here.
        download: Download the data set into ``root`` first, where its host allows it.

    Returns:
        The samples, checked: ids are unique, labels name a class, and in ``val`` and ``test`` every sample with an
        object has a box and every box is finite and not inverted; no link leads from an image out of the folders.
        Samples of ``train`` have neither boxes nor masks.

    Raises:
        InputError: A name is unknown, or a file is missing or malformed.
    """
    name = DATASETS.canonical(name)
    adapter = DATASETS.get(name)
    if split not in SPLITS:
        raise InputError(f"unknown split {split!r}; known: {', '.join(SPLITS)}")
    parameters = list(inspect.signature(adapter).parameters)
    roots: tuple[Path, ...] = ()
    if "root" in parameters:
        roots = (_find_root(name, root, download),)
    elif root is not None or download:
        raise InputError(f"{name} is generated and needs no files; leave out --data-root and --download")
    own, arguments = parameters[len(roots) + 1 :], dict(dataset_args or {})
    accepted = dict.fromkeys([*own, *(["links"] if roots else [])])
    for key in arguments:
        if key not in accepted:
            raise InputError(f"{name}: unknown --dataset-arg {key!r}; it takes: {', '.join(accepted) or 'none'}")
    links = arguments.get("links", "")
    if links not in ("", FOLLOW_LINKS):
        raise InputError(
            f"{name}: unknown links={links!r}; give {FOLLOW_LINKS}, or leave it out to refuse links that leave the root"
        )
    dataset = adapter(*roots, split, **{key: value for key, value in arguments.items() if key in own})
    if split == "train":  # weak labels only: later code cannot use a box
        weak = (replace(sample, boxes=as_boxes([]), mask=None, empty=False) for sample in dataset.samples)
        dataset = replace(dataset, samples=tuple(weak))
    check_dataset(dataset)
    if links != FOLLOW_LINKS:
        folders = [base / value for value in arguments.values() if value for base in (Path(), *roots)]
        refuse_links((s.path for s in dataset.samples if s.path), [*roots, *folders])
    return dataset


def _find_root(name: str, root: str | Path | None, download: bool) -> Path:
    folder = Path("datasets") / name if root is None else Path(root)
    if download:
        download_archives(name, folder)
    if is_archive(folder):
        if name not in ZIPPED:
            raise InputError(f"{name} is not read from a zip archive; unpack {folder} and give the folder")
    elif not folder.is_dir():
        alternative = ", or download it by --download of wsol.eval" if name in ARCHIVES else ""
        raise InputError(
            f"{name}: there is no folder {folder}; give --data-root the folder of the data set, whose layout is "
            f"described by `python -m pydoc {DATASETS.get(name).__module__}`{alternative}"
        )
    return folder
