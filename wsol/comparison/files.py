"""A comparison on disk: a folder of tables and pictures, made of runs that lie elsewhere."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from wsol.errors import InputError
from wsol.io.atomic import TMP_SUFFIX, atomic_write, ensure_dir

_FILES = (
    "runs.csv",
    "metrics.csv",
    "differences.csv",
    "images.csv",
    "curves.csv",
    "accuracy.png",
    "iou.png",
    "report.html",
)


def claim_comparison(folder: Path, signatures: Sequence[str]) -> None:
    """Make the folder of a comparison, or accepts one that holds the same comparison already.

    Args:
        folder: Where it is to lie.
        signatures: Of the runs, in their order.

    Raises:
        InputError: The folder holds another comparison, or something else.
    """
    ensure_dir(folder)
    strange = sorted(
        path.name for path in folder.iterdir() if path.is_dir() or path.name.removesuffix(TMP_SUFFIX) not in _FILES
    )
    if strange:
        raise InputError(f"{folder} holds what is no comparison's, such as {strange[0]}; give another --out")
    known = folder / "runs.csv"
    if known.is_file():
        try:
            held = pd.read_csv(known)["signature"].tolist()
        except (ValueError, KeyError) as error:
            raise InputError(f"{known} cannot be read ({error!r}); give another --out or remove the folder") from error
        if held != [*signatures]:
            raise InputError(f"{folder} holds a comparison of other runs; give another --out or remove it")


def write_comparison(folder: Path, tables: Mapping[str, pd.DataFrame], files: Mapping[str, bytes]) -> None:
    """Write tables and other files; each appears whole or not at all, and none of an earlier version stays.

    Args:
        folder: A claimed folder.
        tables: By name, each with its signatures; they become CSV files.
        files: Others, by file name.
    """
    for name, table in tables.items():
        with atomic_write(folder / f"{name}.csv") as path:
            table.to_csv(path, index=False, lineterminator="\n")
    for name, content in files.items():
        with atomic_write(folder / name) as path:
            path.write_bytes(content)
    written = {*(f"{name}.csv" for name in tables), *files}
    for stale in (name for name in _FILES if name not in written):
        (folder / stale).unlink(missing_ok=True)
