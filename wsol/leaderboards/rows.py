"""A run as one row, and rows as CSV."""

import csv
import io
import json
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from typing import Any

import pandas as pd

from wsol.errors import InputError
from wsol.metrics.base import METRICS
from wsol.metrics.error_types import ERROR_TYPES
from wsol.protocols import protocol_family
from wsol.reports.terminal import RULES
from wsol.runs.read import StoredRun
from wsol.runs.signature import Signature, drop_images, shorten_images
from wsol.runs.trainings import training_of

Row = dict[str, Any]
"""Values by column, strings and numbers; a column without a value is absent."""

COSTS = ("ms_per_image", "forwards_per_image", "peak_memory_mib")
_SHARES = {"": "share", ".low": "share_low", ".high": "share_high"}
_ENDS = {"": "value", ".low": "ci_low", ".high": "ci_high", ".tau": "tau"}
_FIRST = (
    *("kind", "group", "run", "dataset", "model", "method", "protocol", "tau", "version", "signature"),
    *("n", "skipped", "recipe", "seed", "settings"),
)
_LAST = (
    *(f"error_{name}{end}" for name in ERROR_TYPES for end in _SHARES),
    *COSTS,
    *("device", "source", "place", "quoted_by", "classifier", "note", "mismatch"),
)


def metric_column(metric: str, rule: str) -> str:
    """Return the column of a metric under a threshold rule: ``gt_known_loc_acc@fixed``, or the name alone."""
    return f"{metric}@{rule}" if rule else metric


def build_row(run: StoredRun, name: str) -> Row:
    """Build the row of a run.

    Args:
        run: The run.
        name: Its name in the leaderboard.

    Returns:
        ``kind`` (measured), ``group`` (data set and protocol; runs are comparable within a group), ``run``, the fields
        of the signature and the signature itself, ``n`` and ``skipped`` (numbers of images); for every metric and
        threshold rule ``METRIC@RULE`` (percent) and, with the suffixes ``.low``, ``.high`` and ``.tau``, the ends of
        its interval and its threshold; for every error type its share, ``error_TYPE``, and the ends of its interval;
        the cost, if it was measured; ``recipe``, ``seed`` and ``settings`` (the other settings, as JSON) of the
        training, if the weights record them: runs of the same recipe differ in the seed alone; and ``note``, the notes
        of the run, if there are any. The field of the protocol names all settings, those that a run of an earlier
        version lacks too, but no value that a rule chose.

    Raises:
        InputError: The tables or the signature of the run are invalid.
    """
    signature = Signature.parse(run.signature)
    signature = replace(signature, protocol=protocol_family(signature.protocol))
    group = f"{shorten_images(signature.dataset)}|{signature.protocol}"
    row: Row = {"kind": "measured", "group": group, "run": name, **asdict(signature)}
    row |= {"signature": run.signature, "n": len(run.results.images), "skipped": len(run.results.skipped)}
    try:
        for entry in run.tables.metrics.to_dict("records"):
            rule = "" if pd.isna(entry["tau_rule"]) else entry["tau_rule"]
            if rule not in RULES:
                raise ValueError(rule)
            row |= {metric_column(entry["metric"], rule) + end: float(entry[key]) for end, key in _ENDS.items()}
        for entry in run.tables.errors.to_dict("records"):
            row |= {f"error_{entry['error']}{end}": float(entry[key]) for end, key in _SHARES.items()}
        cost = asdict(run.metadata.cost) if run.metadata.cost else {}
        row |= {key: float(cost[key]) for key in COSTS if cost.get(key) is not None}
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"the tables of {run.folder} cannot be read ({error!r:.200}); evaluate again") from error
    network = run.metadata.provenance.network
    row["device"] = network.device if network else ""
    training = training_of(run.metadata.provenance)
    if training and training.recipe and training.seed is not None:
        settings = json.dumps(training.settings, sort_keys=True)
        row |= {"recipe": training.recipe, "seed": training.seed, "settings": settings}
    row["note"] = "; ".join(run.metadata.notes)
    return {key: value for key, value in row.items() if not _is_empty(value)}


