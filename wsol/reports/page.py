"""The report page of a run: one HTML file that opens from disk and makes no network requests."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from wsol.io.atomic import atomic_write
from wsol.metrics.base import headlines, row_title, sort_rows
from wsol.reports.page_data import encode_page_data
from wsol.reports.terminal import RULES, fill_tau_rule
from wsol.runs.read import StoredRun
from wsol.runtime.threads import processor_count

_ERROR_DESCRIPTIONS = {
    "class": "wrong class",
    "correct": "right class and correct box",
    "multi": "right class; the box covers several objects",
    "part": "right class; the box covers only a part of the object",
    "more": "right class; the box is larger than the object",
    "other": "right class; any other localization error",
}
_TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("wsol.reports", "page"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def write_page(run: StoredRun) -> None:
    """Write ``report.html`` into the folder of a run.

    It contains all numbers and up to 3 MB of thumbnails. Further thumbnails are read from the folder ``thumbnails``.

    Args:
        run: The run, as read from its folder.
    """
    with atomic_write(run.folder / "report.html") as path:
        path.write_text(render_run_page(run), encoding="utf-8", errors="replace")


def render_run_page(run: StoredRun) -> str:
    """Return the page of a run as HTML."""
    return render(
        [run],
        [run.name],
        "",
        title=run.name,
        headlines=[*_headlines(run)],
        metrics=[*_metric_rows(run.tables.metrics)],
        rules=[rule for rule in RULES if rule in set(fill_tau_rule(run.tables.metrics)["tau_rule"])],
        errors=run.tables.errors.to_dict("records"),
        details=_run_details(run),
    )


def render(runs: Sequence[StoredRun], names: Sequence[str], thumbnail_root: str, **variables: Any) -> str:
    """Render the template.

    Args:
        runs: Runs on the same images.
        names: Names of the runs.
        thumbnail_root: Relative path from the page to the folder with ``thumbnails``: empty, or with a trailing slash.
        variables: Further variables of the template.
    """
    with ThreadPoolExecutor(processor_count()) as pool:
        data = encode_page_data(runs, names, thumbnail_root, pool)
    folder = Path(__file__).with_name("page")
    script, style = ((folder / name).read_text(encoding="utf-8") for name in ("page.js", "page.css"))
    missing = dict.fromkeys(("headlines", "metrics", "rules", "errors", "details", "comparison"))
    constants = {"script": script, "style": style, "data": data, "error_descriptions": _ERROR_DESCRIPTIONS}
    return _TEMPLATES.get_template("page.html").render({**missing, **constants, **variables})


def _headlines(run: StoredRun) -> Iterator[dict[str, Any]]:
    """Yield the headline metrics, at the run's own rule of tau if the metric supports it."""
    table = run.tables.metrics
    own = run.metadata.tau.rule
    for metric in headlines():
        rows = table[table["metric"] == metric.name]
        row = rows[rows["tau_rule"].isna() | (rows["tau_rule"] == (own if own in metric.rules else "oracle"))]
        if len(row):
            yield {"title": row_title(metric.name), "better": metric.better, **row.to_dict("records")[0]}  # type: ignore[dict-item]  # columns have names


def _metric_rows(table: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Yield one row per metric with one cell per rule."""
    table = fill_tau_rule(table)
    for name in sort_rows(table["metric"]):
        cells = {row["tau_rule"]: row for row in table[table["metric"] == name].to_dict("records")}
        title = row_title(name)
        yield {"title": title.strip(), "indented": title[0] == " ", "cells": cells}


def _run_details(run: StoredRun) -> list[tuple[str, str]]:
    """Return name and text of further details of a run."""
    metadata = run.metadata
    cost = metadata.cost
    entries = [
        ("signature", run.signature),
        ("data set", f"{metadata.dataset.name}, {metadata.dataset.split}, {metadata.dataset.n} images"),
        ("model", metadata.provenance.model),
        ("method", metadata.provenance.method),
        ("protocol", metadata.protocol),
        ("threshold", "none" if run.tau is None else f"tau {metadata.tau.value} ({metadata.tau.rule})"),
        *[("note", note) for note in metadata.notes],
    ]
    if metadata.skipped:
        count = len(metadata.skipped)
        entries.append(("skipped", f"{count} unreadable images are NOT in these numbers; run.json lists them"))
    if cost:
        entries.append(("cost", f"{cost.ms_per_image:.1f} ms and {cost.forwards_per_image:g} forward passes per image"))
    return entries
