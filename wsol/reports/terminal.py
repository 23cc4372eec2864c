"""The table on the terminal."""

from pathlib import Path
from typing import Any

import pandas as pd

TITLES = {
    "top1_loc_err": "top-1 localization error",
    "top5_loc_err": "top-5 localization error",
    "top5_loc_err_pairs": "  with two boxes a class",
    "top1_cls_err": "top-1 classification error",
    "top5_cls_err": "top-5 classification error",
    "gt_known_loc_acc": "GT-known accuracy",
    "max_box_acc": "MaxBoxAcc",
    "max_box_acc_v2": "MaxBoxAccV2",
    "max_box_acc_v2_30": "  at IoU 0.3",
    "max_box_acc_v2_50": "  at IoU 0.5",
    "max_box_acc_v2_70": "  at IoU 0.7",
    "mean_iou": "mean IoU",
    "corloc": "CorLoc",
    "pointing_game": "pointing game",
    "pxap": "PxAP",
    "peak_iou": "peak IoU of pixels",
    "pixel_iou": "mean IoU of pixels",
    "mean_pixel_iou": "  over all thresholds",
}
RULES = ("", "fixed", "val", "oracle")


def format_run(run: dict[str, Any], metrics: pd.DataFrame, baselines: pd.DataFrame, folder: Path) -> str:
    """Return what a command prints of a run: its signature, what was skipped or clipped, the table, the folder."""
    lines = [str(run["signature"]), *run["notes"]]
    if run["skipped"]:
        lines.append(f"{len(run['skipped'])} unreadable images are NOT in these numbers; run.json lists them")
    if run["val"] and run["val"]["skipped"]:
        lines.append(f"{len(run['val']['skipped'])} unreadable images of val had no part in the choice of tau")
    if run["clipped_boxes"]:
        lines.append(f"{run['clipped_boxes']} ground-truth boxes leave their image by up to a pixel")
    tables = [format_metrics(metrics, baselines), "", f"{run['dataset']['n']} images, written to {folder}"]
    return "\n".join([*lines, "", *tables])


def format_metrics(metrics: pd.DataFrame, baselines: pd.DataFrame) -> str:
    """Lay the metrics out with one row a metric and one column a threshold rule.

    Args:
        metrics: As ``wsol.metrics.summary.summarize`` returns them.
        baselines: Likewise, with the column baseline; their GT-known accuracy stands below.

    Returns:
        Lines of text, values in percent with their 95 % interval and the tau they were taken at.
    """
    cells: dict[str, dict[str, str]] = {}
    for row in fill_tau_rule(metrics).itertuples():
        rule = str(row.tau_rule)
        cells.setdefault(TITLES.get(str(row.metric), str(row.metric)), {})[rule] = _cell(row)
    order = [title for title in TITLES.values() if title in cells]
    order += [title for title in cells if title not in order]
    for row in fill_tau_rule(baselines[baselines["metric"] == "gt_known_loc_acc"]).itertuples():
        title = f"GT-known of {row.baseline}"
        cells.setdefault(title, {})[str(row.tau_rule)] = _cell(row)
        order += [] if title in order else [title]
    table = pd.DataFrame.from_dict(cells, orient="index").reindex(index=order)
    table = table.reindex(columns=[rule for rule in RULES if rule in table.columns])
    return table.rename(columns={"": "no tau"}).rename_axis("percent [95 %] @tau", axis=1).fillna("").to_string()


def fill_tau_rule(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table whose ``tau_rule`` is an empty text where no threshold enters."""
    return table.assign(tau_rule=["" if pd.isna(rule) else rule for rule in table["tau_rule"]])


def _cell(row: Any) -> str:
    spread = "" if pd.isna(row.ci_low) else f" [{row.ci_low:.1f}, {row.ci_high:.1f}]"
    return f"{row.value:.3f}{spread}" + (" " * 7 if pd.isna(row.tau) else f" @{row.tau:.3f}")
