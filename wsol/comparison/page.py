"""The page of a comparison."""

import base64
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd

from wsol.comparison.terminal import run_letters
from wsol.metrics.error_types import ERROR_TYPES
from wsol.metrics.significance import ALPHA
from wsol.reports.page import render
from wsol.reports.terminal import RULES, TITLES, fill_tau_rule
from wsol.runs.read import StoredRun


def render_comparison_page(
    stored: Sequence[StoredRun],
    signature: str,
    notes: Sequence[str],
    runs: pd.DataFrame,
    metrics: pd.DataFrame,
    differences: pd.DataFrame,
    images: pd.DataFrame,
    histogram: bytes,
    folder: Path,
) -> str:
    """Return the page of a comparison as HTML.

    Args:
        stored: The runs.
        signature: What they have in common.
        notes: What deserves a second look.
        runs: As ``wsol.comparison.compare.Comparison`` has it, like the tables that follow.
        metrics: Values and ranks.
        differences: Of every pair.
        images: IoU and hit of every image.
        histogram: PNG file of the IoUs.
        folder: Where the page will lie; further pictures are read from the folder of a run.
    """
    names = runs["run"].tolist()
    letters = run_letters(len(names))
    hits = np.stack([images[f"hit {name}"].to_numpy(bool) for name in names])
    pictured = next((run.folder for run in stored if (run.folder / "thumbs").is_dir()), stored[0].folder)
    first = [run.tables.predictions.query(f"rank == {min(1, run.found.classes.shape[1] - 1)}") for run in stored]
    comparison = {
        "signature": signature,
        "notes": notes,
        "alpha": ALPHA,
        "pair": len(names) == 2,
        "runs": [{**row, "letter": letter} for row, letter in zip(runs.to_dict("records"), letters, strict=True)],
        "rows": _rows(names, metrics, differences),
        "lost": [
            [None if a == b else int((hits[a] & ~hits[b]).sum()) for b in range(len(names))] for a in range(len(names))
        ],
        "errors": [(name, [100 * (guesses["error"] == name).mean() for guesses in first]) for name in ERROR_TYPES],
        "histogram": base64.b64encode(histogram).decode(),
    }
    return render(
        stored,
        names,
        quote(Path(os.path.relpath(pictured, folder)).as_posix()) + "/",
        title=" · ".join(names),
        comparison=comparison,
    )


def _rows(names: Sequence[str], metrics: pd.DataFrame, differences: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a row a metric and rule, with a cell a run and, of two runs, their difference."""
    cells: dict[tuple[str, str], dict[str, Mapping[Any, Any]]] = {}
    for cell in fill_tau_rule(metrics).to_dict("records"):
        cell["rank"] = None if pd.isna(cell["rank"]) else cell["rank"]
        cells.setdefault((cell["metric"], cell["tau_rule"]), {})[cell["run"]] = cell
    apart = {(row["metric"], row["tau_rule"]): row for row in fill_tau_rule(differences).to_dict("records")}
    order = [*TITLES, *(metric for metric, _ in cells if metric not in TITLES)]
    letters = dict(zip(names, run_letters(len(names)), strict=True))
    rows = []
    for key in sorted(cells, key=lambda key: (order.index(key[0]), RULES.index(key[1]))):
        title, found = TITLES.get(key[0], key[0]), apart.get(key) if len(names) == 2 else None
        better = letters.get(found["better"], found["better"]) if found else ""
        rows.append(
            {
                "title": title.strip(),
                "part": title[0] == " ",
                "rule": key[1],
                "cells": [cells[key].get(name) for name in names],
                "difference": found,
                "better": better,
            }
        )
    return rows
