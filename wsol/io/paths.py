"""File names: which names a list may contain, which files they may refer to, and names for our own files."""

import contextlib
import io
import os
import re
import stat
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from wsol.errors import InputError
from wsol.io.display import printable, quote
from wsol.io.names import is_relative_below
from wsol.io.zip_members import ZipEntry, find_member, read_member, scan_members

FOLLOW_LINKS = "follow"
"""The value of the argument ``links`` that lets symbolic links lead out of the data root."""


def safe_join(folder: Path, name: str, source: Path) -> Path:
    """Join a folder and the name that a list gives to a file below it.

    Args:
        folder: The folder.
        name: The relative path, as the list has it.
        source: The list, for the message.

    Raises:
        InputError: The name is empty, absolute, or climbs with ``..``.
    """
    if not is_relative_below(name):
        raise InputError(
            f"{printable(source)}: {quote(name)} is not a path below {printable(folder)}; move the file there and list "
            "its relative path, without '..'"
        )
    return folder / name


FilesByStem = Mapping[str, Sequence[str]]
"""Paths of files by their names without suffix."""


def find_by_stem(folder: Path, suffixes: Collection[str], depth: int) -> FilesByStem:
    """Find files, so that ``resolve`` finds those that a list names with another suffix or folder.

    Args:
        folder: Where to look, a folder or one inside a zip archive; one that does not exist has no files.
        suffixes: The suffixes, in lower case; those of files may have any case.
        depth: Levels of folders below ``folder`` that are searched too. Hidden files and folders are not.
    """
    found: defaultdict[str, list[str]] = defaultdict(list)
    folders = [(os.fspath(folder), depth)]
    while folders:
        place, levels = folders.pop()
        with contextlib.suppress(OSError), _scan(place) as entries:  # reading the files raises a better error
            for entry in entries:
                stem, suffix = os.path.splitext(entry.name)  # noqa: PTH122  # a million names
                if stem.startswith("."):
                    continue
                if suffix.lower() in suffixes:
                    found[stem].append(entry.path)
                elif levels and entry.is_dir():
                    folders.append((entry.path, levels - 1))
    return found


def _scan(folder: str) -> contextlib.AbstractContextManager[Iterable["os.DirEntry[str] | ZipEntry"]]:
    members = scan_members(folder)
    return os.scandir(folder) if members is None else contextlib.nullcontext(members)


def resolve(path: Path, found: FilesByStem) -> Path:
    """Return a file that a list names, or the one found file of the same name with another suffix or folder.

    Raises:
        InputError: There are several such files.
    """
    files = found.get(path.stem, [])
    return path if not files or os.fspath(path) in files else only_file(files)


def only_file(files: Sequence[str]) -> Path:
    """Return the only file of a name.

    Raises:
        InputError: There are several.
    """
    if len(files) > 1:
        first, second, *_ = map(printable, sorted(files))
        raise InputError(f"{first} and {second} are two files of one name; keep one")
    return Path(files[0])


def refuse_links(paths: Iterable[Path | str], roots: Sequence[Path]) -> None:
    """Check that no symbolic link leads from a file's path out of the folders that the user named.

    Each folder is listed once, whatever its size; a file is resolved only if it is a link itself.

    Args:
        paths: The files; those that do not exist are skipped, since reading them raises a better error.
        roots: The folders. They may be links themselves.

    Raises:
        InputError: A link leads out of the folders.
    """
    homes = tuple(os.path.join(os.path.realpath(root), "") for root in roots)  # noqa: PTH118  # keeps the slash
    names_by_folder: dict[str, set[str]] = defaultdict(set)
    for path in paths:
        folder, name = os.path.split(path)
        names_by_folder[folder].add(name)
    for folder, names in names_by_folder.items():
        _check_inside(folder, homes)
        try:
            with os.scandir(folder) as entries:
                links = [entry.path for entry in entries if entry.name in names and entry.is_symlink()]
        except OSError:  # reading the files raises a better error
            continue
        for link in links:
            _check_inside(link, homes)


def _check_inside(path: str, homes: tuple[str, ...]) -> None:
    target = os.path.realpath(path)
    if not os.path.join(target, "").startswith(homes):  # noqa: PTH118  # keeps the slash
        raise InputError(
            f"{printable(path)} is a link, or below one, to {printable(target)}, outside the data root; if the link is "
            f"yours, give --dataset-arg links={FOLLOW_LINKS}"
        )


def check_file(path: Path | str) -> int:
    """Check that a path is a regular file, before it is opened: reading a pipe or a device might never end.

    Args:
        path: A path, which may lead into a zip archive.

    Returns:
        Its size in bytes.

    Raises:
        FileNotFoundError: The path does not exist.
        OSError: The path cannot be examined, is a loop of links, or is a folder, a pipe or a device; ``strerror`` says
            which.
        InputError: The path leads into an archive that is damaged or refused.
    """
    if entry := find_member(path):
        if entry.is_dir():
            raise OSError(0, "it is a folder")
        return entry.size
    try:
        status = os.stat(path)  # noqa: PTH116  # faster than Path.stat for a million files
    except ValueError as error:  # a NUL in the name
        raise FileNotFoundError(str(path)) from error
    if not stat.S_ISREG(mode := status.st_mode):
        kinds = ((stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"))
        kind = next((name for is_kind, name in kinds if is_kind(mode)), "a device")
        raise OSError(0, f"it is {kind}")
    return status.st_size


def is_folder(path: Path) -> bool:
    """Return whether a path is a folder, or one inside a zip archive.

    Raises:
        InputError: As for ``check_file``.
    """
    try:
        entry = find_member(path)
    except FileNotFoundError:
        return False
    return entry.is_dir() if entry else path.is_dir()


def open_file(path: Path) -> io.BytesIO | io.BufferedReader:
    """Open a regular file for reading, or one inside a zip archive, which is read into memory.

    Raises:
        FileNotFoundError: The path does not exist.
        OSError: As for ``check_file``, or the archive is damaged there.
        InputError: As for ``check_file``.
    """
    entry = find_member(path)
    if entry and not entry.is_dir():
        return io.BytesIO(read_member(entry))
    check_file(path)
    return path.open("rb")


def file_name(*parts: str) -> str:
    """Join settings into the name of a file or folder, without characters that some file systems refuse."""
    return re.sub(r"[^\w.+=,-]+", "-", "-".join(parts)).strip("-")
