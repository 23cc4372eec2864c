"""The function ``wsol.leaderboard``: from folders of runs to a leaderboard."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from wsol.errors import InputError
from wsol.io.atomic import TMP_SUFFIX, atomic_write, ensure_dir
from wsol.io.display import escape_unprintable
from wsol.io.lock import LOCK_FILE
from wsol.leaderboards.hugging_face import PLACEHOLDER, write_evaluation_results
from wsol.leaderboards.published import build_published_rows, is_comparable, read_published
from wsol.leaderboards.render import render_latex, render_markdown, render_text
from wsol.leaderboards.rows import Row, build_row, join_groups, list_columns, rank_rows, to_csv
from wsol.leaderboards.seeds import average_rows
from wsol.leaderboards.stale import find_stale
from wsol.leaderboards.verify import verify_checksums, verify_tables
from wsol.runs.batches import count_stored
from wsol.runs.metadata import find_weights
from wsol.runs.read import read_run
from wsol.runs.store import FILES, FOLDERS
from wsol.runtime.threads import processor_count

_RENDERERS = {"leaderboard.md": render_markdown, "leaderboard.tex": render_latex}


@dataclass(frozen=True)
class Leaderboard:
    """A table of runs.

    Attributes:
        rows: One dict per run, ranked within its group (data set and protocol), followed by the published rows.
        left_out: One sentence for each run that is left out.
        notes: A sentence on published rows that are not listed, or not printed, if there are any.
    """

    rows: list[Row] = field(repr=False)
    left_out: list[str]
    notes: list[str] = field(default_factory=list)

    def __repr__(self) -> str:
        text = "\n  left out: ".join([f"Leaderboard of {self.summary}", *self.left_out])
        return "\n  ".join([text, *self.notes])

    @property
    def summary(self) -> str:
        """The numbers of runs, of published rows, and of runs left out."""
        runs = sum(row["kind"] == "measured" for row in self.rows)
        published = len(self.rows) - runs
        runs_text = f"{runs} run{'s' * (runs != 1)}, {published} published row{'s' * (published != 1)}"
        left_out = len(self.left_out)
        return f"{runs_text}, {left_out} run{'s' * (left_out != 1)} left out"

    @property
    def table(self) -> pd.DataFrame:
        """The rows, with all columns in which any row has a value."""
        return pd.DataFrame(self.rows, columns=list_columns(self.rows))

    @property
    def seeds(self) -> pd.DataFrame:
        """The means over runs whose trainings differ in the seed alone, see ``wsol.leaderboards.seeds``."""
        return pd.DataFrame(average_rows(self.rows)).drop(columns="places", errors="ignore")

    @property
    def csv(self) -> str:
        """The table as CSV, numbers in full precision."""
        return to_csv(self.rows)

    @property
    def markdown(self) -> str:
        """The main metrics, error types, cost and signatures as Markdown."""
        return render_markdown(self.rows)

    @property
    def latex(self) -> str:
        r"""The same as LaTeX for ``\input``; needs the package booktabs."""
        return render_latex(self.rows)

    @property
    def text(self) -> str:
        """The main metrics as plain text for the terminal, without published rows that are not comparable."""
        return render_text([row for row in self.rows if row["kind"] != "published" or is_comparable(row)])

    def export_hugging_face(self, folder: str | Path, dataset: str = PLACEHOLDER) -> list[str]:
        """Write evaluation results for the Hugging Face Hub; no network is used.

        ``benchmark/eval.yaml`` belongs into the data set repository of the benchmark, and the folder ``.eval_results``
        in ``models/MODEL/`` into the repository of that model.

        Args:
            folder: A folder that is empty or does not exist.
            dataset: Id of the benchmark's data set repository, to replace in the files if it is not given.

        Returns:
            One sentence for each run that is left out, as it belongs to no model.

        Raises:
            InputError: ``dataset`` is no id, the folder is not empty, no run is of a model, or two runs have the same
                file.
        """
        return write_evaluation_results(self.rows, Path(folder), dataset)


def leaderboard(
    *folders: str | Path,
    out: str | Path | None = None,
    validate: bool = False,
    published: bool | str | Path = False,
    all_published: bool = False,
) -> Leaderboard:
    """Collect runs into a leaderboard.

    Folders that are not complete runs are named in ``left_out``.

    Args:
        folders: Folders that contain runs, at any depth.
        out: Folder for ``leaderboard.csv``, ``.md`` and ``.tex``; nothing is written if None.
        validate: Recompute every table of every run from its stored predictions, curves, score maps and ground truth,
            and compare an existing leaderboard in ``out`` with the result. Numbers may differ by a relative 1e-6, as
            between two machines; the checksums of the files allow no change at all.
        published: True to add the numbers of the literature that are bundled with the package, or a folder of tables in
            the same format (``wsol.leaderboards.published.PublishedNumber``). They are listed next to the measured rows
            on the same images with the same protocol and normalization, and are not ranked.
        all_published: Whether published numbers on the same data set with other images, protocol or normalization are
            listed as well, each with the conventions in which it differs.

    Returns:
        The leaderboard.

    Raises:
        InputError: There is no complete run; or ``validate`` is true and something does not reproduce. In the latter
            case all runs have been checked, each fault is named in a line, and nothing is written.
    """
    if not all(isinstance(folder, str | Path) for folder in folders):
        raise InputError("each folder is an argument of its own; write leaderboard(*folders) for a list of them")
    if out is not None and Path(out).is_dir() and _why_incomplete(Path(out)) is not None:
        raise InputError(f"{out} is a run folder; give another --out")
    published = published or all_published
    numbers = read_published(None if published is True else published) if published else []
    runs, incomplete = find_runs(folders)
    left_out = [escape_unprintable(f"{name}: {reason}") for name, reason in incomplete.items()]
    rows: list[Row] = []
    failed: dict[str, str] = {}
    with ThreadPoolExecutor(processor_count()) as pool:
        for name, folder in runs.items():
            try:
                rows.append(_read_row(name, folder, validate, pool))
            except InputError as error:
                failed[name] = escape_unprintable(f"{name}: {error}")
    rows = join_groups(rows)
    same_data = build_published_rows(numbers, rows)
    published_rows = [row for row in same_data if all_published or is_comparable(row)]
    rows = rank_rows([*rows, *published_rows])
    if validate:
        stale = find_stale(Path(out), rows, failed, _RENDERERS) if out is not None else []
        if faults := [*failed.values(), *stale]:
            lines = "\n".join(f"  {escape_unprintable(sentence)}" for sentence in [*faults, *left_out])
            raise InputError(
                f"no leaderboard is written, as not everything reproduces (faults: {len(faults)}):\n{lines}"
            )
    left_out += failed.values()
    if not rows:
        raise InputError(
            "; ".join(
                [
                    f"{', '.join(map(str, folders))} contains no complete run",
                    *(left_out or [_how_to_get_runs(Path(folders[0]))]),
                ]
            )
        )
    notes = []
    if numbers and not same_data:
        notes.append("no published number is for the data set and split of any run")
    elif count := len(same_data) - len(published_rows):
        differ = f"{count} published row{'s differ' if count > 1 else ' differs'}"
        notes.append(f"{differ} from the runs in images, protocol or normalization; --all-published shows in what")
    elif count := sum(not is_comparable(row) for row in same_data):
        rows_that = f"{count} published row{'s that differ' if count > 1 else ' that differs'}"
        notes.append(f"{rows_that} from the runs in images, protocol or normalization: in the files, not printed here")
    board = Leaderboard(rows, left_out, notes)
    if out is not None:
        ensure_dir(Path(out))
        rendered = {name: render(rows) for name, render in _RENDERERS.items()}
        for name, text in {"leaderboard.csv": board.csv, **rendered}.items():
            with atomic_write(Path(out) / name) as path:
                path.write_bytes(text.encode())
    return board


def _how_to_get_runs(folder: Path) -> str:
    """Return what to do with a folder that contains no file of a run."""
    if weights := find_weights(folder):
        return f"evaluate the weights of each training: python -m wsol.eval --weights {weights} --out runs/NAME"
    return "give one that contains runs of wsol.eval or wsol.score"


def _read_row(name: str, folder: Path, validate: bool, pool: Executor) -> Row:
    """Return the row of a run.

    Raises:
        InputError: The folder is not a complete run, or ``validate`` is true and the run does not reproduce.
    """
    if validate and (faults := verify_checksums(folder)):
        raise InputError(f"the run does not reproduce: {'; '.join(faults)}; evaluate again")
    run = read_run(folder)
    row = build_row(run, name)
    if validate and (faults := verify_tables(run, pool)):
        raise InputError(f"the run does not reproduce: {'; '.join(faults)}; evaluate again")
    return row


_RUN_FILES = {*FILES} - {"report.html", "metrics.csv", "classes.csv"}  # other folders may have these too


def find_runs(folders: Sequence[str | Path]) -> tuple[dict[str, Path], dict[str, str]]:
    """Find runs; the validation split of a run is part of it, not a separate run.

    Args:
        folders: Where to search; links are followed.

    Returns:
        The complete runs by name, sorted; and by name the reason why another folder is left out: it holds an
        unfinished run or some files of a run, or it was given and holds no run. The name of a run is its path relative
        to the given folder, or to the common parent of several folders.

    Raises:
        InputError: A folder does not exist.
    """
    roots = [Path(os.path.abspath(folder)) for folder in folders]  # noqa: PTH100  # does not resolve links
    for folder, root in zip(folders, roots, strict=True):
        if not root.is_dir():
            raise InputError(f"there is no folder {folder}; give one that contains runs of wsol.eval or wsol.score")
    if not roots:
        raise InputError("no folder is given; give one that contains runs of wsol.eval or wsol.score")
    top = os.path.commonpath(roots)
    found: dict[Path, str] = {}
    for root in roots:
        below = dict(_walk_runs(root, frozenset()))
        found |= below or ({root: f"the folder contains no run; {_how_to_get_runs(root)}"} if len(roots) > 1 else {})
    names = {Path(os.path.relpath(folder, top)).as_posix(): folder for folder in found}
    reasons = {name: found[names[name]] for name in sorted(names)}
    return (
        {name: names[name] for name, reason in reasons.items() if not reason},
        {name: reason for name, reason in reasons.items() if reason},
    )


def _walk_runs(folder: Path, parents: frozenset[Path]) -> Iterator[tuple[Path, str]]:
    """Yield each folder with files of a run, and why it is not a complete run: an empty string if it is one."""
    parents |= {folder.resolve()}
    reason = _why_incomplete(folder)
    if reason is not None:
        yield folder, reason
    for path in sorted(folder.iterdir()):
        if path.is_dir() and path.resolve() not in parents and not (reason is not None and path.name in FOLDERS):
            yield from _walk_runs(path, parents)


def _why_incomplete(folder: Path) -> str | None:
    """Return why a folder is no complete run: an empty string if it is one, None if it has no file of a run."""
    names = {path.name.removesuffix(TMP_SUFFIX) for path in folder.iterdir()}
    if (stored := count_stored(folder)) is not None:
        count = f"{stored} batch{'es' * (stored != 1)} stored"
        return f"the run is unfinished, {count}; wait for it, or continue it with --resume"
    if "run.json" in names:
        return ""
    was_killed = LOCK_FILE in names and names <= {LOCK_FILE, *FILES, *FOLDERS}
    if was_killed or names & _RUN_FILES:
        return "the run is incomplete, as it has no run.json; evaluate again"
    return None
