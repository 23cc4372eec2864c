"""The results of a run as text for the terminal."""

from pathlib import Path
from typing import Any

import pandas as pd

from wsol.metrics.base import row_title, sort_rows
from wsol.runs.metadata import RunMetadata
from wsol.runs.read import Evaluation

RULES = ("", "fixed", "val", "oracle")
_OPTIMISM = "optimism"


def format_run(evaluation: Evaluation, folder: Path) -> str:
    """Format a run for the terminal: signature, notes, skipped images, clipped boxes, metrics, and the run folder."""
    run = evaluation.metadata
    table = format_metrics(evaluation.metrics, evaluation.baselines)
    n = run.dataset.n
    lines = [run.signature, *list_warnings(run), "", table, "", f"{n} image{'s' * (n != 1)}, written to {folder}"]
    return "\n".join(lines)


def list_warnings(run: RunMetadata) -> list[str]:
    """Return what deserves a second look, one sentence each: notes, skipped images, clipped boxes."""
    sentences = [*run.notes]
    if run.skipped:
        sentences.append(f"{len(run.skipped)} unreadable images are NOT in these numbers; run.json lists them")
    if run.val and run.val.skipped:
        sentences.append(f"{len(run.val.skipped)} unreadable images of val are NOT in the choice of tau")
    if run.clipped_boxes:
        sentences.append(f"{run.clipped_boxes} ground-truth boxes extend beyond their image by up to one pixel")
    return sentences


def format_metrics(metrics: pd.DataFrame, baselines: pd.DataFrame) -> str:
    """Format metrics as a table with one row per metric and one column per threshold rule.

    Args:
        metrics: Metrics of the run, as returned by ``wsol.metrics.summary.summarize``.
        baselines: Metrics of the baselines, with the column baseline; their GT-known accuracy is at the bottom.

    Returns:
        Lines of text with values in percent, their 95 % interval and the tau at which they were computed; then the
        optimism of the oracle values in points.
    """
    cells: dict[str, dict[str, str]] = {}
    for row in fill_tau_rule(metrics).itertuples():
        cells.setdefault(str(row.metric), {}).update(_format_cells(row))
    titles = {name: row_title(name) for name in sort_rows(cells)}
    for row in fill_tau_rule(baselines[baselines["metric"] == "gt_known_loc_acc"]).itertuples():
        title = f"GT-known of {row.baseline}"
        cells.setdefault(title, {}).update(_format_cells(row))
        titles[title] = title
    table = pd.DataFrame.from_dict(cells, orient="index").reindex(index=list(titles)).rename(index=titles)
    title = "percent @tau" if metrics["ci_low"].isna().all() else "percent [95 %] @tau"
    table = table.reindex(columns=[name for name in (*RULES, _OPTIMISM) if name in table.columns])
    text = table.rename(columns={"": "no tau"}).rename_axis(title, axis=1).fillna("").to_string()
    return "\n".join(line.rstrip() for line in text.splitlines())


def fill_tau_rule(table: pd.DataFrame) -> pd.DataFrame:
    """Replace a missing ``tau_rule``, of metrics without a threshold, by an empty string."""
    return table.assign(tau_rule=["" if pd.isna(rule) else rule for rule in table["tau_rule"]])


def _format_cells(row: Any) -> dict[str, str]:
    """Return the cell of a value by its rule, and that of its optimism if it has one."""
    interval = "" if pd.isna(row.ci_low) else f" [{row.ci_low:.1f}, {row.ci_high:.1f}]"
    tau = f" @{row.tau:.3f}" if pd.notna(row.tau) else " " * 7 if row.tau_rule else ""  # the numbers stay aligned
    cells = {row.tau_rule: f"{row.value:.3f}{interval}{tau}"}
    return cells if pd.isna(row.optimism) else cells | {_OPTIMISM: f"{row.optimism:.2f}"}
