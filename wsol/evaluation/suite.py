"""A suite: a grid of runs in a TOML file, one after the other; what is done is skipped, what fails is named."""

import difflib
import gc
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd

from wsol.errors import InputError, first_line
from wsol.io.paths import file_name
from wsol.reports.terminal import TITLES, fill_tau_rule
from wsol.runs.batches import is_complete

_LISTS = {"datasets": "dataset", "models": "model", "methods": "method"}  # in the order in which they are gone through
_TEXT, _WHOLE, _TRUTH = (str, "a text"), (int, "a whole number"), (bool, "true or false")
_OPTIONS: Mapping[str, tuple[Any, str]] = {
    "model": _TEXT,
    "weights": _TEXT,
    "dataset": _TEXT,
    "data_root": _TEXT,
    "dataset_args": (dict, "a table of texts and numbers"),
    "download": _TRUTH,
    "split": (str, "'test' or 'val'"),
    "method": _TEXT,
    "layer": _TEXT,
    "map_size": _WHOLE,
    "protocol": _TEXT,
    "tau": (int | float | str, "a number, 'val' or 'oracle'"),
    "limit": _WHOLE,
    "device": _TEXT,
    "batch_size": _WHOLE,
    "workers": _WHOLE,
    "memory": (int | float, "a number"),
    "precision": (str, "'float32' or 'bfloat16'"),
    "channels_last": _TRUTH,
    "compiled": _TRUTH,
    "skip_bad_images": _TRUTH,
}
_CHOICES = {"split": ("test", "val"), "tau": ("val", "oracle"), "precision": ("float32", "bfloat16")}
_HEADLINES = ("top1_loc_err", "gt_known_loc_acc", "max_box_acc")
_STATES = ("new", "done before", "failed")


@dataclass(frozen=True)
class Run:
    """A run of a suite.

    Attributes:
        folder: Where it is written.
        options: Arguments of ``wsol.evaluate``; the others have their defaults.
    """

    folder: Path
    options: Mapping[str, Any]


def run_suite(path: str | Path, only: str = "1/1") -> pd.DataFrame:
    """Evaluate a grid of models, methods and data sets.

    Every run resumes: a finished one is read back, an unfinished one goes on where it was stopped. One that fails does
    not keep the others from running. A line on stderr says of each run how it ended, as soon as it has. Started by
    torchrun, the processes share each run.

    Args:
        path: The suite, a TOML file; see ``read_suite``.
        only: ``K/N`` for every N-th run from the K-th, K from 1; N calls, at the same time or not, do the whole suite.

    Returns:
        folder, state (``new``, ``done before`` or ``failed``), failure (a sentence, or empty), and in percent, NaN
        where there is none, top1_loc_err and gt_known_loc_acc at the run's own tau, and max_box_acc.

    Raises:
        InputError: The file is no suite, it names a data set, method or protocol that is not there, or ``only`` is no
            part of it.
    """
    from wsol.runtime.distributed import process_group  # noqa: PLC0415  # torch takes seconds that reading a suite need not wait for

    group, rows = process_group(), []
    with group.sync_errors():
        runs = _part(_named(read_suite(path), Path(path)), only)
    for number, run in enumerate(runs, 1):
        rows.append(row := _row(run))
        _free(run)
        if group.is_main:
            ended = _ended(row["state"], row["failure"])
            print(f"wsol: {number} of {len(runs)}, {run.folder.name}: {ended}", file=sys.stderr, flush=True)
    return pd.DataFrame(rows, columns=["folder", "state", "failure", *_HEADLINES])


def read_suite(path: str | Path) -> list[Run]:
    """Read a suite.

    A TOML file with the lists ``datasets``, ``models`` and ``methods``, a run for each combination. In a list, a text
    names one; a table may set any argument of ``wsol.evaluate`` that a file can hold, and a ``name`` for the folder.
    What stands outside of the lists holds for all runs; a data set's table overrides it, a model's that, a method's
    all. A list that is missing has one entry, which sets nothing. Runs are written to ``out`` (default ``results/`` and
    the file's name) as DATASET-SPLIT-MODEL-METHOD. Relative paths start at the working directory, not at the file.

    Returns:
        The runs: data set by data set, in that model by model, in that method by method.

    Raises:
        InputError: It is no such file, or two runs have the same folder.
    """
    path = Path(path)
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        return _grid(table, Path("results") / path.stem)
    except FileNotFoundError as error:
        raise InputError(f"there is no suite file {path}") from error
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except ValueError as error:
        raise InputError(f"{path} is no TOML file: {error}") from error


def suite_report(table: pd.DataFrame) -> str:
    """Return what a command prints of a suite: a line a run, then how many ended how."""
    folders = [Path(folder) for folder in table["folder"]]
    width = max([len(folder.name) for folder in folders], default=0)
    titles = [TITLES[name] for name in _HEADLINES]
    lines = ["  ".join(["percent".ljust(width), *titles]).rstrip()] if folders else []
    for folder, (_, row) in zip(folders, table.iterrows(), strict=True):
        numbers = ["" if pd.isna(row[name]) else f"{row[name]:.3f}" for name in _HEADLINES]
        cells = [number.rjust(len(title)) for number, title in zip(numbers, titles, strict=True)]
        lines.append("  ".join([folder.name.ljust(width), *cells, _ended(row["state"], row["failure"])]))
    counts = ", ".join(f"{(table['state'] == state).sum()} {state}" for state in _STATES)
    place = f" in {folders[0].parent}" if folders else ""
    return "\n".join([*lines, "", f"{len(folders)} runs{place}: {counts}"] if lines else [f"0 runs: {counts}"])


