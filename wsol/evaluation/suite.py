"""A suite: a grid of runs in a TOML file. Finished runs are skipped, failed ones are named."""

import gc
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd

from wsol.errors import InputError, first_line
from wsol.evaluation.config import options
from wsol.evaluation.settings_file import Kind, check_values, read_settings
from wsol.io.paths import file_name
from wsol.metrics.base import row_title
from wsol.reports.terminal import fill_tau_rule
from wsol.runs.batches import is_complete

_LISTS = {"datasets": "dataset", "models": "model", "methods": "method"}  # outermost loop first
_OPTIONS = {name: Kind.of(option) for name, _, option in options() if option.in_suite}
_HEADLINES = ("top1_loc_err", "gt_known_loc_acc", "max_box_acc")
_STATES = ("new", "done before", "failed")


@dataclass(frozen=True)
class Run:
    """A run of a suite.

    Attributes:
        folder: The run folder.
        options: Arguments of ``wsol.evaluate``; the others have their defaults.
    """

    folder: Path
    options: Mapping[str, Any]


def run_suite(path: str | Path, only: str = "1/1") -> pd.DataFrame:
    """Evaluate a grid of models, methods and data sets.

    Every run resumes: a finished one is read back, an unfinished one continues where it was stopped. A run that fails
    does not stop the others. A line on stderr tells how each run ended. Processes started by torchrun share each run.

    Args:
        path: The suite, a TOML file; see ``read_suite``.
        only: ``K/N`` for every N-th run from the K-th, K from 1; N calls, in parallel or not, do the whole suite.

    Returns:
        folder, state (``new``, ``done before`` or ``failed``), failure (a sentence, or empty), and in percent, NaN
        where there is none, top1_loc_err and gt_known_loc_acc at the run's own tau, and max_box_acc.

    Raises:
        InputError: The file is no suite, it names an unknown data set, method or protocol, or ``only`` is malformed.
    """
    from wsol.runtime.distributed import process_group  # noqa: PLC0415  # reading a suite need not wait for torch

    group, rows = process_group(), []
    with group.sync_errors():
        runs = _select(read_suite(path), only)
        _check_names(runs, Path(path))
    for number, run in enumerate(runs, 1):
        rows.append(row := _evaluate(run))
        free_memory(compiled=bool(run.options.get("compiled")))
        if group.is_main:
            state = _format_state(row["state"], row["failure"])
            print(f"wsol: {number} of {len(runs)}, {run.folder.name}: {state}", file=sys.stderr, flush=True)
    return pd.DataFrame(rows, columns=["folder", "state", "failure", *_HEADLINES])


def read_suite(path: str | Path) -> list[Run]:
    """Read a suite.

    A suite is a TOML file with the lists ``datasets``, ``models`` and ``methods``; there is one run per combination. An
    entry of a list is a name, or a table that may set any argument of ``wsol.evaluate`` that a file can hold, and a
    ``name`` for the folder. Options outside the lists hold for all runs; the table of a data set overrides them, that
    of a model overrides both, that of a method all. A missing list has one entry, which sets nothing. Runs are written
    to ``out`` (default ``results/`` and the file's name) as DATASET-SPLIT-MODEL-METHOD. Relative paths start at the
    working directory, not at the file.

    Returns:
        The runs: by data set, then by model, then by method.

    Raises:
        InputError: It is no such file, or two runs have the same folder.
    """
    path = Path(path)
    return read_settings(path, "suite", partial(_combine, home=Path("results") / path.stem))


def format_suite(table: pd.DataFrame) -> str:
    """Return what the command prints after a suite: one line per run, then the number of runs by state."""
    folders = [Path(folder) for folder in table["folder"]]
    width = max([len(folder.name) for folder in folders], default=0)
    titles = [row_title(name) for name in _HEADLINES]
    lines = ["  ".join(["percent".ljust(width), *titles]).rstrip()] if folders else []
    for folder, (_, row) in zip(folders, table.iterrows(), strict=True):
        numbers = ["" if pd.isna(row[name]) else f"{row[name]:.3f}" for name in _HEADLINES]
        cells = [number.rjust(len(title)) for number, title in zip(numbers, titles, strict=True)]
        lines.append("  ".join([folder.name.ljust(width), *cells, _format_state(row["state"], row["failure"])]))
    counts = ", ".join(f"{(table['state'] == state).sum()} {state}" for state in _STATES)
    place = f" in {folders[0].parent}" if folders else ""
    return "\n".join([*lines, "", f"{len(folders)} runs{place}: {counts}"] if lines else [f"0 runs: {counts}"])


