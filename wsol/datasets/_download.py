"""Fetching public archives, checksum verified."""

from dataclasses import dataclass
from pathlib import Path

from wsol.errors import InputError


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
    """Downloads a data set's archives into ``root``, verifies their checksums and unpacks them there.

    An archive that lies there already with the right checksum is not downloaded again.

    Args:
        name: Registered name of the data set, whose adapter is imported.
        root: Folder to unpack into; made if it is not there.

    Raises:
        InputError: No public host offers it, the host cannot be reached, or the checksum does not match.
    """
    if name not in ARCHIVES:
        raise InputError(f"{name}: no public host offers it; the card datasets/{name}.md says how to get it")
    from torchvision.datasets.utils import download_and_extract_archive  # noqa: PLC0415  # slow to import

    for archive in ARCHIVES[name]:
        try:
            download_and_extract_archive(archive.url, str(root), md5=archive.md5)
        except OSError as error:  # URLError is one
            raise InputError(f"cannot download {archive.url} ({error}); fetch it by hand into {root}") from error
        except RuntimeError as error:  # torchvision's word for a checksum that does not match
            file = root / archive.url.rsplit("/", 1)[-1]
            raise InputError(f"{file} does not have the MD5 {archive.md5} ({error}); delete it, try again") from error