def _grid(table: dict[str, Any], home: Path) -> list[Run]:
    lists = {name: _entries(name, key, table.pop(name, [{}])) for name, key in _LISTS.items()}
    _check(table, "", ["out", *_LISTS])
    out, runs = Path(table.pop("out", home)), dict[str, Run]()
    for dataset, model, method in product(*lists.values()):
        options = {**table, **dataset, **model, **method}
        options.pop("name", None)
        if "dataset_args" in options:
            options["dataset_args"] = {key: str(value) for key, value in options["dataset_args"].items()}
        network = options.get("model") or Path(options.get("weights", "model")).stem
        parts = [
            dataset.get("name", options.get("dataset", "synthetic")),
            options.get("split", "test"),
            model.get("name", network),
            method.get("name", options.get("method", "cam")),
        ]
        run = Run(out / file_name(*parts), options)
        if runs.setdefault(run.folder.name.casefold(), run) is not run:  # some disks know no case
            raise InputError(
                f"two runs would be written to {run.folder}; give an entry by which they differ a name for its part of "
                'the folder, such as { model = "resnet50", map_size = 28, name = "resnet50-28" }'
            )
    return [*runs.values()]


def _entries(name: str, key: str, listed: Any) -> list[dict[str, Any]]:
    if not isinstance(listed, list) or not listed:
        raise InputError(f"{name} is {listed!r}; give a list with an entry or more")
    entries = [{key: entry} if isinstance(entry, str) else entry for entry in listed]
    for number, entry in enumerate(entries, 1):
        place = f"entry {number} of {name}: "
        if not isinstance(entry, dict):
            raise InputError(f"{place}{entry!r} is neither a text nor a table")
        _check(entry, place, ["name"])
    return entries


def _check(table: Mapping[str, Any], place: str, more: Sequence[str]) -> None:
    """Make sure that keys are known and that values are of their kind."""
    for key, value in table.items():
        if key not in (known := [*_OPTIONS, *more]):
            close = difflib.get_close_matches(key.lower(), known, n=3, cutoff=0.5)
            hint = f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(known)}"
            raise InputError(f"{place}unknown key {key!r}; {hint}")
        kind, words = _OPTIONS.get(key, _TEXT)
        fits = isinstance(value, kind) and isinstance(value, bool) == (kind is bool)
        if isinstance(value, str):
            fits = fits and value in _CHOICES.get(key, (value,))
        elif isinstance(value, dict):
            fits = fits and all(type(each) in (str, int, float) for each in value.values())
        if not fits:
            raise InputError(f"{place}{key} is {value!r}; give {words}")


def _named(runs: list[Run], path: Path) -> list[Run]:
    """Return the runs, if every method, protocol and data set that they name is there."""
    from wsol.datasets import DATASETS  # noqa: PLC0415
    from wsol.methods import find_method  # noqa: PLC0415
    from wsol.protocols import find_protocol  # noqa: PLC0415

    for key, find in (("dataset", DATASETS.get), ("method", find_method), ("protocol", find_protocol)):
        for name in dict.fromkeys(run.options[key] for run in runs if key in run.options):
            try:
                find(name)
            except InputError as error:
                raise InputError(f"{path}: {error}") from error
    return runs


def _part(runs: list[Run], only: str) -> list[Run]:
    first, _, step = only.partition("/")
    if not (first.isdecimal() and step.isdecimal() and 1 <= int(first) <= int(step)):
        raise InputError(f"--only {only!r} should be K/N, the K-th of N parts, with K from 1 to N")
    return runs[int(first) - 1 :: int(step)]


def _row(run: Run) -> dict[str, Any]:
    """Run one and returns its row of the table."""
    from wsol.evaluation.evaluate import evaluate  # noqa: PLC0415

    row = {"folder": str(run.folder), "state": "done before" if is_complete(run.folder) else "new", "failure": ""}
    try:
        metrics = evaluate(**run.options, out=run.folder, resume=True).metrics
    except Exception as error:  # whatever it is, the other runs have nothing to do with it
        kind, said = type(error).__name__, first_line(error)
        plain = said if isinstance(error, InputError | OSError) or said == kind else f"{kind}: {said}"
        return row | {"state": "failed", "failure": plain}
    return row | _headlines(metrics, run.options.get("tau"))


def _headlines(metrics: pd.DataFrame, tau: Any) -> dict[str, float]:
    """Return the numbers that a run is first asked for: at its tau, or at the best where a metric has no other."""
    own = tau if isinstance(tau, str) else "fixed"
    values = fill_tau_rule(metrics).set_index(["metric", "tau_rule"])["value"]
    found = {}
    for name in _HEADLINES:
        there = [values[name, rule] for rule in (own, "", "oracle") if (name, rule) in values.index]
        found[name] = float(there[0]) if there else float("nan")
    return found


def _free(run: Run) -> None:
    """Give back what a run had, so that the next finds the same room as alone."""
    import torch  # noqa: PLC0415

    gc.collect()
    if run.options.get("compiled"):  # torch compiles the same layers only so often
        torch.compiler.reset()
    torch.cuda.empty_cache()


def _ended(state: str, failure: str) -> str:
    return f"{state}: {failure}" if failure else state
