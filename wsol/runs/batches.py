"""Finished batches of an unfinished run: one file per batch, so that a killed run resumes after the last one."""

import contextlib
import json
import shutil
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from wsol.errors import InputError
from wsol.io.arrays import read_json
from wsol.io.atomic import TMP_SUFFIX, atomic_write
from wsol.runs.signature import signature_differences
from wsol.runs.thumbnails import return_thumbnails, take_thumbnails, write_thumbnail

BATCHES = "batches"
"""Folder of the finished batches, in the run folder."""

_DELETING = 16  # threads


@dataclass(frozen=True)
class StoredBatch:
    """The results of a batch.

    Attributes:
        arrays: Arrays by name.
        facts: Whatever else there is, as JSON.
    """

    arrays: dict[str, NDArray[Any]]
    facts: dict[str, Any]


class BatchStore:
    """The finished batches of a split, in ``batches/<split>`` of the run folder.

    Args:
        folder: The run folder.
        split: Name of the split: ``run`` or ``val``.
        count: Number of batches that the split has.
    """

    def __init__(self, folder: Path, split: str, count: int) -> None:
        self._folder = folder / BATCHES / split
        self.count = count

    def missing(self) -> list[int]:
        """Return the numbers of the batches that are not finished."""
        done = {path.name for path in self._folder.glob("*.safetensors")}
        return [number for number in range(self.count) if self._path(number).name not in done]

    def write(self, number: int, batch: StoredBatch, thumbnails: Mapping[int, bytes] | None = None) -> None:
        """Store a finished batch; its file appears whole or not at all.

        Args:
            number: Number of the batch.
            batch: Its results.
            thumbnails: JPEG file by index of the image in the data set; written before the results.
        """
        for index, content in (thumbnails or {}).items():
            write_thumbnail(self._folder, index, content)
        with atomic_write(self._path(number)) as path:
            arrays = {
                name: np.ascontiguousarray(array) for name, array in batch.arrays.items()
            }  # else it scrambles them
            path.write_bytes(safetensors.numpy.save(arrays, {"facts": json.dumps(batch.facts)}))

    def read(self, number: int) -> StoredBatch:
        """Read a finished batch.

        Raises:
            InputError: Its file is damaged.
        """
        path = self._path(number)
        try:
            with safetensors.safe_open(path, "np") as file:
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a mapping
                return StoredBatch(arrays, json.loads(file.metadata()["facts"]))
        except (safetensors.SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path} is damaged ({error}); delete it and give --resume to compute it again") from error

    def take_thumbnails(self, place: Path, kept: Sequence[int]) -> None:
        """Give a run folder the thumbnails of all batches.

        Args:
            place: The folder.
            kept: Indices in the data set of the images that the run has, ascending.
        """
        take_thumbnails(self._folder, place, kept)

    def stop(self) -> None:
        """Tell the other processes that one of them cannot continue."""
        with contextlib.suppress(OSError):  # a full disk may be the reason
            self._folder.joinpath("stopped").touch()

    @property
    def stopped(self) -> bool:
        """True once one of the processes cannot continue."""
        return self._folder.joinpath("stopped").exists()

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:06d}.safetensors"


def open_or_resume(folder: Path, splits: Mapping[str, int], request: Mapping[str, Any], resume: bool) -> None:
    """Start a run in a claimed folder, or continue the one that was started there.

    Args:
        folder: The run folder.
        splits: Number of batches by split.
        request: Everything that the bits of the files depend on, as JSON; its entry ``request`` is a signature.
        resume: Whether finished batches are kept.

    Raises:
        InputError: The folder holds an unfinished run with other options, or has finished batches and ``resume`` is
            false.
    """
    base = folder / BATCHES
    shutil.rmtree(_discard_path(folder), ignore_errors=True)
    known = base / "request.json"
    begun = known.is_file()
    if begun:
        if other := _request_differences(known, request):
            raise InputError(
                f"{folder} holds an unfinished run with other options ({'; '.join(other)}); give the same options, "
                "give another --out, or remove it"
            )
        missing = sum(len(BatchStore(folder, split, count).missing()) for split, count in splits.items())
        done = sum(splits.values()) - missing
        if done and not resume:
            raise InputError(
                f"{folder} holds an unfinished run, {done} of {done + missing} batches; give --resume to continue it, "
                "or remove it"
            )
    for split in splits:
        place = base / split
        place.mkdir(parents=True, exist_ok=True)
        if begun:
            return_thumbnails(place, folder if split == "run" else folder / split)
        (place / "thumbnails").mkdir(exist_ok=True)
        for stale in (*place.glob(f"*{TMP_SUFFIX}"), place / "stopped"):
            stale.unlink(missing_ok=True)
    with atomic_write(known) as path:
        path.write_text(json.dumps(request, indent=2) + "\n", encoding="utf-8")


def is_complete(folder: Path) -> bool:
    """Return whether a folder holds a finished run."""
    return (folder / "run.json").is_file() and not (folder / BATCHES).exists()


def count_stored(folder: Path) -> int | None:
    """Return the number of batches that an unfinished run has stored; None if no unfinished run is in the folder."""
    if not (folder / BATCHES / "request.json").is_file():
        return None
    return sum(1 for _ in (folder / BATCHES).glob("*/*.safetensors"))


def discard(folder: Path) -> None:
    """Remove the batches of a complete run, all at once."""
    discarded = _discard_path(folder)
    (folder / BATCHES).replace(discarded)
    with ThreadPoolExecutor(_DELETING) as pool, contextlib.suppress(OSError):  # each waits for the disk
        deque(pool.map(Path.unlink, discarded.glob("*/*.safetensors")), 0)
    shutil.rmtree(discarded, ignore_errors=True)


def discard_if_empty(folder: Path, splits: Mapping[str, int]) -> None:
    """Remove the batch folders of a run that finished no batch."""
    if all(len(BatchStore(folder, split, count).missing()) == count for split, count in splits.items()):
        shutil.rmtree(folder / BATCHES, ignore_errors=True)


def _discard_path(folder: Path) -> Path:
    return folder / f"{BATCHES}{TMP_SUFFIX}"


def _request_differences(known: Path, request: Mapping[str, Any]) -> list[str]:
    try:
        started = read_json(known)
        if started["request"] != request["request"]:
            return signature_differences(started["request"], request["request"])
        return [
            f"{key}: {started.get(key)}, not {value}" for key, value in request.items() if started.get(key) != value
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{known} cannot be read ({error!r}); give another --out or remove the folder") from error
