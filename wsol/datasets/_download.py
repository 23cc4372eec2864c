"""Downloading public archives, with verified checksums."""

from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from wsol.errors import InputError, first_line
from wsol.io.archives import unpack_archive
from wsol.io.display import printable


@dataclass(frozen=True)
class Archive:
    """One archive on a public host.

    Attributes:
        url: Its address.
        md5: Its published checksum.
    """

    url: str
    md5: str


ARCHIVES: dict[str, tuple[Archive, ...]] = {}
"""The archives of each data set that can be downloaded without an account; each adapter adds its own."""


def download_archives(name: str, root: Path) -> None:
    """Download the archives of a data set into ``root``, verify their checksums and unpack them there.

    An archive that exists there with the right checksum is not downloaded again.

    Args:
        name: Registered name of the data set, whose adapter is imported.
        root: Folder to unpack into; created if it does not exist.

    Raises:
        InputError: No public host offers the data set, the host cannot be reached, a checksum does not match, or an
            archive cannot be unpacked, for example because a member would be written outside ``root``.
    """
    if name not in ARCHIVES:
        raise InputError(
            f"{name}: no public host offers it; get it from its authors and give its folder as --data-root"
        )
    from torchvision.datasets.utils import download_url  # noqa: PLC0415  # slow to import

    for archive in ARCHIVES[name]:
        file = root / archive.url.rsplit("/", 1)[-1]
        try:
            download_url(archive.url, str(root), md5=archive.md5)
        except (OSError, HTTPException, RecursionError) as error:  # endless redirects are a RecursionError
            reason = printable(first_line(error))
            raise InputError(f"cannot download {archive.url} ({reason}); download it by hand into {root}") from error
        except RuntimeError as error:  # torchvision raises it for a wrong checksum
            raise InputError(
                f"{file} does not have the MD5 {archive.md5} ({error}); delete it and try again"
            ) from error
        unpack_archive(file, root)
