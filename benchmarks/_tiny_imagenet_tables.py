"""The tables of ``tiny_imagenet_study.py``, made from its runs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

import wsol
from wsol.io.paths import file_name
from wsol.runs.read import StoredRun, read_run

FIRST = "cam"  # the method that the others are compared with
BASELINES = ("center-gaussian", "full-image", "center-box")
SPEEDS = "speeds.csv"  # in the work folder, a row for every call that trained
METRICS = {  # with the rules of tau
    "max_box_acc_v2": ("oracle",),
    "gt_known_loc_acc": ("val", "oracle"),
    "top1_loc_err": ("val", "oracle"),
    "top1_cls_err": ("",),
    "pointing_game": ("",),
}
_TAUS = slice(None, None, 20)  # of the thousand of the curves

Runs = Mapping[tuple[str, int], Path]
"""Run folders by method and seed."""


def run_name(method: str, seed: int) -> str:
    """Return the name of the folders of a training and of its run."""
    return file_name(method, str(seed))


def write_tables(runs: Runs, baselines: Mapping[str, Path], work: Path, out: Path) -> None:
    """Write the tables of a budget.

    ``leaderboard.csv`` and ``.md`` are those of ``python -m wsol.leaderboard --validate``. ``metrics.csv`` and
    ``differences.csv`` compare methods, each with the mean over its seeds, and baselines, as ``wsol.compare`` does;
    ``curves.csv`` has the GT-known accuracy at some taus. ``runs.csv`` has a row per run, ``errors.csv`` a row per run
    and error type, and ``speeds.csv`` the images per second of every call that trained.

    Args:
        runs: The runs of networks.
        baselines: Run folders by baseline.
        work: Folder of trainings and runs.
        out: Folder of the tables.
    """
    out.mkdir(parents=True, exist_ok=True)
    board = wsol.leaderboard(work / "runs", validate=True)
    for name, text in {"leaderboard.csv": board.csv, "leaderboard.md": board.markdown}.items():
        (out / name).write_text(text, encoding="utf-8", newline="")
    groups: dict[str, list[Path]] = {}
    for (method, _), folder in runs.items():
        groups.setdefault(method, []).append(folder)
    entries = {name: folders if len(folders) > 1 else folders[0] for name, folders in groups.items()}
    comparison = wsol.compare({**entries, **baselines})
    signatures = comparison.runs.set_index("run")["signature"]
    stored = {key: read_run(folder) for key, folder in runs.items()}
    errors = [run.tables.errors.assign(method=key[0], seed=key[1]) for key, run in stored.items()]
    tables = {
        "metrics": _select(comparison.metrics).assign(signature=lambda table: table["run"].map(signatures)),
        "differences": _select(comparison.differences),
        "curves": comparison.curves.iloc[_TAUS],
        "runs": pd.DataFrame([_describe(*key, run, work) for key, run in stored.items()]),
        "errors": pd.concat(errors)[["method", "seed", "error", "n", "share", "share_low", "share_high"]],
        "speeds": _add_rates(pd.read_csv(work / SPEEDS)),
    }
    for name, table in tables.items():
        table.to_csv(out / f"{name}.csv", index=False, float_format="%.4f")


def value_of(run: StoredRun, metric: str, rule: str = "") -> float:
    """Return a metric of a run in percent."""
    table = run.tables.metrics
    rows = table[(table["metric"] == metric) & (table["tau_rule"].fillna("") == rule)]
    return float(rows["value"].item())


def val_accuracy(run: StoredRun) -> float:
    """Return the MaxBoxAccV2 of a run on its validation split."""
    assert run.validation is not None
    return value_of(run.validation, "max_box_acc_v2", "oracle")


def _select(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the metrics of the study."""
    pairs = [(metric, rule) for metric, rules in METRICS.items() for rule in rules]
    rows = zip(table["metric"], table["tau_rule"].fillna(""), strict=True)
    return table[[row in pairs for row in rows]].reset_index(drop=True)


def _describe(method: str, seed: int, run: StoredRun, work: Path) -> dict[str, Any]:
    """Return the row of a run, with the last errors of its training."""
    last = pd.read_csv(work / "train" / run_name(method, seed) / "log.csv").iloc[-1]
    row = {"method": method, "seed": seed, "epochs": int(last["epoch"]), "images": len(run.results.images)}
    row |= {"train_err": last["train_err"], "val_err": last["val_err"], "tau": run.metadata.tau.value}
    row |= {"max_box_acc_v2@val_split": val_accuracy(run)}
    for metric, rules in METRICS.items():
        row |= {f"{metric}@{rule}" if rule else metric: value_of(run, metric, rule) for rule in rules}
    return row | {"signature": run.signature}


def _add_rates(speeds: pd.DataFrame) -> pd.DataFrame:
    """Return the speeds with images per second, and per second of one processor in the training process."""
    rates = {"images_per_second": "seconds", "images_per_processor_second": "processor_seconds"}
    return speeds.assign(**{name: speeds["images"] / speeds[column] for name, column in rates.items()})
