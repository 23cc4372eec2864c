"""Evaluation results for repositories on the Hugging Face Hub, written from the rows of a leaderboard.

The formats are those of https://huggingface.co/docs/hub/eval-results: ``.eval_results/*.yaml`` in the repository of a
model, and ``eval.yaml`` in the repository of the data set that holds the benchmark.
"""

import hashlib
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from wsol.errors import InputError
from wsol.io.atomic import atomic_write, ensure_dir
from wsol.io.display import escape_unprintable
from wsol.leaderboards.rows import Row, metric_column
from wsol.metrics.base import Metric, headlines
from wsol.reports.terminal import RULES

PLACEHOLDER = "OWNER/NAME"
"""Stands for the benchmark's repository until someone gives its id."""

_DOCUMENTATION = "https://huggingface.co/docs/hub/eval-results"
_REPOSITORY_ID = re.compile(r"(?!.*(?:--|\.\.))[A-Za-z0-9](?:[\w.-]*\w)?/\w(?:[\w.-]*\w)?", re.ASCII)
_MAX_ID = 96
_SPLIT = re.compile(r"(.+)-(train|val|test)(?:\(.*\))?#\d+:.*")


def write_evaluation_results(rows: Iterable[Row], folder: Path, dataset: str) -> list[str]:
    """Write ``benchmark/eval.yaml`` and ``models/MODEL/.eval_results/RUN.yaml``.

    A task of the benchmark is a headline metric under a threshold rule, on the images and with the protocol of one
    table of the leaderboard. Its id does not depend on the other rows.

    Args:
        rows: Rows of a leaderboard; those that are published numbers, and not runs, are ignored.
        folder: A folder that is empty or does not exist.
        dataset: Id of the benchmark's data set repository, ``OWNER/NAME``.

    Returns:
        One sentence for each run that is left out, as it belongs to no model.

    Raises:
        InputError: ``dataset`` is no id, the folder is not empty, no run is of a model, or two runs have the same file.
    """
    if len(dataset) > _MAX_ID or not _REPOSITORY_ID.fullmatch(dataset):
        raise InputError(
            f"{dataset!r:.120} is no id of a repository on the Hub; give OWNER/NAME, as its address has it"
        )
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise InputError(f"{folder} exists and is not an empty folder; export to another one, or remove it")
    runs = [row for row in rows if row["kind"] == "measured"]
    of_models = [row for row in runs if row["method"] != "baseline"]
    if not of_models:
        raise InputError("no run is of a model, so there are no evaluation results to export; evaluate one")
    files: dict[Path, Any] = {folder / "benchmark" / "eval.yaml": _describe_benchmark(of_models)}
    for row in of_models:
        path = folder / "models" / _file_name(row["model"]) / ".eval_results" / f"{_file_name(row['run'])}.yaml"
        if path in files:
            raise InputError(f"two runs would be exported to {path}; rename the folder of {row['run']}")
        files[path] = [_describe_result(row, *task, dataset) for task in _list_tasks(row)]
    for path, content in files.items():
        ensure_dir(path.parent)
        text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=math.inf)
        with atomic_write(path) as part:
            part.write_text(f"# {_DOCUMENTATION}\n{text}", encoding="utf-8")
    return [f"{row['run']}: not exported, as a baseline is no model" for row in runs if row["method"] == "baseline"]


def _list_tasks(row: Row) -> list[tuple[Metric, str]]:
    """List the headline metrics of a run and the rules of their thresholds."""
    tasks = [(metric, rule) for metric in headlines() for rule in RULES]
    return [(metric, rule) for metric, rule in tasks if metric_column(metric.name, rule) in row]


def _task_id(row: Row, metric: Metric, rule: str) -> str:
    """Return the id of a task; its end is a hash of everything that decides whether two numbers can be compared."""
    protocol = row["protocol"].partition(":")[0]
    digest = hashlib.sha256(row["group"].encode("utf-8", "backslashreplace")).hexdigest()[:8]
    return "-".join(filter(None, [*map(_file_name, (*_name_and_split(row), protocol)), metric.name, rule, digest]))


def _name_and_split(row: Row) -> tuple[str, str]:
    match = _SPLIT.fullmatch(row["dataset"])
    if match is None:
        raise InputError(f"{row['run']}: {row['dataset']!r:.120} names no data set and split; evaluate again")
    return match[1], match[2]


def _describe_benchmark(rows: Sequence[Row]) -> dict[str, Any]:
    """Return the content of ``eval.yaml``: a configuration of its data set is one of ours."""
    several = len({_name_and_split(row)[0] for row in rows}) > 1
    tasks = {}
    for row in rows:
        name, split = _name_and_split(row)
        for metric, rule in _list_tasks(row):
            task = _task_id(row, metric, rule)
            tasks[task] = {"id": task, "config": name if several else "default", "split": split}
    return {
        "name": "Weakly supervised object localization",
        "description": "How well classifiers that were trained on image labels alone localize objects: metrics of "
        "their score maps in percent, under named protocols, computed with wsol.",
        "evaluation_framework": "wsol",
        "tasks": [*tasks.values()],
    }


def _describe_result(row: Row, metric: Metric, rule: str, dataset: str) -> dict[str, Any]:
    """Return one entry of ``.eval_results/*.yaml``."""
    column = metric_column(metric.name, rule)
    details = [f"{metric.title or metric.name} in percent, {metric.better} is better"]
    if f"{column}.tau" in row:
        details.append(f"tau {row[f'{column}.tau']:g} ({rule})")
    elif rule:
        details.append(f"threshold rule {rule}")
    if f"{column}.low" in row:
        details.append(f"95 % interval [{row[f'{column}.low']:.3f}, {row[f'{column}.high']:.3f}]")
    notes = "; ".join([*details, f"signature {escape_unprintable(row['signature'])}"])
    return {
        "dataset": {"id": dataset, "task_id": _task_id(row, metric, rule)},
        "value": row[column],
        "notes": notes,
    }


def _file_name(text: str) -> str:
    """Return text as the name of a file or a part of an id: ASCII letters, digits and ``._-``, no dot first."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip(".-") or "run"
