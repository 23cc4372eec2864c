"""The report page of a run: one HTML file that opens from disk and makes no network requests."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from wsol.io.atomic import atomic_write
from wsol.metrics.base import headlines, row_title, sort_rows
from wsol.protocols import Protocol
from wsol.reports.page_data import encode_page_data
from wsol.reports.terminal import RULES, fill_tau_rule, list_warnings
from wsol.runs.read import StoredRun
from wsol.runtime.threads import processor_count

_ERROR_DESCRIPTIONS = {  # of boxes; "class" is the type of predictions alone
    "class": "the predicted class is wrong",
    "correct": "the IoU with a true box is {delta}",
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
_TEMPLATE = "page.html"
_TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("wsol.reports", "page"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def prepare_to_write() -> None:
    """Import and compile what a page and a gallery need, which takes a moment."""
    import matplotlib.colors  # noqa: F401, PLC0415  # slow to import
    import pyarrow.parquet  # noqa: F401, PLC0415  # the tables beside it; pandas imports it on demand

    _TEMPLATES.get_template(_TEMPLATE)


def write_page(run: StoredRun, data: Callable[[], str] | None = None) -> None:
    """Write ``report.html`` into the folder of a run.

    It contains all numbers and up to 3 MB of thumbnails. Further thumbnails are read from the folder ``thumbnails``.

    Args:
        run: The run, as read from its folder.
        data: Waits for what ``encode_run`` returns, if another process encodes it.
    """
    with atomic_write(run.folder / "report.html") as path:
        path.write_text(render_run_page(run, data), encoding="utf-8", errors="replace")


def encode_run(run: StoredRun) -> str:
    """Return the data of the page of a run, for which it needs no table but that of predictions."""
    return _encode([run], [run.name], "")


def _encode(runs: Sequence[StoredRun], names: Sequence[str], thumbnail_root: str) -> str:
    with ThreadPoolExecutor(processor_count()) as pool:
        return encode_page_data(runs, names, thumbnail_root, pool)


def render_run_page(run: StoredRun, data: Callable[[], str] | None = None) -> str:
    """Return the page of a run as HTML; arguments as for ``write_page``."""
    table = run.tables.baselines
    return render(
        [run],
        [run.name],
        "",
        data,
        title=run.name,
        signature=run.signature,
        warnings=list_warnings(run.metadata),
        headlines=[*_headlines(run)],
        has_intervals=run.tables.has_intervals,
        has_optimism=not run.tables.metrics["optimism"].isna().all(),
        metrics=[*_metric_rows(run)],
        own_rule=run.metadata.tau.rule,
        baselines=[(name, _BASELINE_DESCRIPTIONS.get(name, "")) for name in dict.fromkeys(table["baseline"])],
        rules=[rule for rule in RULES if rule in set(fill_tau_rule(run.tables.metrics)["tau_rule"])],
        errors=[
            row for row in run.tables.errors.to_dict("records") if run.results.classifies or row["error"] != "class"
        ],
        details=_run_details(run),
    )


def render(
    runs: Sequence[StoredRun],
    names: Sequence[str],
    thumbnail_root: str,
    data: Callable[[], str] | None = None,
    **variables: Any,
) -> str:
    """Render the template.

    Args:
        runs: Runs on the same images.
        names: Names of the runs.
        thumbnail_root: Relative path from the page to the folder with ``thumbnails``: empty, or with a trailing slash.
        data: Waits for their ``encode_page_data``, if another process encodes it.
        variables: Further variables of the template.
    """
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
    encoded = data() if data else _encode(runs, names, thumbnail_root)
    classifies = any(run.results.classifies for run in runs)
    constants = {"script": script, "style": style, "data": encoded, "classifies": classifies}
    constants["error_descriptions"] = _describe_errors(classifies, [run.protocol for run in runs])
    return _TEMPLATES.get_template(_TEMPLATE).render({**missing, **constants, **variables})


def _describe_errors(classifies: bool, protocols: Sequence[Protocol]) -> dict[str, str]:
    """Return what each error type means; without predicted classes, of the box alone."""
    prefix = "right class; " if classifies else ""
    rules = {(each.delta, "at least" if each.strict == "none" else "above") for each in protocols}
    delta = " or ".join(f"{word} {each:g}" for each, word in sorted(rules))
    delta += ", as the run's protocol has it" * (len(rules) > 1)
    return {
        name: text if name == "class" else prefix + text.format(delta=delta)
        for name, text in _ERROR_DESCRIPTIONS.items()
    }


def _headlines(run: StoredRun) -> Iterator[dict[str, Any]]:
    """Yield the headline metrics, at the run's own rule of tau if the metric supports it, and the best baseline."""
    metrics, of_baselines = (_rows_by_metric(table) for table in (run.tables.metrics, run.tables.baselines))
    for metric in headlines():
        rows = _at_own_rule(run, metrics.get(metric.name, []))
        if rows:
            baselines = _baseline_values(run, of_baselines.get(metric.name, []))
            best = (min if metric.better == "lower" else max)(baselines, key=baselines.__getitem__, default=None)
            baseline = None if best is None else {"name": best, "value": baselines[best]}
            yield {"title": row_title(metric.name), "better": metric.better, "baseline": baseline, **rows[0]}


def _metric_rows(run: StoredRun) -> Iterator[dict[str, Any]]:
    """Yield one row per metric with one cell per rule, and the values of the baselines."""
    metrics, of_baselines = (_rows_by_metric(table) for table in (run.tables.metrics, run.tables.baselines))
    for name in sort_rows(metrics):
        cells = {row["tau_rule"]: row for row in metrics[name]}
        title = row_title(name)
        baselines = _baseline_values(run, of_baselines.get(name, []))
        yield {"title": title.strip(), "indented": title[0] == " ", "cells": cells, "baselines": baselines}


def _rows_by_metric(table: pd.DataFrame) -> dict[str, list[dict[Any, Any]]]:
    """Return the rows of each metric; a rule of tau is empty for metrics without a threshold."""
    rows: dict[str, list[dict[Any, Any]]] = {}
    for row in fill_tau_rule(table).to_dict("records"):
        rows.setdefault(row["metric"], []).append(row)
    return rows


def _baseline_values(run: StoredRun, rows: Sequence[dict[Any, Any]]) -> dict[str, float]:
    return {row["baseline"]: row["value"] for row in _at_own_rule(run, rows)}


def _at_own_rule(run: StoredRun, rows: Sequence[dict[Any, Any]]) -> list[dict[Any, Any]]:
    """Return the rows without a threshold, at the run's own rule of tau, or else at the oracle tau."""
    rule = run.metadata.tau.rule if run.metadata.tau.rule in {row["tau_rule"] for row in rows} else "oracle"
    return [row for row in rows if row["tau_rule"] in ("", rule)]


def _run_details(run: StoredRun) -> list[tuple[str, str]]:
    """Return name and text of further details of a run."""
    metadata = run.metadata
    cost, n = metadata.cost, metadata.dataset.n
    entries = [
        ("data set", f"{metadata.dataset.name}, {metadata.dataset.split}, {n} image{'s' * (n != 1)}"),
        ("model", metadata.provenance.model),
        ("method", metadata.provenance.method),
        ("protocol", metadata.protocol),
        ("threshold", "none" if run.tau is None else f"tau {metadata.tau.value} ({metadata.tau.rule})"),
    ]
    if cost:
        passes = f"{cost.forwards_per_image:g} forward pass{'es' * (cost.forwards_per_image != 1)}"
        entries.append(("cost", f"{cost.ms_per_image:.1f} ms and {passes} per image"))
    return entries
