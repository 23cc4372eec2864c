"""Runs below a folder."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from wsol.errors import InputError
from wsol.runs.folder import FOLDERS

_TRACES = ("predictions.parquet", "curves.npy", "maps.npy", "maps.npy.part")


def find_runs(folders: Sequence[str | Path]) -> tuple[dict[str, Path], list[str]]:
    """Looks for runs; the validation split of a run is part of it, and no run of its own.

    Args:
        folders: Where to look, links included.

    Returns:
        The folders that hold a ``run.json``, in the order of their names: their paths from the folder given, or from
        what the folders have in common. And the names of those that hold parts of a run without one.

    Raises:
        InputError: There is no such folder.
    """
    roots = [Path(os.path.abspath(folder)) for folder in folders]  # noqa: PTH100  # links keep their names
    for folder, root in zip(folders, roots, strict=True):
        if not root.is_dir():
            raise InputError(f"there is no folder {folder}; give one that holds runs of wsol.eval or wsol.score")
    if not roots:
        raise InputError("give a folder that holds runs of wsol.eval or wsol.score")
    top = os.path.commonpath(roots)
    found = {folder: complete for root in roots for folder, complete in _walk(root, frozenset())}
    names = {Path(os.path.relpath(folder, top)).as_posix(): folder for folder in found}
    return (
        {name: names[name] for name in sorted(names) if found[names[name]]},
        [name for name in sorted(names) if not found[names[name]]],
    )


def _walk(folder: Path, above: frozenset[Path]) -> Iterator[tuple[Path, bool]]:
    """Yields run folders, and whether they have a ``run.json``."""
    above |= {folder.resolve()}
    complete = (folder / "run.json").exists()
    is_run = complete or any((folder / name).exists() for name in _TRACES)
    if is_run:
        yield folder, complete
    for path in sorted(folder.iterdir()):
        if path.is_dir() and path.resolve() not in above and not (is_run and path.name in FOLDERS):
            yield from _walk(path, above)
