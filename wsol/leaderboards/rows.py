"""A run as one row, and rows as CSV."""

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd

from wsol.errors import InputError
from wsol.metrics.base import METRICS
from wsol.metrics.error_types import ERROR_TYPES
from wsol.reports.terminal import RULES
from wsol.runs.read import StoredRun
from wsol.runs.signature import Signature

Row = dict[str, Any]
"""What is known, by column: text, numbers; a column without value is not there."""

COSTS = ("ms_per_image", "forwards_per_image", "peak_memory_mib")
_SHARES = {"": "share", ".low": "share_low", ".high": "share_high"}
_ENDS = {"": "value", ".low": "ci_low", ".high": "ci_high", ".tau": "tau"}
_FIRST = (
    *("kind", "group", "run", "dataset", "model", "method", "protocol", "tau", "version", "signature"),
    *("n", "skipped"),
)
_LAST = (
    *(f"error_{name}{end}" for name in ERROR_TYPES for end in _SHARES),
    *COSTS,
    *("device", "source", "place", "note", "mismatch"),
)


def column(metric: str, rule: str) -> str:
    """Return the column of a metric under a threshold rule: ``gt_known_loc_acc@fixed``, or the name alone."""
    return f"{metric}@{rule}" if rule else metric


def run_row(run: StoredRun, name: str) -> Row:
    """Lay a run out.

    Args:
        run: The run.
        name: What it is called.

    Returns:
        ``kind`` (measured), ``group`` (what it compares with: data set and protocol), ``run``, the stations of the
        signature and itself, ``n``, ``skipped`` (images); for every metric and threshold rule ``METRIC@RULE`` (percent)
        and, with ``.low``, ``.high`` and ``.tau`` behind it, the ends of its interval and its threshold; the share of
        each error type, ``error_TYPE``, likewise; what it cost, where that was measured.

    Raises:
        InputError: Its tables are none, or its signature is.
    """
    stations = Signature.parse(run.signature)
    row: Row = {"kind": "measured", "group": f"{stations.dataset}|{stations.protocol}", "run": name, **asdict(stations)}
    row |= {"signature": run.signature, "n": len(run.found.images), "skipped": len(run.found.skipped)}
    try:
        for entry in run.tables.metrics.to_dict("records"):
            rule = "" if pd.isna(entry["tau_rule"]) else entry["tau_rule"]
            if rule not in RULES:
                raise ValueError(rule)
            row |= {column(entry["metric"], rule) + end: float(entry[key]) for end, key in _ENDS.items()}
        for entry in run.tables.errors.to_dict("records"):
            row |= {f"error_{entry['error']}{end}": float(entry[key]) for end, key in _SHARES.items()}
        cost = run.facts.get("cost") or {}
        row |= {key: float(cost[key]) for key in COSTS if cost.get(key) is not None}
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"the tables of {run.folder} cannot be read ({error!r:.200}); evaluate again") from error
    row["device"] = run.facts.get("device") or ""
    return {key: value for key, value in row.items() if not _is_empty(value)}


def columns_of(rows: Iterable[Row]) -> list[str]:
    """Return the columns that any row has a value in, in an order that does not depend on the rows."""
    present = {key for row in rows for key in row}
    metrics = sorted(present.difference(_FIRST, _LAST), key=_place)
    return [key for key in (*_FIRST, *metrics, *_LAST) if key in present]


def to_csv(rows: Sequence[Row]) -> str:
    """Write rows as CSV, numbers in full precision."""
    columns = columns_of(rows)
    lines = [columns, *([_text(row.get(key, "")) for key in columns] for row in rows)]
    return "".join(",".join(map(_quoted, line)) + "\n" for line in lines)


def read_cells(text: str) -> list[dict[str, str]]:
    """Read what ``to_csv`` wrote, without making numbers of it.

    Raises:
        ValueError: It is no such text.
    """
    try:
        header, *lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    except csv.Error as error:
        raise ValueError(str(error)) from error
    return [dict(zip(header, line, strict=True)) for line in lines]


def _place(key: str) -> tuple[str, int, int]:
    """Sort columns by metric, rule, and what of it they hold."""
    name, point, end = key.partition(".")
    metric, _, rule = name.partition("@")
    return metric, RULES.index(rule), [*_ENDS].index(point + end)


def _text(value: Any) -> str:
    text = repr(value) if isinstance(value, float) else str(value)
    return text.encode("utf-8", "backslashreplace").decode()  # names of files may hold what is no text


def _quoted(field: str) -> str:
    """Return a field; ``csv.writer`` would leave a lone carriage return bare, at which readers break the line."""
    special = any(sign in field for sign in ',"\r\n') or field != field.strip()
    return '"' + field.replace('"', '""') + '"' if special else field


def _is_empty(value: Any) -> bool:
    return value == "" or (isinstance(value, float) and math.isnan(value))


_HEADLINES = ("top1_loc_err", "gt_known_loc_acc")  # the second where there are no classes
_RULES = ("fixed", "", "val", "oracle")


def rank_rows(rows: Iterable[Row]) -> list[Row]:
    """Sort rows by group, measured before published, and by top-1 localization error within.

    Rows that have it at the fixed tau come first, best first; then those that have it without a threshold, at the
    val-chosen tau, at the oracle tau; then those without classes by GT-known accuracy, likewise.
    """
    return sorted(rows, key=_key)


def group_rows(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Divide ranked rows into those that stand in one table."""
    return {group: [row for row in rows if row["group"] == group] for group in dict.fromkeys(r["group"] for r in rows)}


def _key(row: Row) -> tuple[str, bool, int, float, tuple[str, ...]]:
    names = tuple(str(row.get(part, "")) for part in ("run", "source", "model", "method", "protocol"))
    place, value = _headline(row)
    return row["group"], row["kind"] != "measured", place, value, names


def _headline(row: Row) -> tuple[int, float]:
    """Return which number a row is sorted by, and the number, small where it is good."""
    candidates = [(metric, rule) for metric in _HEADLINES for rule in _RULES]
    for place, (metric, rule) in enumerate(candidates):
        if (value := row.get(column(metric, rule))) is not None:
            return place, value if METRICS.get(metric).better == "lower" else -value
    return len(candidates), 0.0
