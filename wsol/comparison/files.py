"""The folder of a comparison: tables, figures and a page."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from wsol.errors import InputError
from wsol.io.atomic import atomic_write, ensure_dir, refuse_foreign_files

_FILES = (
    "runs.csv",
    "metrics.csv",
    "differences.csv",
    "images.csv",
    "curves.csv",
    "seeds.csv",
    "accuracy.png",
    "iou.png",
    "report.html",
)


def claim_comparison(folder: Path, signatures: Sequence[str]) -> None:
    """Create the folder of a comparison, or accept one that contains the same comparison.

    Args:
        folder: The folder.
        signatures: Signatures of the runs, in order.

    Raises:
        InputError: The folder contains another comparison, or something else.
    """
    ensure_dir(folder)
    refuse_foreign_files(folder, _FILES, "a comparison")
    runs = folder / "runs.csv"
    if runs.is_file():
        try:
            existing = pd.read_csv(runs)["signature"].tolist()
        except (ValueError, KeyError) as error:
            raise InputError(f"{runs} cannot be read ({error!r}); give another --out or remove the folder") from error
        if existing != [*signatures]:
            raise InputError(f"{folder} contains a comparison of other runs; give another --out or remove the folder")


def write_comparison(folder: Path, tables: Mapping[str, pd.DataFrame], files: Mapping[str, bytes]) -> None:
    """Write tables and other files atomically, and remove files of an earlier version that are no longer written.

    Args:
        folder: A claimed folder.
        tables: Tables with signatures, by name; written as CSV.
        files: Other files, by file name.
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
