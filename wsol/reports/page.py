"""The page of a run: one file that opens from disk and asks no network for anything."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from wsol.io.atomic import atomic_write
from wsol.metrics.base import METRICS
from wsol.reports.page_data import encode_page_data
from wsol.reports.terminal import RULES, TITLES, fill_tau_rule
from wsol.runs.read import StoredRun
from wsol.runtime.threads import processor_count

_HEADLINES = ("top1_loc_err", "top5_loc_err", "gt_known_loc_acc", "max_box_acc_v2", "pxap", "top1_cls_err")
_TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("wsol.reports", "page"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def write_page(run: StoredRun) -> None:
    """Write ``report.html`` into the folder of a run.

    It holds all numbers, and pictures up to 3 MB; those of further images are read from ``thumbs`` beside it.

    Args:
        run: As it was read from its folder.
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
        metrics=[*_rows(run.tables.metrics)],
        rules=[rule for rule in RULES if rule in set(fill_tau_rule(run.tables.metrics)["tau_rule"])],
        errors=run.tables.errors.to_dict("records"),
        facts=_facts(run),
    )


def render(runs: Sequence[StoredRun], names: Sequence[str], pictures: str, **given: Any) -> str:
    """Fill the template.

    Args:
        runs: What the gallery shows, on the same images.
        names: What they are called.
        pictures: Path from the page to the folder that has ``thumbs``, with a slash behind it unless it is empty.
        given: Further names that the template knows.
    """
    with ThreadPoolExecutor(processor_count()) as pool:
        data = encode_page_data(runs, names, pictures, pool)
    folder = Path(__file__).with_name("page")
    script, style = ((folder / name).read_text(encoding="utf-8") for name in ("page.js", "page.css"))
    missing = dict.fromkeys(("headlines", "metrics", "rules", "errors", "facts", "comparison"))
    return _TEMPLATES.get_template("page.html").render(
        {**missing, "script": script, "style": style, "data": data, **given}
    )


def _headlines(run: StoredRun) -> Iterator[dict[str, Any]]:
    """Yield the numbers that people ask for first, at the run's own rule where there is a choice."""
    table = run.tables.metrics
    own = run.facts["tau"]["rule"]
    for name in _HEADLINES:
        rows = table[table["metric"] == name]
        rules = METRICS.get(name).rules
        row = rows[rows["tau_rule"].isna() | (rows["tau_rule"] == (own if own in rules else "oracle"))]
        if len(row):
            yield {"title": TITLES[name], "better": METRICS.get(name).better, **row.to_dict("records")[0]}  # type: ignore[dict-item]  # columns have names


def _rows(table: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Yield a row a metric with a cell a rule."""
    table = fill_tau_rule(table)
    order = [name for name in TITLES if name in set(table["metric"])]
    order += [name for name in table["metric"].unique() if name not in TITLES]
    for name in order:
        cells = {row["tau_rule"]: row for row in table[table["metric"] == name].to_dict("records")}
        yield {"title": TITLES.get(name, name).strip(), "part": TITLES.get(name, name)[0] == " ", "cells": cells}


def _facts(run: StoredRun) -> list[tuple[str, str]]:
    """Return what else there is to know of a run, by name."""
    facts = run.facts
    cost = facts.get("cost") or {}
    entries = [
        ("signature", run.signature),
        ("data set", f"{facts['dataset']['name']}, {facts['dataset']['split']}, {facts['dataset']['n']} images"),
        ("model", facts["origin"]["model"]),
        ("method", facts["origin"]["method"]),
        ("protocol", facts["protocol"]["signature"]),
        ("threshold", "none" if run.tau is None else f"tau {facts['tau']['value']} ({facts['tau']['rule']})"),
        *[("note", note) for note in facts["notes"]],
    ]
    if facts["skipped"]:
        entries.append(("left out", f"{len(facts['skipped'])} images are NOT in these numbers; run.json lists them"))
    if cost:
        entries.append(
            ("cost", f"{cost['ms_per_image']:.1f} ms and {cost['forwards_per_image']:g} forward passes an image")
        )
    return entries
