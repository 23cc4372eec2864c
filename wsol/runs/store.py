"""The folder of a run: its files appear whole or not at all, and another run is never overwritten."""

import json
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsol.errors import InputError
from wsol.io.arrays import read_json
from wsol.io.atomic import TMP_SUFFIX, atomic_write, ensure_dir
from wsol.io.lock import LOCK_FILE
from wsol.runs.arrays import ARRAYS
from wsol.runs.batches import BATCHES
from wsol.runs.checksums import add_checksums
from wsol.runs.ground_truth import ground_truth_table
from wsol.runs.metadata import RunMetadata
from wsol.runs.results import TABLES, LocalizationResults, Tables
from wsol.runs.signature import signature_differences

FILES = (
    "run.json",
    *(f"{name}.csv" for name in TABLES),
    "predictions.parquet",
    "ground_truth.parquet",
    *(array.file for array in ARRAYS),
    "gallery.png",
    "report.html",
)
FOLDERS = ("val", "thumbnails", BATCHES)


def claim_folder(folder: Path, request: str) -> None:
    """Create a run folder, or accept one that holds the same run already.

    Args:
        folder: The folder.
        request: Signature of the run, without what is only known after it.

    Raises:
        InputError: The folder holds another run, or something else.
    """
    ensure_dir(folder)
    known = folder / "run.json"
    if known.is_file():
        try:
            stored = read_json(known)["request"]
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{known} cannot be read ({error!r}); give another --out or remove the folder") from error
        if stored != request:
            other = "; ".join(signature_differences(stored, request))
            raise InputError(f"{folder} holds another run ({other}); give another --out or remove it")
    foreign = [
        path.name
        for path in folder.iterdir()
        if path.is_symlink()
        or path.name.removesuffix(TMP_SUFFIX) not in (FOLDERS if path.is_dir() else (*FILES, LOCK_FILE))
    ]
    if foreign:
        raise InputError(f"{folder} holds files that no run writes, such as {sorted(foreign)[0]}; give another --out")


def write_run(
    folder: Path,
    metadata: RunMetadata,
    tables: Tables,
    results: LocalizationResults,
    pictures: Mapping[str, Future[bytes]],
) -> RunMetadata:
    """Write the files of a run; ``run.json`` comes last, holds the checksums of the others, and marks it as complete.

    ``maps.npy``, ``thumbnails`` and arrays that are mapped from their file exist already; ``report.html`` is made from
    these files.

    Args:
        folder: A claimed folder.
        metadata: Contents of ``run.json``; its signature is in every table.
        tables: The tables.
        results: The arrays, and the ground truth.
        pictures: PNG files by file name, which may still be under way.

    Returns:
        The metadata with the checksums.
    """
    writers: dict[str, Callable[[Path], object]] = {}
    for name in TABLES:
        signed = getattr(tables, name).assign(signature=metadata.signature)
        writers[f"{name}.csv"] = partial(signed.to_csv, index=False, lineterminator="\n")
    truth = ground_truth_table(results.truths.samples, results.truths.sizes)
    for name, table in (("predictions", tables.predictions), ("ground_truth", truth)):
        copy = table.copy(deep=False)
        copy.attrs = {"signature": metadata.signature}
        writers[f"{name}.parquet"] = partial(copy.to_parquet, index=False)
    for array in ARRAYS:
        if (values := results.array(array.name)) is not None:
            if isinstance(values, np.memmap) and Path(values.filename or "") == (folder / array.file).resolve():
                continue
            writers[array.file] = partial(_save, values)
        elif array.name != "maps":
            (folder / array.file).unlink(missing_ok=True)  # of the same run by an earlier version, or with masks
    for name, content in pictures.items():
        writers[name] = partial(_save_picture, content)
    _write_files(folder, writers)
    if "gallery.png" not in pictures:
        (folder / "gallery.png").unlink(missing_ok=True)
    (folder / "report.html").unlink(missing_ok=True)
    names = [name for name in (*FILES, "val/run.json") if name != "run.json" and (folder / name).is_file()]
    complete = add_checksums(metadata, folder, names)
    with atomic_write(folder / "run.json") as path:
        path.write_text(json.dumps(asdict(complete), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return complete


def _write_files(folder: Path, writers: Mapping[str, Callable[[Path], object]]) -> None:
    """Write files by name, all at the same time, since each waits for the disk."""

    def write(name: str) -> None:
        with atomic_write(folder / name) as path:
            writers[name](path)

    with ThreadPoolExecutor(len(writers)) as pool:
        deque(pool.map(write, writers), 0)


def _save(values: NDArray[Any], path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, values, allow_pickle=False)


def _save_picture(content: Future[bytes], path: Path) -> None:
    path.write_bytes(content.result())
