"""The report page of a comparison."""

import base64
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd

from wsol.comparison.groups import SeedGroup
from wsol.comparison.tables import image_table
from wsol.comparison.terminal import run_letters
from wsol.metrics.base import row_title, sort_rows
from wsol.metrics.error_types import EMPTY, ERROR_TYPES
from wsol.metrics.significance import ALPHA
from wsol.reports.page import render
from wsol.reports.terminal import RULES, fill_tau_rule


def render_comparison_page(
    groups: Sequence[SeedGroup],
    signature: str,
    notes: Sequence[str],
    runs: pd.DataFrame,
    metrics: pd.DataFrame,
    differences: pd.DataFrame,
    histogram: bytes,
    folder: Path,
) -> str:
    """Return the page of a comparison as HTML.

    Args:
        groups: The runs and groups of seeds; boxes, maps and counts of images are those of the first run of a group.
        signature: Signature that the runs have in common.
        notes: Warnings, one sentence each.
        runs: ``runs`` of ``wsol.comparison.compare.Comparison``.
        metrics: ``metrics`` of the comparison.
        differences: ``differences`` of the comparison.
        histogram: PNG file with the histogram of IoU.
        folder: Folder of the page; thumbnails that are not embedded are read from the folder of a run.
    """
    names = runs["run"].tolist()
    letters = run_letters(len(names))
    stored = [group.runs[0] for group in groups]
    several = any(len(group.runs) > 1 for group in groups)
    first_images = image_table([replace(group, runs=group.runs[:1]) for group in groups])
    hits = np.stack([first_images[f"hit {name}"].to_numpy(bool) for name in names])
    thumbnail_folder = next((run.folder for run in stored if (run.folder / "thumbnails").is_dir()), stored[0].folder)
    top1 = [run.tables.predictions.query(f"rank == {min(1, run.results.classes.shape[1] - 1)}") for run in stored]
    first_errors = [table.loc[table["error"] != EMPTY, "error"] for table in top1]
    classifies = any(run.results.classifies for run in stored)
    types = [name for name in ERROR_TYPES if classifies or name != "class"]
    comparison = {
        "signature": signature,
        "notes": notes,
        "alpha": ALPHA,
        "pair": len(names) == 2,
        "several": several,
        "runs": [{**row, "letter": letter} for row, letter in zip(runs.to_dict("records"), letters, strict=True)],
        "rows": _metric_rows(names, metrics, differences),
        "only_found": [
            [None if a == b else int((hits[a] & ~hits[b]).sum()) for b in range(len(names))] for a in range(len(names))
        ],
        "errors": [(name, [100 * (errors == name).mean() for errors in first_errors]) for name in types],
        "histogram": base64.b64encode(histogram).decode(),
    }
    return render(
        stored,
        [group.run_names[0] for group in groups],
        quote(Path(os.path.relpath(thumbnail_folder, folder)).as_posix()) + "/",
        title=" · ".join(names),
        comparison=comparison,
    )


def _metric_rows(names: Sequence[str], metrics: pd.DataFrame, differences: pd.DataFrame) -> list[dict[str, Any]]:
    """Return one row per metric and rule, with one cell per run and, for two runs, their difference."""
    cells: dict[tuple[str, str], dict[str, Mapping[Any, Any]]] = {}
    for cell in fill_tau_rule(metrics).to_dict("records"):
        cell["rank"] = None if pd.isna(cell["rank"]) else cell["rank"]
        cells.setdefault((cell["metric"], cell["tau_rule"]), {})[cell["run"]] = cell
    pairs = {(row["metric"], row["tau_rule"]): row for row in fill_tau_rule(differences).to_dict("records")}
    order = sort_rows(metric for metric, _ in cells)
    letters = dict(zip(names, run_letters(len(names)), strict=True))
    rows = []
    for key in sorted(cells, key=lambda key: (order.index(key[0]), RULES.index(key[1]))):
        title, pair = row_title(key[0]), pairs.get(key) if len(names) == 2 else None
        better = letters.get(pair["better"], pair["better"]) if pair else ""
        rows.append(
            {
                "title": title.strip(),
                "indented": title[0] == " ",
                "rule": key[1],
                "tau": next(iter(cells[key].values()))["tau"],
                "cells": [cells[key].get(name) for name in names],
                "difference": pair,
                "better": better,
            }
        )
    return rows
