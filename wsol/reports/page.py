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
from wsol.reports.terminal import RULES, fill_tau_rule, list_warnings
from wsol.runs.read import StoredRun
from wsol.runtime.threads import processor_count

_ERROR_DESCRIPTIONS = {  # of boxes; "class" is the type of predictions alone
    "class": "the predicted class is wrong",
    "correct": "the IoU with a true box is at least {delta:g}",
    "multi": "the box covers more than 30 % of two or more objects",
    "part": "most of the box is inside the object: it covers only a part of it",
    "more": "the box encloses at least 70 % of the object, and too much around it",
    "other": "none of these: the box is elsewhere, or shifted",
}
_BASELINE_DESCRIPTIONS = {
    "center-box": "a centered box of half the image's area",
    "center-gaussian": "the boxes of a score map that falls off from the center",
    "full-image": "the whole image",
    "random": "a box with random corners",
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
    table = run.tables.baselines
    return render(
        [run],
        [run.name],
        "",
        title=run.name,
        signature=run.signature,
        warnings=list_warnings(run.metadata),
        headlines=[*_headlines(run)],
        metrics=[*_metric_rows(run)],
        own_rule=run.metadata.tau.rule,
        baselines=[(name, _BASELINE_DESCRIPTIONS.get(name, "")) for name in dict.fromkeys(table["baseline"])],
        rules=[rule for rule in RULES if rule in set(fill_tau_rule(run.tables.metrics)["tau_rule"])],
        errors=[
            row for row in run.tables.errors.to_dict("records") if run.results.classifies or row["error"] != "class"
        ],
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
    sections = (
        "signature",
        "warnings",
        "headlines",
        "metrics",
        "rules",
        "baselines",
        "errors",
        "details",
        "comparison",
    )
    missing = dict.fromkeys(sections)
    classifies = any(run.results.classifies for run in runs)
    constants = {"script": script, "style": style, "data": data, "classifies": classifies}
    constants["error_descriptions"] = _describe_errors(classifies, runs[0].protocol.delta)
    return _TEMPLATES.get_template("page.html").render({**missing, **constants, **variables})


def _describe_errors(classifies: bool, delta: float) -> dict[str, str]:
    """Return what each error type means; without predicted classes, of the box alone."""
    prefix = "right class; " if classifies else ""
    return {
        name: text if name == "class" else prefix + text.format(delta=delta)
        for name, text in _ERROR_DESCRIPTIONS.items()
    }


def _headlines(run: StoredRun) -> Iterator[dict[str, Any]]:
    """Yield the headline metrics, at the run's own rule of tau if the metric supports it, and the best baseline."""
    for metric in headlines():
        rows = _at_own_rule(run, run.tables.metrics, metric.name).to_dict("records")
        if rows:
            baselines = _baseline_values(run, metric.name)
            best = (min if metric.better == "lower" else max)(baselines, key=baselines.__getitem__, default=None)
            baseline = None if best is None else {"name": best, "value": baselines[best]}
            yield {"title": row_title(metric.name), "better": metric.better, "baseline": baseline, **rows[0]}  # type: ignore[dict-item]  # columns have names


def _metric_rows(run: StoredRun) -> Iterator[dict[str, Any]]:
    """Yield one row per metric with one cell per rule, and the values of the baselines."""
    table = fill_tau_rule(run.tables.metrics)
    for name in sort_rows(table["metric"]):
        cells = {row["tau_rule"]: row for row in table[table["metric"] == name].to_dict("records")}
        title = row_title(name)
        baselines = _baseline_values(run, name)
        yield {"title": title.strip(), "indented": title[0] == " ", "cells": cells, "baselines": baselines}


def _baseline_values(run: StoredRun, metric: str) -> dict[str, float]:
    rows = _at_own_rule(run, run.tables.baselines, metric)
    return dict(zip(rows["baseline"], rows["value"], strict=True))


def _at_own_rule(run: StoredRun, table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return the rows of a metric without a threshold, at the run's own rule of tau, or else at the oracle tau."""
    rows = table[table["metric"] == metric]
    rule = run.metadata.tau.rule if run.metadata.tau.rule in {*rows["tau_rule"]} else "oracle"
    return rows[rows["tau_rule"].isna() | (rows["tau_rule"] == rule)]


def _run_details(run: StoredRun) -> list[tuple[str, str]]:
    """Return name and text of further details of a run."""
    metadata = run.metadata
    cost = metadata.cost
    entries = [
        ("data set", f"{metadata.dataset.name}, {metadata.dataset.split}, {metadata.dataset.n} images"),
        ("model", metadata.provenance.model),
        ("method", metadata.provenance.method),
        ("protocol", metadata.protocol),
        ("threshold", "none" if run.tau is None else f"tau {metadata.tau.value} ({metadata.tau.rule})"),
    ]
    if cost:
        entries.append(("cost", f"{cost.ms_per_image:.1f} ms and {cost.forwards_per_image:g} forward passes per image"))
    return entries
