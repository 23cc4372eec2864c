"""Unpacking archives from other people: nothing is written outside the destination folder."""

import os
import tarfile
import zipfile
from pathlib import Path

from wsol.errors import InputError, first_line
from wsol.io.display import printable, quote
from wsol.io.names import is_relative_below
from wsol.io.zip_members import is_plain


def unpack_archive(path: Path, folder: Path) -> None:
    """Unpack a zip archive, or a tar archive with any compression.

    Only files and folders are unpacked. Links and devices are refused, and so are absolute names, names with ``..``,
    and names that an existing symbolic link leads out of the folder. A zip archive is checked before anything is
    written; a tar archive member by member, so that the members before a refused one stay.

    Args:
        path: The archive; its format is detected from its content.
        folder: The destination.

    Raises:
        InputError: A member is refused, the archive is damaged, or the disk is full.
    """
    try:
        if zipfile.is_zipfile(path):
            _unpack_zip(path, folder)
        elif tarfile.is_tarfile(path):
            _unpack_tar(path, folder)
        else:
            raise ValueError("it is neither a zip nor a tar archive")
    except InputError:
        raise
    except Exception as error:  # what tarfile, zipfile and the decompressors raise has no common base class
        reason = printable(first_line(error))
        raise InputError(
            f"{printable(path)} cannot be unpacked ({reason}); make room on the disk, or delete the file and try again"
        ) from error


def _unpack_zip(path: Path, folder: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            _check_member(path, folder, member.filename, is_plain(member))
        archive.extractall(folder)


def _unpack_tar(path: Path, folder: Path) -> None:
    if not hasattr(tarfile, "data_filter"):
        raise InputError(
            f"{printable(path)} is not unpacked, since Python before 3.11.4 has no safe way to unpack tar archives; "
            f"update Python, or unpack it by hand into {printable(folder)}"
        )

    def check(member: tarfile.TarInfo, destination: str) -> tarfile.TarInfo:
        _check_member(path, folder, member.name, member.isfile() or member.isdir())
        return tarfile.data_filter(member, destination)

    with tarfile.open(path) as archive:
        archive.extractall(folder, filter=check)


def _check_member(path: Path, folder: Path, name: str, is_plain: bool) -> None:
    home = os.path.realpath(folder)
    if not is_plain:
        reason = "is a link or a device"
    elif not is_relative_below(name):
        reason = "has a name that is absolute or contains '..'"
    elif os.path.commonpath([home, os.path.realpath(folder / name)]) != home:
        reason = f"leads out of {printable(folder)} by an existing link"
    else:
        return
    raise InputError(
        f"{printable(path)}: the member {quote(name)} {reason}; if you trust the archive, unpack it by hand into "
        f"{printable(folder)}"
    )