def list_columns(rows: Iterable[Row]) -> list[str]:
    """List the columns in which any row has a value, in an order that does not depend on the rows."""
    present = {key for row in rows for key in row}
    metrics = sorted(present.difference(_FIRST, _LAST), key=_column_key)
    return [key for key in (*_FIRST, *metrics, *_LAST) if key in present]


def to_csv(rows: Sequence[Row]) -> str:
    """Format rows as CSV, numbers in full precision."""
    columns = list_columns(rows)
    lines = [columns, *([_format_value(row.get(key, "")) for key in columns] for row in rows)]
    return "".join(",".join(map(_quote_field, line)) + "\n" for line in lines)


def read_cells(text: str) -> list[dict[str, str]]:
    """Read the rows of a text that ``to_csv`` returned, all values as strings.

    Raises:
        ValueError: The text is not such a table.
    """
    try:
        header, *lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    except csv.Error as error:
        raise ValueError(str(error)) from error
    return [dict(zip(header, line, strict=True)) for line in lines]


def _column_key(column: str) -> tuple[str, int, int]:
    """Return the sort key of a column: metric, rule, and value, interval or threshold."""
    name, point, end = column.partition(".")
    metric, _, rule = name.partition("@")
    return metric, RULES.index(rule), [*_ENDS].index(point + end)


def _format_value(value: Any) -> str:
    text = repr(value) if isinstance(value, float) else str(value)
    return text.encode("utf-8", "backslashreplace").decode()  # names of files may be invalid UTF-8


def _quote_field(field: str) -> str:
    """Quote a field if needed; ``csv.writer`` leaves a lone carriage return bare, at which readers break the line."""
    special = any(character in field for character in ',"\r\n') or field != field.strip()
    return '"' + field.replace('"', '""') + '"' if special else field


def _is_empty(value: Any) -> bool:
    return value == "" or (isinstance(value, float) and math.isnan(value))


_HEADLINES = ("top1_loc_err", "gt_known_loc_acc")  # the second if there are no class predictions
_RULES = ("fixed", "", "val", "oracle")


def join_groups(rows: Iterable[Row]) -> list[Row]:
    """Put runs that were scored without image files into the group of the same data set with image files.

    They stay a group of their own if there are several such groups, since then the images are not known.
    """
    rows = [*rows]
    groups: defaultdict[str, set[str]] = defaultdict(set)
    for row in rows:
        groups[drop_images(row["group"])].add(row["group"])
    joined = {key: min(same - {key}) for key, same in groups.items() if len(same - {key}) == 1}
    return [row | {"group": joined.get(row["group"], row["group"])} for row in rows]


def rank_rows(rows: Iterable[Row]) -> list[Row]:
    """Sort rows by group, then measured rows before published ones, then by top-1 localization error, best first.

    Rows with the error at the fixed tau come first, then those with the error without a threshold, at the tau chosen on
    val, and at the oracle tau; rows without class predictions follow, in the same order by GT-known accuracy.
    """
    return sorted(rows, key=_rank_key)


def group_rows(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Group ranked rows into the tables of the leaderboard, by ``group``."""
    return {group: [row for row in rows if row["group"] == group] for group in dict.fromkeys(r["group"] for r in rows)}


def _rank_key(row: Row) -> tuple[str, bool, int, float, tuple[str, ...]]:
    names = tuple(str(row.get(column, "")) for column in ("run", "source", "quoted_by", "model", "method", "protocol"))
    place, value = _headline_value(row)
    return row["group"], row["kind"] != "measured", place, value, names


def _headline_value(row: Row) -> tuple[int, float]:
    """Return the priority of the number that a row is sorted by, and the number, negated if higher is better."""
    candidates = [(metric, rule) for metric in _HEADLINES for rule in _RULES]
    for place, (metric, rule) in enumerate(candidates):
        if (value := row.get(metric_column(metric, rule))) is not None:
            return place, value if METRICS.get(metric).better == "lower" else -value
    return len(candidates), 0.0
