"""A run on disk: its files appear whole or not at all, and another run is never overwritten."""

import json
import math
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from wsol.errors import InputError
from wsol.io.arrays import read_json
from wsol.io.atomic import TMP_SUFFIX, atomic_write, ensure_dir, fsync_rename
from wsol.io.lock import LOCK_FILE
from wsol.runs.batches import BATCHES
from wsol.runs.checksums import compute_checksums
from wsol.runs.signature import signature_differences

FILES = (
    "run.json",
    "metrics.csv",
    "classes.csv",
    "groups.csv",
    "errors.csv",
    "baselines.csv",
    "predictions.parquet",
    "truth.parquet",
    "curves.npy",
    "curves_v2.npy",
    "curves_second.npy",
    "peaks.npy",
    "pixels.npy",
    "boxes.npy",
    "maps.npy",
    "gallery.png",
    "report.html",
)
FOLDERS = ("val", "thumbs", BATCHES)
_PACKAGES = ("wsol", "torch", "torchvision", "numpy", "pandas", "pillow", "numba")


def claim_folder(folder: Path, request: str) -> None:
    """Make a run folder, or accepts one that holds the same run already.

    Args:
        folder: Where the run is to lie.
        request: What was asked for: the signature without anything that is only known afterwards.

    Raises:
        InputError: The folder holds another run, or something else.
    """
    ensure_dir(folder)
    known = folder / "run.json"
    if known.is_file():
        try:
            held = read_json(known)["request"]
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{known} cannot be read ({error!r}); give another --out or remove the folder") from error
        if held != request:
            other = "; ".join(signature_differences(held, request))
            raise InputError(f"{folder} holds another run ({other}); give another --out or remove it")
    strange = [
        path.name
        for path in folder.iterdir()
        if path.is_symlink()
        or path.name.removesuffix(TMP_SUFFIX) not in (FOLDERS if path.is_dir() else (*FILES, LOCK_FILE))
    ]
    if strange:
        raise InputError(f"{folder} holds files that are no run's, such as {sorted(strange)[0]}; give another --out")


def write_run(
    folder: Path,
    run: dict[str, Any],
    tables: Mapping[str, pd.DataFrame],
    truth: pd.DataFrame,
    arrays: Mapping[str, NDArray[np.generic]],
    pictures: Mapping[str, bytes],
) -> dict[str, Any]:
    """Write what is measured; ``run.json`` comes last, seals the others, and marks the run as complete.

    ``maps.npy`` and ``thumbs`` are there already, ``report.html`` is made of these files.

    Args:
        folder: A claimed folder.
        run: Facts about the run; JSON. Its signature stands in every table.
        tables: By name; ``predictions`` becomes a Parquet file, all others CSV.
        truth: The published boxes, see ``wsol.runs.ground_truth``.
        arrays: By name.
        pictures: PNG files by file name.

    Returns:
        What ``run.json`` holds.
    """
    for name, table in tables.items():
        if name != "predictions":
            with atomic_write(folder / f"{name}.csv") as path:
                table.assign(signature=run["signature"]).to_csv(path, index=False, lineterminator="\n")
    for name, table in (("predictions", tables["predictions"]), ("truth", truth)):
        with atomic_write(folder / f"{name}.parquet") as path:
            signed = table.copy(deep=False)
            signed.attrs = {"signature": run["signature"]}
            signed.to_parquet(path, index=False)
    for name, array in arrays.items():
        with atomic_write(folder / f"{name}.npy") as path, path.open("wb") as file:
            np.save(file, array, allow_pickle=False)
    for name, picture in pictures.items():
        with atomic_write(folder / name) as path:
            path.write_bytes(picture)
    written = {*arrays, *(Path(name).stem for name in (*tables, *pictures)), "truth", "maps", "run"}
    for stale in (name for name in FILES if Path(name).stem not in written):
        (folder / stale).unlink(missing_ok=True)  # of the same run by an earlier version, or with masks
    names = [name for name in (*FILES, "val/run.json") if name != "run.json" and (folder / name).is_file()]
    sealed = {**run, **compute_checksums(run, folder, names)}
    with atomic_write(folder / "run.json") as path:
        path.write_text(json.dumps(sealed, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return sealed


class ScoreMapWriter:
    """A ``.npy`` file of float32 that grows along its first axis as batches come; memory does not.

    A context: the file appears when it is left, and only if nothing was raised.

    Args:
        path: Where it appears.
    """

    _HEADER = 128

    def __init__(self, path: Path) -> None:
        self.path = path
        self._part = path.with_name(path.name + TMP_SUFFIX)
        self._file = self._part.open("wb")
        self._file.write(b"\0" * self._HEADER)
        self._shape: tuple[int, ...] = (0,)

    def append(self, maps: NDArray[np.float32]) -> None:
        """Add ``(n, ...)``; what follows the first axis is the same in every call."""
        self._shape = (self._shape[0] + len(maps), *maps.shape[1:])
        np.ascontiguousarray(maps, np.float32).tofile(self._file)

    def rows(self) -> "ScoreMapReader":
        """Return what gives the maps of an image, once the file is complete."""
        return ScoreMapReader(self.path, self._HEADER, self._shape[1:])

    def __enter__(self) -> "ScoreMapWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            text = str({"descr": "<f4", "fortran_order": False, "shape": self._shape})
            room = self._HEADER - 10
            self._file.seek(0)
            self._file.write(b"\x93NUMPY\x01\x00" + room.to_bytes(2, "little") + f"{text:<{room - 1}}\n".encode())
        self._file.close()
        if kind is None:
            fsync_rename(self._part, self.path)
        else:
            self._part.unlink()


class ScoreMapReader:
    """Maps on disk: those of an image are read when they are asked for, and take no memory before and after.

    Args:
        path: A file of float32.
        offset: Where its numbers begin, in bytes.
        shape: Of the maps of an image.
    """

    def __init__(self, path: Path, offset: int, shape: tuple[int, ...]) -> None:
        self._path, self._offset, self._shape = path, offset, shape

    def __getitem__(self, i: int) -> NDArray[np.float32]:
        count = math.prod(self._shape)
        numbers = np.fromfile(self._path, np.float32, count, offset=self._offset + 4 * count * i)
        return numbers.reshape(self._shape)


def package_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that touch a number."""
    return {"python": platform.python_version(), **{package: version(package) for package in _PACKAGES}}
