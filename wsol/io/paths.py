"""Names out of lists: what may stand in one, how a sentence shows it, and which files it may mean."""

import os
import re
import stat
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath

from wsol.errors import InputError
from wsol.io.display import printable, quote

FOLLOW_LINKS = "follow"
"""The value of the argument ``links`` that lets symbolic links lead out of the data root."""


def safe_join(folder: Path, name: str, source: Path) -> Path:
    """Join a name that a list gives to the folder that it is to lie in.

    Args:
        folder: The folder.
        name: A relative path, as the list has it.
        source: The list, for the message.

    Raises:
        InputError: The name is empty, absolute, or climbs with ``..``.
    """
    climbs = ".." in name and ".." in PurePath(name).parts
    if not name or climbs or name.startswith((os.sep, os.altsep or os.sep)) or os.path.splitdrive(name)[0]:
        raise InputError(
            f"{printable(source)}: {quote(name)} is no path below {printable(folder)}; write one that is, without "
            "'..', "
            "and put the files there"
        )
    return folder / name


def refuse_links(paths: Iterable[Path], roots: Sequence[Path]) -> None:
    """Make sure that no file lies, by symbolic links, outside the folders that were named for a data set.

    A folder costs one listing, whatever it holds; a file costs a look of its own only if it is a link.

    Args:
        paths: The files; those that do not exist are left to whoever reads them.
        roots: The folders. They may be links themselves.

    Raises:
        InputError: One does.
    """
    homes = tuple(os.path.join(os.path.realpath(root), "") for root in roots)  # noqa: PTH118  # keeps the slash
    folders: dict[str, set[str]] = defaultdict(set)
    for path in paths:
        folder, name = os.path.split(path)
        folders[folder].add(name)
    for folder, names in folders.items():
        _check_inside(folder, homes)
        try:
            with os.scandir(folder) as entries:
                links = [entry.path for entry in entries if entry.name in names and entry.is_symlink()]
        except OSError:  # whoever reads the files says what is the matter
            continue
        for link in links:
            _check_inside(link, homes)


def _check_inside(path: str, homes: tuple[str, ...]) -> None:
    target = os.path.realpath(path)
    if not os.path.join(target, "").startswith(homes):  # noqa: PTH118  # keeps the slash
        raise InputError(
            f"{printable(path)} leads by a link to {printable(target)}, outside the data root; if you made that link, "
            "give "
            f"--dataset-arg links={FOLLOW_LINKS}"
        )


def file_name(*parts: str) -> str:
    """Join what a file or folder is named after; settings and paths have signs that not every disk takes."""
    return re.sub(r"[^\w.+=,-]+", "-", "-".join(parts)).strip("-")


def check_file(path: Path) -> int:
    """Make sure that a path is a file, before it is opened: a pipe or a device would never end.

    Returns:
        Its size in bytes.

    Raises:
        FileNotFoundError: There is nothing.
        OSError: It cannot be looked at, is a loop of links, or is a folder, a pipe or a device; ``strerror`` says so.
    """
    try:
        found = path.stat()
    except ValueError as error:  # a NUL in the name
        raise FileNotFoundError(str(path)) from error
    if not stat.S_ISREG(mode := found.st_mode):
        kinds = ((stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"))
        kind = next((name for is_kind, name in kinds if is_kind(mode)), "a device")
        raise OSError(0, f"it is {kind}")
    return found.st_size
