"""The public function: from folders of runs to a leaderboard."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from wsol.errors import InputError
from wsol.io.atomic import atomic_write, ensure_dir
from wsol.io.display import escape_unprintable
from wsol.leaderboards.literature import read_published
from wsol.leaderboards.published import published_rows
from wsol.leaderboards.render import latex, markdown, plain
from wsol.leaderboards.rows import Row, columns_of, rank_rows, run_row, to_csv
from wsol.leaderboards.stale import find_stale
from wsol.leaderboards.verify import verify_checksums, verify_tables
from wsol.runs.read import read_run
from wsol.runs.store import FOLDERS
from wsol.runtime.threads import processor_count

_PAGES = {"leaderboard.md": markdown, "leaderboard.tex": latex}


@dataclass(frozen=True)
class Leaderboard:
    """Runs side by side.

    Attributes:
        rows: One a run, ranked within its group (data set and protocol), then what is published; a dict each.
        left_out: What is not in it, a sentence each.
    """

    rows: list[Row] = field(repr=False)
    left_out: list[str]

    @property
    def summary(self) -> str:
        """How much is in it, and how much is not."""
        runs = sum(row["kind"] == "measured" for row in self.rows)
        return f"{runs} runs, {len(self.rows) - runs} published rows, {len(self.left_out)} left out"

    @property
    def table(self) -> pd.DataFrame:
        """The rows, with a column for everything that any of them has."""
        return pd.DataFrame(self.rows, columns=columns_of(self.rows))

    @property
    def csv(self) -> str:
        """The same as CSV, numbers in full precision."""
        return to_csv(self.rows)

    @property
    def markdown(self) -> str:
        """The main numbers, errors, cost and signatures for people."""
        return markdown(self.rows)

    @property
    def latex(self) -> str:
        r"""The same to ``\input``; needs the package booktabs."""
        return latex(self.rows)

    @property
    def plain(self) -> str:
        """The main numbers for the terminal."""
        return plain(self.rows)


def leaderboard(
    *folders: str | Path,
    out: str | Path | None = None,
    validate: bool = False,
    published: str | Path | None = None,
) -> Leaderboard:
    """Collect runs into a leaderboard.

    A folder that is no complete run is named in ``left_out``.

    Args:
        folders: Where runs lie, at whatever depth.
        out: Folder that gets ``leaderboard.csv``, ``.md`` and ``.tex``; nothing is written if None.
        validate: Compute every table of every run again from the predictions, curves, maps and ground truth that it
            stored, and hold the leaderboard that is in ``out`` already against them. Numbers may differ by a millionth
            of their value, as on another machine; the seals of the files admit no change at all.
        published: Folder of published numbers, see ``wsol.leaderboards.literature``, to stand beside the measured ones
            on the same data set, outside the ranking; what their conventions differ in is named.

    Returns:
        The leaderboard.

    Raises:
        InputError: There is no complete run; or ``validate`` is given and something does not reproduce: then every run
            was looked at, each that does not is named in a line, and nothing is written.
    """
    if out is not None and (Path(out) / "run.json").exists():
        raise InputError(f"{out} is a run; give another --out")
    entries = read_published(published) if published is not None else []
    found, parts = find_runs(folders)
    left_out = [
        escape_unprintable(f"{name}: there is no run.json, so it is no complete run; evaluate again") for name in parts
    ]
    rows: list[Row] = []
    failed: dict[str, str] = {}
    with ThreadPoolExecutor(processor_count()) as pool:
        for name, folder in found.items():
            try:
                rows.append(_row(name, folder, validate, pool))
            except InputError as error:
                failed[name] = escape_unprintable(f"{name}: {error}")
    beside = published_rows(entries, rows)
    rows = rank_rows([*rows, *beside])
    if validate:
        stale = find_stale(Path(out), rows, failed, _PAGES) if out is not None else []
        if wrong := [*failed.values(), *stale]:
            lines = "\n".join(f"  {escape_unprintable(sentence)}" for sentence in [*wrong, *left_out])
            raise InputError(f"no leaderboard is written, as not everything reproduces ({len(wrong)}):\n{lines}")
    left_out += failed.values()
    if not rows:
        raise InputError("; ".join([f"{', '.join(map(str, folders))} holds no complete run", *left_out]))
    if entries and not beside:
        left_out.append("no published number is of images that a run here was evaluated on")
    board = Leaderboard(rows, left_out)
    if out is not None:
        ensure_dir(Path(out))
        for name, text in {"leaderboard.csv": board.csv, **{name: page(rows) for name, page in _PAGES.items()}}.items():
            with atomic_write(Path(out) / name) as path:
                path.write_bytes(text.encode())
    return board


def _row(name: str, folder: Path, validate: bool, pool: Executor) -> Row:
    """Return the row of a run.

    Raises:
        InputError: The folder is no complete run, or it is to be validated and does not reproduce.
    """
    if validate and (broken := verify_checksums(folder)):
        raise InputError(f"it does not reproduce, as {'; '.join(broken)}; evaluate again")
    run = read_run(folder)
    row = run_row(run, name)
    if validate and (wrong := verify_tables(run, pool)):
        raise InputError(f"it does not reproduce: {'; '.join(wrong)}; evaluate again")
    return row


_TRACES = ("predictions.parquet", "curves.npy", "maps.npy", "maps.npy.part")


def find_runs(folders: Sequence[str | Path]) -> tuple[dict[str, Path], list[str]]:
    """Look for runs; the validation split of a run is part of it, and no run of its own.

    Args:
        folders: Where to look, links included.

    Returns:
        The folders that hold a ``run.json``, in the order of their names: their paths from the folder given, or from
        what the folders have in common. And the names of those that hold parts of a run without one.

    Raises:
        InputError: There is no such folder.
    """
    roots = [Path(os.path.abspath(folder)) for folder in folders]  # noqa: PTH100  # links keep their names
    for folder, root in zip(folders, roots, strict=True):
        if not root.is_dir():
            raise InputError(f"there is no folder {folder}; give one that holds runs of wsol.eval or wsol.score")
    if not roots:
        raise InputError("give a folder that holds runs of wsol.eval or wsol.score")
    top = os.path.commonpath(roots)
    found = {folder: complete for root in roots for folder, complete in _walk(root, frozenset())}
    names = {Path(os.path.relpath(folder, top)).as_posix(): folder for folder in found}
    return (
        {name: names[name] for name in sorted(names) if found[names[name]]},
        [name for name in sorted(names) if not found[names[name]]],
    )


def _walk(folder: Path, above: frozenset[Path]) -> Iterator[tuple[Path, bool]]:
    """Yield run folders, and whether they have a ``run.json``."""
    above |= {folder.resolve()}
    complete = (folder / "run.json").exists()
    is_run = complete or any((folder / name).exists() for name in _TRACES)
    if is_run:
        yield folder, complete
    for path in sorted(folder.iterdir()):
        if path.is_dir() and path.resolve() not in above and not (is_run and path.name in FOLDERS):
            yield from _walk(path, above)
