"""Files inside zip archives, named by paths that lead through the archive: ``data.zip/folder/image.jpg``.

Nothing is unpacked and no file stays open: each read opens the archive, seeks the member and checks its CRC-32, so that
threads and forked processes read at the same time. Only the list of the members is kept.
"""

import os
import re
import stat
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from wsol.errors import InputError, first_line
from wsol.io.display import printable, quote
from wsol.io.names import is_relative_below

_ARCHIVE = re.compile(rf"\.zip(?={re.escape(os.sep)}|$)", re.IGNORECASE)
_HEADER = 30  # bytes of a member's header before its name and its extra field
_MAX_BYTES = 2**28  # of a member; a deflated one may grow a thousandfold
_MAX_DEPTH = 32  # folders that a member is in
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 1


@dataclass(frozen=True, slots=True)
class ZipEntry:
    """A file or folder in an archive, with what ``find_by_stem`` needs of ``os.DirEntry``.

    Attributes:
        archive: Path of the archive.
        member: Its name in the archive.
        start: Offset of its header in bytes; -1 for a folder.
        packed: Its size in the archive in bytes.
        size: Its size in bytes when unpacked.
        crc: The CRC-32 of its content.
        deflated: Whether it is compressed.
    """

    archive: str
    member: str
    start: int = -1
    packed: int = 0
    size: int = 0
    crc: int = 0
    deflated: bool = False

    @property
    def name(self) -> str:
        """Its name in its folder."""
        return self.member.rpartition("/")[2]

    @property
    def path(self) -> str:
        """Its path, through the archive."""
        return f"{self.archive}{os.sep}{self.member}"

    def is_dir(self) -> bool:
        """Return whether it is a folder."""
        return self.start < 0


_Folders = dict[str, dict[str, ZipEntry]]
"""Files and folders by the name of their folder, "" for the archive itself, and by their own."""


def is_archive(path: Path) -> bool:
    """Return whether a path is a file with the suffix ``.zip``."""
    return _split(path) == (os.fspath(path), "")


def find_member(path: Path | str) -> ZipEntry | None:
    """Return the file or folder of an archive that a path leads to; None if the path leads into no archive.

    Args:
        path: A path; what follows an existing file with the suffix ``.zip`` is the name of a member.

    Raises:
        InputError: The archive is damaged, or has a member that is refused.
        FileNotFoundError: The archive has no such member.
    """
    archive, name = _split(path)
    if not name:
        return None
    folder, _, last = name.rpartition("/")
    entry = _list_archive(archive).get(folder, {}).get(last)
    if entry is None:
        raise FileNotFoundError(os.fspath(path))
    return entry


def scan_members(path: Path | str) -> Iterable[ZipEntry] | None:
    """Return the content of a folder of an archive, nothing if it is missing; None if the path leads to no archive.

    Raises:
        InputError: As for ``find_member``.
    """
    archive, name = _split(path)
    return _list_archive(archive).get(name, {}).values() if archive else None


def read_member(entry: ZipEntry) -> bytes:
    """Return the content of a file in an archive.

    Raises:
        OSError: The archive is damaged, or the file is too large; ``strerror`` says which.
    """
    if entry.size > _MAX_BYTES:
        raise OSError(0, f"it has {entry.size:,} bytes, too many for a file in an archive")
    with open(entry.archive, "rb") as file:  # noqa: PTH123  # a Path would have to be made for each image
        file.seek(entry.start)
        header = file.read(_HEADER)
        name, extra = (int.from_bytes(header[place : place + 2], "little") for place in (26, 28))
        file.seek(entry.start + _HEADER + name + extra)
        content = file.read(entry.packed)
    if entry.deflated:
        try:
            content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(content, entry.size + 1)
        except zlib.error as error:
            raise OSError(0, f"the archive is damaged: {first_line(error)}") from error
    if len(content) != entry.size or zlib.crc32(content) != entry.crc:
        raise OSError(0, "the archive is damaged: the file does not have the listed size and CRC-32")
    return content


def is_plain(member: zipfile.ZipInfo) -> bool:
    """Return whether a member of an archive is a file or folder, rather than a link or a device."""
    kind = stat.S_IFMT(member.external_attr >> 16)  # 0 where the archive comes from Windows
    return kind in (0, stat.S_IFREG, stat.S_IFDIR)


def _split(path: Path | str) -> tuple[str, str]:
    """Return the archive that a path leads to or into, empty if there is none, and the name of the member."""
    text = os.fspath(path)
    for match in _ARCHIVE.finditer(text):
        archive, name = text[: match.end()], text[match.end() + 1 :]
        if os.path.isfile(archive):  # noqa: PTH113  # a Path would have to be made for each image
            return archive, name.replace(os.sep, "/")
    return "", ""


def _list_archive(path: str) -> _Folders:
    status = os.stat(path)  # noqa: PTH116  # a Path would have to be made for each image
    return _read_directory(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=4)
def _read_directory(path: str, size: int, changed: int) -> _Folders:  # a changed archive is read anew
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except Exception as error:  # what zipfile raises for broken archives has no common base class
        reason = printable(first_line(error))
        raise InputError(f"{printable(path)} is no intact zip archive ({reason}); get it again") from error
    folders: _Folders = {"": {}}
    for info in members:
        if fault := _find_fault(info, folders):
            raise InputError(
                f"{printable(path)}: the member {quote(info.filename)} {fault}; pack the folder again, or unpack it "
                "and give the folder"
            )
        name = info.filename.rstrip("/")
        _add_folders(folders, path, name if info.is_dir() else name.rpartition("/")[0])
        if not info.is_dir():
            place = info.header_offset, info.compress_size, info.file_size, info.CRC
            folder, _, last = name.rpartition("/")
            folders[folder][last] = ZipEntry(path, name, *place, info.compress_type == zipfile.ZIP_DEFLATED)
    return folders


def _find_fault(info: zipfile.ZipInfo, folders: _Folders) -> str:
    """Return why a member is refused; empty if it is not."""
    folder, _, last = info.filename.rpartition("/")
    if not is_relative_below(info.filename):
        return "has a name that is absolute or contains '..'"
    if not is_plain(info):
        return "is a link or a device"
    if info.flag_bits & _ENCRYPTED or info.compress_type not in _METHODS:
        return "is encrypted, or neither stored nor deflated"
    if folder.count("/") >= _MAX_DEPTH:
        return f"is below more than {_MAX_DEPTH} folders"
    return "is there twice" if last in folders.get(folder, {}) else _find_file_above(folder, folders)


def _find_file_above(folder: str, folders: _Folders) -> str:
    """Return which of a folder and those that it is in is a file, as a fault; empty if none is."""
    while folder:
        parent, _, last = folder.rpartition("/")
        if (entry := folders.get(parent, {}).get(last)) and not entry.is_dir():
            return f"is in {quote(folder)}, which is a file there"
        folder = parent
    return ""


def _add_folders(folders: _Folders, path: str, folder: str) -> None:
    """Add a folder and those that it is in, which archives need not list."""
    if folder not in folders:
        parent, _, last = folder.rpartition("/")
        _add_folders(folders, path, parent)
        folders[folder] = {}
        folders[parent][last] = ZipEntry(path, folder)
