"""``run.json``, which says last what a run is and that it is complete."""

import contextlib
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from wsol.errors import InputError, first_line
from wsol.io.arrays import read_json
from wsol.runs.signature import Signature

_NUMBER = (int, float)
_FACTS = {
    "signature": str,
    "request": str,
    "dataset": {"name": str, "split": str, "origin": str, "n": int, "fingerprint": str, "classes": [str]},
    "origin": {"model": str, "method": str},
    "view": (None, {"side": int, "crop": int, "count": int}),
    "protocol": {"signature": str},
    "tau": {"rule": (None, str), "value": (None, *_NUMBER), "fixed": (None, *_NUMBER)},
    "skipped": {None: str},
    "clipped_boxes": int,
    "val": (None, {"skipped": {None: str}, "clipped_boxes": int}),
    "notes": [str],
    "versions": {None: str},
}
_SOMETIMES = {
    "cost": (None, {"ms_per_image": _NUMBER, "forwards_per_image": _NUMBER, "peak_memory_mib": (None, *_NUMBER)}),
    "baseline": str,
    "device": str,
    "files": {None: str},
    "seal": str,
}


def read_facts(folder: Path) -> dict[str, Any]:
    """Read what ``run.json`` holds.

    Args:
        folder: Of the run; its pictures are looked at too, as pages and other runs take them over unread.

    Raises:
        FileNotFoundError: There is none.
        ValueError: An entry is missing, or is not what a run writes.
    """
    facts = read_json(folder / "run.json")
    if wrong := _unlike(facts, _FACTS, "run.json") or _unlike(facts, _present(facts), "run.json"):
        raise ValueError(wrong)
    Signature.parse(facts["signature"])
    rule, value, fixed = (facts["tau"][key] for key in ("rule", "value", "fixed"))
    if rule not in (None, "fixed", "val", "oracle") or (rule is None) != (value is None):
        raise ValueError("run.json: tau has a rule that is none")
    if not all(each is None or 0 <= each <= 1 for each in (value, fixed)):
        raise ValueError("run.json: tau lies outside [0, 1]")
    _check_pictures(folder / "thumbs")
    return dict(facts)


@contextlib.contextmanager
def as_input_errors(folder: Path, kind: str) -> Iterator[None]:
    """Turn whatever the files of a run raise while the context lasts into an error that says what to do.

    Args:
        folder: Of the run.
        kind: What it is not where a file is missing, and how to mend that.

    Raises:
        InputError: Something was raised.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise InputError(f"{error.filename} is missing: {folder} is no {kind}") from error
    except Exception as error:  # a damaged file makes its reader raise anything
        said = first_line(error)
        reason = said if type(error) in (ValueError, InputError) else f"{type(error).__name__}: {said}"
        raise InputError(f"{folder} is not a run of this version ({reason:.200}); evaluate again") from error


def _present(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {name: kind for name, kind in _SOMETIMES.items() if name in facts}


def _unlike(value: Any, kind: Any, where: str) -> str:  # noqa: PLR0911  # a case each
    """Return what is not of its kind, if anything: a type, one of several kinds, or a list or dictionary of them."""
    if isinstance(kind, tuple):
        return "" if any(not _unlike(value, each, where) for each in kind) else f"{where} has a wrong type"
    if isinstance(kind, list) and isinstance(value, list):
        return next(filter(None, (_unlike(each, kind[0], where) for each in value)), "")
    if isinstance(kind, dict) and isinstance(value, dict):
        kinds = dict.fromkeys(value, kind[None]) if None in kind else kind
        if missing := [name for name in kinds if name not in value]:
            return f"{where} lacks {missing[0]}"
        return next(filter(None, (_unlike(value[name], kinds[name], f"{where}: {name}") for name in kinds)), "")
    if kind is None and value is None:
        return ""
    if type(value) is kind and (not isinstance(value, float) or math.isfinite(value)):
        return ""
    return f"{where} has a wrong type"


def _check_pictures(folder: Path) -> None:
    """Look for what is no picture of the run: a link would be followed to wherever it points."""
    if folder.is_symlink():
        raise ValueError(f"{folder.name} is a link")
    if folder.exists():
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    _check_pictures(Path(entry.path))
                elif not entry.is_file(follow_symlinks=False):
                    raise ValueError(f"{folder.name}/{entry.name} is no file but a link or a pipe")
