"""A leaderboard for people: Markdown, LaTeX and plain text."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from wsol.io.display import escape_unprintable
from wsol.leaderboards.rows import COSTS, Row, column, group_rows
from wsol.metrics.base import METRICS
from wsol.metrics.error_types import ERROR_TYPES
from wsol.reports.tables import (
    PREAMBLE,
    Cell,
    Table,
    latex_table,
    latex_text,
    markdown_table,
    markdown_text,
    plain_table,
)
from wsol.reports.terminal import RULES

_SHOWN = {
    "top1_loc_err": ("top-1 loc. error", RULES),
    "top5_loc_err": ("top-5 loc. error", ("", "fixed")),
    "gt_known_loc_acc": ("GT-known accuracy", RULES),
    "max_box_acc_v2": ("MaxBoxAccV2", RULES),
    "pxap": ("PxAP", RULES),
    "top1_cls_err": ("top-1 cls. error", RULES),
}
_COSTS = ("ms an image", "forwards an image", "peak MiB")
_EXPLAINED = (
    "Percent, with the 95 % bootstrap interval over images. Fixed: at a tau that was given; val: at the tau that is "
    "best on the validation split; oracle: at the tau that is best on these images themselves. The best of a column is "
    "bold. Sorted by top-1 localization error, or by GT-known accuracy where there are no classes."
)
_DAGGERED = "published, not measured here, and outside the ranking"
_SECOND = "Error types of the first guesses at the run's tau, percent of the images; what it cost."


@dataclass(frozen=True)
class _Section:
    """What one group of rows comes to.

    Attributes:
        title: Data set and protocol.
        numbers: The table of the metrics.
        costs: The table of error types and cost.
        notes: Mark and text: run and signature of every measured row, source of what is published.
    """

    title: str
    numbers: Table
    costs: Table
    notes: list[tuple[str, str]]


def markdown(rows: Sequence[Row]) -> str:
    """Return ranked rows as a Markdown document: a section for each group."""
    parts = ["# Leaderboard", f"{markdown_text(_EXPLAINED)} Numbers of different sections do not compare."]
    for section in _sections(rows):
        parts += [f"## {markdown_text(section.title)}", markdown_table(section.numbers)]
        parts += [_SECOND, markdown_table(section.costs)]
        parts.append("\n".join(f"- {mark}: {markdown_text(note)}" for mark, note in section.notes))
    return "\n\n".join(parts) + "\n"


def latex(rows: Sequence[Row]) -> str:
    r"""Return ranked rows as LaTeX to ``\input``: a ``table`` for each group, after ``\usepackage{booktabs}``."""
    parts = [r"% needs \usepackage{booktabs}", PREAMBLE]
    for section in _sections(rows):
        parts += ["", r"\begin{table}[p]", rf"\caption{{{latex_text(section.title)}. {latex_text(_EXPLAINED)}}}"]
        parts += [r"\centering\scriptsize\setlength{\tabcolsep}{3pt}\medskip", latex_table(section.numbers)]
        parts += [r"\par\medskip", latex_table(section.costs), r"\par\smallskip", latex_text(_SECOND)]
        parts += [r"\par\medskip\raggedright"]
        parts += [rf"{latex_text(mark)}: {latex_text(note)}\par" for mark, note in section.notes]
        parts.append(r"\end{table}")
    return "\n".join(parts) + "\n"


def plain(rows: Sequence[Row]) -> str:
    """Return the numbers of ranked rows for the terminal."""
    return "\n\n".join(
        "\n".join([escape_unprintable(section.title), plain_table(section.numbers), *_sources(section)])
        for section in _sections(rows)
    )


def _sources(section: _Section) -> list[str]:
    return [f"{mark}: {escape_unprintable(note)}" for mark, note in section.notes if not mark.isdigit()]


def _sections(rows: Sequence[Row]) -> list[_Section]:
    return [_section(own) for own in group_rows(rows).values()]


def _section(rows: Sequence[Row]) -> _Section:
    measured = [row for row in rows if row["kind"] == "measured"]
    published = [row for row in rows if row["kind"] != "measured"]
    sources = list(dict.fromkeys(row["source"] for row in published))
    marks = [str(i + 1) for i in range(len(measured))] + [f"†{sources.index(row['source']) + 1}" for row in published]
    notes = [(mark, _named(row)) for mark, row in zip(marks, measured, strict=False)]
    for i, source in enumerate(sources):
        places = dict.fromkeys(row["place"] for row in published if row["source"] == source and row.get("place"))
        tables = dict.fromkeys(", ".join(places).split(", ")) if places else ()
        notes.append((f"†{i + 1}", ", ".join([source, *tables])))
    notes += [("†", _DAGGERED)] * bool(published)
    title = ", ".join(rows[0]["group"].rsplit("|", 1))
    return _Section(title, _numbers(rows, marks), _costs(measured, marks), notes)


def _named(row: Row) -> str:
    skipped = f" ({row['skipped']} images could not be used)" if row["skipped"] else ""
    return f"{row['run']}{skipped}, {row['signature']}"


def _numbers(rows: Sequence[Row], marks: Sequence[str]) -> Table:
    """Lay the metrics out."""
    keys = {
        column(metric, rule): _title(metric, rule)
        for metric, (_, rules) in _SHOWN.items()
        for rule in RULES
        if rule in rules and any(column(metric, rule) in row for row in rows)
    }
    best = {key: _best(key, [row for row in rows if row["kind"] == "measured"]) for key in keys}
    count = sum(row["kind"] == "measured" for row in rows)
    differing = len(rows) > count
    lines = []
    for i, (mark, row) in enumerate(zip(marks, rows, strict=True)):
        words = [Cell(text) for text in (mark, row.get("model", ""), row.get("method", ""), _tau(row))]
        numbers = [_number(row, key, i < count and _shown(row, key) == best[key]) for key in keys]
        lines.append([*words, *numbers, *[Cell(row.get("mismatch", ""))] * differing])
    header = ["#", "model", "method", "tau", *keys.values(), *["differs in"] * differing]
    return Table(
        header, lines, words=4, parts=frozenset({count} - {0}) if differing else frozenset(), remarks=differing
    )


def _costs(rows: Sequence[Row], marks: Sequence[str]) -> Table:
    """Lay error types and cost out."""
    formats = {f"error_{name}": ".1f" for name in ERROR_TYPES} | dict(zip(COSTS, (".1f", "g", ".0f"), strict=True))
    titles = dict(zip(formats, (*ERROR_TYPES, *_COSTS), strict=True))
    keys = [key for key in formats if any(key in row for row in rows)]
    lines = []
    for mark, row in zip(marks, rows, strict=False):
        numbers = (format(row[key], formats[key]) if key in row else "" for key in keys)
        lines.append([*map(Cell, (mark, *numbers, row.get("device", "")))])
    return Table(["#", *(titles[key] for key in keys), "device"], lines, remarks=1)


def _title(metric: str, rule: str) -> str:
    title = _SHOWN[metric][0]
    return f"{title}, {rule or 'no tau'}" if METRICS.get(metric).rules else title


def _tau(row: Row) -> str:
    """Return the tau of a row's station, without the images that it was chosen on."""
    if "tau" in row:
        return re.sub(r"\(.*\)", "", row["tau"].removeprefix("tau:"), flags=re.DOTALL)
    known = dict.fromkeys(f"{value:g}" for key, value in row.items() if key.endswith(".tau"))
    return ", ".join(known)


def _shown(row: Row, key: str) -> str:
    return f"{row[key]:.1f}" if key in row else ""


def _best(key: str, rows: Sequence[Row]) -> str:
    """Return the best number of a column as it is shown; nothing where there is none to hold it against."""
    values = [float(_shown(row, key)) for row in rows if key in row]
    if len(values) < 2:
        return "none"
    return f"{min(values) if METRICS.get(key.partition('@')[0]).better == 'lower' else max(values):.1f}"


def _number(row: Row, key: str, bold: bool) -> Cell:
    ends = [row.get(key + end) for end in (".low", ".high")]
    detail = "" if None in ends else f"[{ends[0]:.1f}, {ends[1]:.1f}]"
    return Cell(_shown(row, key), detail, bold)
