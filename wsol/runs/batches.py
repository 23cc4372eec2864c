"""What a run has finished so far: a file for each batch, so that a run that was killed goes on from there."""

import contextlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from wsol.errors import InputError
from wsol.io.arrays import read_json
from wsol.io.atomic import TMP_SUFFIX, atomic_write
from wsol.runs.signature import signature_differences

BATCHES = "parts"


@dataclass(frozen=True)
class StoredBatch:
    """What a batch left.

    Attributes:
        arrays: By name.
        facts: JSON.
    """

    arrays: dict[str, NDArray[Any]]
    facts: dict[str, Any]


class BatchStore:
    """The finished batches of a split, in ``parts/<split>`` of the run folder.

    Args:
        folder: Of the run.
        split: ``test`` or ``val``.
        count: How many batches the split has.
    """

    def __init__(self, folder: Path, split: str, count: int) -> None:
        self._folder = folder / BATCHES / split
        self.count = count

    def missing(self) -> list[int]:
        """Return the numbers of the batches that are not done."""
        done = {path.name for path in self._folder.glob("*.safetensors")}
        return [number for number in range(self.count) if self._path(number).name not in done]

    def write(self, number: int, part: StoredBatch) -> None:
        """Keep a finished batch; its file appears whole or not at all."""
        with atomic_write(self._path(number)) as path:
            path.write_bytes(safetensors.numpy.save(part.arrays, {"facts": json.dumps(part.facts)}))

    def read(self, number: int) -> StoredBatch:
        """Return a finished batch.

        Raises:
            InputError: Its file is damaged.
        """
        path = self._path(number)
        try:
            with safetensors.safe_open(path, "np") as file:
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a mapping
                return StoredBatch(arrays, json.loads(file.metadata()["facts"]))
        except (safetensors.SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path} is damaged ({error}); delete it and give --resume to make it again") from error

    def stop(self) -> None:
        """Let the other processes know that one of them cannot go on."""
        with contextlib.suppress(OSError):  # a full disk may be the reason
            self._folder.joinpath("stopped").touch()

    @property
    def stopped(self) -> bool:
        """Whether one of the processes cannot go on."""
        return self._folder.joinpath("stopped").exists()

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:06d}.safetensors"


def open_or_resume(folder: Path, splits: Mapping[str, int], asked: Mapping[str, Any], resume: bool) -> None:
    """Begin a run in a claimed folder, or goes on with the one that was begun there.

    Args:
        folder: Of the run.
        splits: The number of batches of each.
        asked: Everything that the bits of the files depend on, JSON; ``request`` is a signature.
        resume: Whether what is finished already is to be kept.

    Raises:
        InputError: What was begun was asked for something else, or is not to be resumed although a batch is finished.
    """
    base = folder / BATCHES
    shutil.rmtree(_discarded(folder), ignore_errors=True)
    known = base / "asked.json"
    if known.is_file():
        other = _differences(known, asked)
        if other:
            raise InputError(
                f"{folder} holds an unfinished run that was asked for something else ({'; '.join(other)}); ask for the "
                "same, give another --out, or remove it"
            )
        left = sum(len(BatchStore(folder, split, count).missing()) for split, count in splits.items())
        done = sum(splits.values()) - left
        if done and not resume:
            raise InputError(
                f"{folder} holds an unfinished run, {done} of {done + left} batches; give --resume to go on, or remove "
                "it"
            )
    for split in splits:
        place = base / split
        place.mkdir(parents=True, exist_ok=True)
        for stale in (*place.glob(f"*{TMP_SUFFIX}"), place / "stopped"):
            stale.unlink(missing_ok=True)
    with atomic_write(known) as path:
        path.write_text(json.dumps(asked, indent=2) + "\n", encoding="utf-8")


def is_complete(folder: Path) -> bool:
    """Return whether a folder holds a run that was finished."""
    return (folder / "run.json").is_file() and not (folder / BATCHES).exists()


def discard(folder: Path) -> None:
    """Remove the batches of a run that is complete, all at once."""
    (folder / BATCHES).replace(_discarded(folder))
    shutil.rmtree(_discarded(folder), ignore_errors=True)


def abandon(folder: Path, splits: Mapping[str, int]) -> None:
    """Remove what a run left in which no batch was finished."""
    if all(len(BatchStore(folder, split, count).missing()) == count for split, count in splits.items()):
        shutil.rmtree(folder / BATCHES, ignore_errors=True)


def _discarded(folder: Path) -> Path:
    return folder / f"{BATCHES}{TMP_SUFFIX}"


def _differences(known: Path, asked: Mapping[str, Any]) -> list[str]:
    try:
        began = read_json(known)
        if began["request"] != asked["request"]:
            return signature_differences(began["request"], asked["request"])
        return [f"{key}: {began.get(key)}, not {value}" for key, value in asked.items() if began.get(key) != value]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{known} cannot be read ({error!r}); give another --out or remove the folder") from error