def _combine(table: dict[str, Any], home: Path) -> list[Run]:
    lists = {name: _read_list(name, key, table.pop(name, [{}])) for name, key in _LISTS.items()}
    check_values(table, _OPTIONS | {"out": Kind()} | dict.fromkeys(_LISTS, Kind()))
    out, runs = Path(table.pop("out", home)), dict[str, Run]()
    for dataset, model, method in product(*lists.values()):
        settings = {**table, **dataset, **model, **method}
        settings.pop("name", None)
        if "dataset_args" in settings:
            settings["dataset_args"] = {key: str(value) for key, value in settings["dataset_args"].items()}
        network = settings.get("model") or Path(settings.get("weights", "model")).stem
        names = [
            dataset.get("name", settings.get("dataset", "synthetic")),
            settings.get("split", "test"),
            model.get("name", network),
            method.get("name", settings.get("method", "cam")),
        ]
        run = Run(out / file_name(*names), settings)
        if runs.setdefault(run.folder.name.casefold(), run) is not run:  # some file systems ignore case
            raise InputError(
                f"two runs would be written to {run.folder}; give one of the entries that differ a name for its part "
                'of the folder, such as { model = "resnet50", map_size = 28, name = "resnet50-28" }'
            )
    return [*runs.values()]


def _read_list(name: str, key: str, listed: Any) -> list[dict[str, Any]]:
    if not isinstance(listed, list) or not listed:
        raise InputError(f"{name} is {listed!r}; give a list with at least one entry")
    entries = [{key: entry} if isinstance(entry, str) else entry for entry in listed]
    for number, entry in enumerate(entries, 1):
        place = f"entry {number} of {name}: "
        if not isinstance(entry, dict):
            raise InputError(f"{place}{entry!r} is neither a string nor a table")
        check_values(entry, _OPTIONS | {"name": Kind()}, place)
    return entries


def _check_names(runs: list[Run], path: Path) -> None:
    """Check that every method, protocol and data set that the runs name exists."""
    from wsol.datasets import DATASETS  # noqa: PLC0415
    from wsol.methods import find_method  # noqa: PLC0415
    from wsol.protocols import find_protocol  # noqa: PLC0415

    for key, find in (("dataset", DATASETS.get), ("method", find_method), ("protocol", find_protocol)):
        for name in dict.fromkeys(run.options[key] for run in runs if key in run.options):
            try:
                find(name)
            except InputError as error:
                raise InputError(f"{path}: {error}") from error


def _select(runs: list[Run], only: str) -> list[Run]:
    first, _, step = only.partition("/")
    if not (first.isdecimal() and step.isdecimal() and 1 <= int(first) <= int(step)):
        raise InputError(f"--only {only!r} should be K/N, the K-th of N parts, with K from 1 to N")
    return runs[int(first) - 1 :: int(step)]


def _evaluate(run: Run) -> dict[str, Any]:
    """Evaluate one run and return its row of the table."""
    from wsol.evaluation.evaluate import evaluate  # noqa: PLC0415

    row = {"folder": str(run.folder), "state": "done before" if is_complete(run.folder) else "new", "failure": ""}
    try:
        metrics = evaluate(**run.options, out=run.folder, resume=True).metrics
    except Exception as error:  # the other runs do not depend on it
        kind, message = type(error).__name__, first_line(error)
        plain = message if isinstance(error, InputError | OSError) or message == kind else f"{kind}: {message}"
        return row | {"state": "failed", "failure": plain}
    return row | _pick_headlines(metrics, run.options.get("tau"))


def _pick_headlines(metrics: pd.DataFrame, tau: Any) -> dict[str, float]:
    """Return the headline metrics at the run's tau, or at the best tau where a metric has no other."""
    rule = tau if isinstance(tau, str) else "fixed"
    values = fill_tau_rule(metrics).set_index(["metric", "tau_rule"])["value"]
    headlines = {}
    for name in _HEADLINES:
        present = [values[name, each] for each in (rule, "", "oracle") if (name, each) in values.index]
        headlines[name] = float(present[0]) if present else float("nan")
    return headlines


def free_memory(compiled: bool = False) -> None:
    """Free what a run used, so that the next has as much memory as if it ran alone.

    Args:
        compiled: Whether its network was compiled.
    """
    import torch  # noqa: PLC0415

    gc.collect()
    if compiled:  # torch compiles the same layers only so often
        torch.compiler.reset()
    torch.cuda.empty_cache()


def _format_state(state: str, failure: str) -> str:
    return f"{state}: {failure}" if failure else state
