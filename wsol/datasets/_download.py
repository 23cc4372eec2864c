"""Fetching public archives, checksum verified."""

from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from wsol.errors import InputError, first_line
from wsol.io.display import printable


@dataclass(frozen=True)
class Archive:
    """One archive of a public host.

    Attributes:
        url: Where it lies.
        md5: Its published checksum.
    """

    url: str
    md5: str


ARCHIVES: dict[str, tuple[Archive, ...]] = {}
"""The archives of each data set whose host lets everybody download; the adapters enter theirs."""


def download(name: str, root: Path) -> None:
    """Download a data set's archives into ``root``, verifies their checksums and unpacks them there.

    An archive that lies there already with the right checksum is not downloaded again.

    Args:
        name: Registered name of the data set, whose adapter is imported.
        root: Folder to unpack into; made if it is not there.

    Raises:
        InputError: No public host offers it, the host cannot be reached, the checksum does not match, or the archive
            cannot be unpacked, for one because a file in it would leave ``root``.
    """
    if name not in ARCHIVES:
        raise InputError(f"{name}: no public host offers it; the card datasets/{name}.md says how to get it")
    from torchvision.datasets.utils import download_url, extract_archive  # noqa: PLC0415  # slow to import

    for archive in ARCHIVES[name]:
        file = root / archive.url.rsplit("/", 1)[-1]
        try:
            download_url(archive.url, str(root), md5=archive.md5)
        except (OSError, HTTPException, RecursionError) as error:  # URLError is the first; the last: endless redirects
            said = printable(first_line(error))
            raise InputError(f"cannot download {archive.url} ({said}); fetch it by hand into {root}") from error
        except RuntimeError as error:  # torchvision's word for a checksum that does not match
            raise InputError(f"{file} does not have the MD5 {archive.md5} ({error}); delete it, try again") from error
        try:
            extract_archive(str(file), str(root))
        except Exception as error:  # what tarfile, zipfile and the decompressors raise has no common name
            said = printable(first_line(error))
            raise InputError(f"{file} cannot be unpacked ({said}); make room or delete it, try again") from error
