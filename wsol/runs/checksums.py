"""SHA-256 checksums that show whether the files of a run are still what it wrote."""

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path, PureWindowsPath
from typing import Any

from wsol.errors import InputError
from wsol.io.display import escape_unprintable
from wsol.io.fingerprint import hash_files
from wsol.runs.metadata import RunMetadata, as_input_errors

_UNCHECKED = ("maps.npy", "gallery.png")  # the first is too large to be read whole, the second has no numbers


def add_checksums(metadata: RunMetadata, folder: Path, names: Iterable[str]) -> RunMetadata:
    """Return the metadata with the checksums of the run's files, and one over all other entries.

    Args:
        metadata: Contents of ``run.json``.
        folder: Folder of the run.
        names: Names of the files.
    """
    digests = hash_files(folder / name for name in names)
    files = {name: digests[folder / name].hex() for name in sorted(names)}
    filled = replace(metadata, checksums=files, checksum=None)
    return replace(filled, checksum=_hash_entries(asdict(filled)))


def check_unchanged(metadata: RunMetadata, folder: Path) -> None:
    """Check that the files of a run that tables are computed from, except for its raw maps, are what it wrote.

    Args:
        metadata: Contents of its ``run.json``.
        folder: Folder of the run.

    Raises:
        InputError: They are not.
    """
    with as_input_errors(folder, "complete run; evaluate again"):
        changed = changed_files(metadata, folder, _UNCHECKED)
    if changed:
        raise InputError(
            f"{folder} is no longer what its run wrote ({escape_unprintable('; '.join(changed)):.400}); restore the "
            "files, or remove the folder and evaluate again"
        )


def changed_files(metadata: RunMetadata, folder: Path, unchecked: Collection[str] = ()) -> list[str]:
    """Return which files of a run differ from what it wrote, one phrase each.

    Args:
        metadata: Contents of its ``run.json``.
        folder: Folder of the run.
        unchecked: Names of files that are not compared.
    """
    if metadata.checksums is None or metadata.checksum is None:
        return ["run.json has no checksums"]
    changed = [] if metadata.checksum == _hash_entries(asdict(metadata)) else ["run.json was changed"]
    checked = {name: digest for name, digest in metadata.checksums.items() if name not in unchecked}
    digests = hash_files(folder / name for name in checked if _is_inside(name))
    for name, digest in checked.items():
        path = folder / name
        if not _is_inside(name):
            changed.append(f"{name!r:.80} is no file of a run")
        elif not path.is_file():
            changed.append(f"{name} is missing")
        elif digests[path].hex() != digest:
            changed.append(f"{name} was changed")
    return changed


def _is_inside(name: str) -> bool:
    """Return whether a name leads to a file of the run alone; a backslash or a drive leads elsewhere too."""
    return name == "val/run.json" or (PureWindowsPath(name).parts == (name,) and name != "..")


def _hash_entries(entries: Mapping[str, Any]) -> str:
    others = {name: value for name, value in entries.items() if name != "checksum"}
    text = json.dumps(others, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
