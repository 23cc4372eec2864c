"""Whether the files of a run are still what it wrote."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path, PureWindowsPath
from typing import Any

CHECKSUM_KEYS = ("files", "seal")  # entries of run.json


def compute_checksums(run: dict[str, Any], folder: Path, names: Iterable[str]) -> dict[str, Any]:
    """Return the entries that seal a run: the SHA-256 (hex) of its files, and one over all of ``run.json``.

    Args:
        run: The other entries of ``run.json``.
        folder: Holds the files.
        names: Of the files.
    """
    files = {name: _digest(folder / name) for name in sorted(names)}
    return {"files": files, "seal": _seal({**run, "files": files})}


def changed_files(run: dict[str, Any], folder: Path) -> list[str]:
    """Return which files of a run are not what it wrote: a phrase each.

    Args:
        run: What ``run.json`` holds.
        folder: Holds the files.
    """
    if not set(run).issuperset(CHECKSUM_KEYS):
        return ["run.json has no seal"]
    facts = {key: value for key, value in run.items() if key != "seal"}
    broken = [] if run["seal"] == _seal(facts) else ["run.json was changed"]
    for name, digest in run["files"].items():
        path = folder / name
        if not _is_inside(name):
            broken.append(f"{name!r:.80} is no file of a run")
        elif not path.is_file():
            broken.append(f"{name} is missing")
        elif _digest(path) != digest:
            broken.append(f"{name} was changed")
    return broken


def _is_inside(name: str) -> bool:
    """Return whether a name leads to a file of the run alone; a backslash or a drive leads elsewhere too."""
    return name == "val/run.json" or (PureWindowsPath(name).parts == (name,) and name != "..")


def _seal(run: dict[str, Any]) -> str:
    text = json.dumps(run, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
