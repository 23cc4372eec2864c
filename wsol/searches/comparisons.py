"""Comparisons of the training methods that a search has found settings for, with the runs of all seeds."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from wsol.comparison.compare import compare
from wsol.comparison.groups import read_groups
from wsol.comparison.terminal import format_comparison
from wsol.errors import InputError
from wsol.io.atomic import atomic_write, ensure_dir
from wsol.io.display import escape_unprintable


def compare_methods(runs: Mapping[str, Sequence[Path]], folder: Path) -> str:
    """Compare the training methods of a network, write the comparison, and return its table as text.

    A comparison of the same runs is read back; one of other runs, which a search with fewer trials or methods wrote, is
    replaced. The folder of the search is locked.

    Args:
        runs: Run folders of each training method, one per seed.
        folder: Folder of the comparison. The text is stored beside it, last, under its name with ``.txt``.

    Returns:
        The text; or the reason why the runs cannot be compared.
    """
    text = folder.with_name(f"{folder.name}.txt")
    try:
        groups = read_groups(runs)
        table = folder / "runs.csv"
        if not table.is_file() or pd.read_csv(table)["signature"].tolist() != [each.signature for each in groups]:
            text.unlink(missing_ok=True)
            table.unlink(missing_ok=True)
        elif text.is_file():
            return text.read_text(encoding="utf-8")
        ensure_dir(folder.parent)
        found = compare({each.name: each.runs for each in groups}, out=folder)
    except InputError as error:
        return f"not compared: {escape_unprintable(str(error))}"
    tables = (found.signature, found.notes, found.runs, found.metrics, found.differences)
    content = format_comparison(*tables, found.images_found_only_by, folder)
    with atomic_write(text) as path:
        path.write_text(content, encoding="utf-8")
    return content
