"""A leaderboard as Markdown, LaTeX and plain text."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from wsol.io.display import escape_unprintable
from wsol.leaderboards.rows import COSTS, Row, group_rows, metric_column
from wsol.leaderboards.seeds import average_rows
from wsol.metrics.base import METRICS, Metric, headlines
from wsol.metrics.error_types import ERROR_TYPES
from wsol.reports.tables import (
    PREAMBLE,
    Cell,
    Table,
    escape_latex,
    escape_markdown,
    format_latex,
    format_markdown,
    format_plain,
)
from wsol.reports.terminal import RULES

_COLUMN_RULES = {"top5_loc_err": ("", "fixed")}  # of headline metrics; every rule for all others
_COST_TITLES = ("ms per image", "forward passes per image", "peak MiB")
_CAPTION = (
    "Percent, with 95 % intervals. Fixed: at a given tau; val: at the best tau on the validation "
    "split; oracle: at the best tau on the evaluated images themselves. The best value of each column is bold. Rows "
    "are sorted by top-1 localization error, or by GT-known accuracy if there are no class predictions."
)
_PUBLISHED_NOTE = "published, not measured here and not ranked"
_SEED_CAPTION = (
    "Mean ± standard deviation (n - 1) over trainings that differ in the seed alone: those of the rows in the first "
    "column. python -m wsol.compare NAME=RUN,RUN,... tests differences over seeds and images."
)
_LEGEND = (
    "* is the best of its column. Rows are sorted by top-1 localization error; those without class predictions, such "
    "as baselines, are last, by GT-known accuracy."
)
_COST_CAPTION = "Error types of the top-1 predictions at the run's tau, in percent of the images, and cost."


@dataclass(frozen=True)
class _Section:
    """The tables of one group of rows.

    Attributes:
        title: Data set and protocol.
        metrics: The table of the metrics.
        seeds: The means over seeds; None without two rows that differ in the seed alone.
        costs: The table of error types and cost.
        notes: Mark and text: run, signature and notes of every measured row, source of every published row.
    """

    title: str
    metrics: Table
    seeds: Table | None
    costs: Table
    notes: list[tuple[str, str]]


def render_markdown(rows: Sequence[Row]) -> str:
    """Render ranked rows as a Markdown document with one section per group."""
    parts = ["# Leaderboard", f"{escape_markdown(_CAPTION)} Numbers of different sections are not comparable."]
    for section in _sections(rows):
        parts += [f"## {escape_markdown(section.title)}", format_markdown(section.metrics)]
        parts += [escape_markdown(_SEED_CAPTION), format_markdown(section.seeds)] if section.seeds else []
        parts += [_COST_CAPTION, format_markdown(section.costs)]
        parts.append("\n".join(f"- {mark}: {escape_markdown(note)}" for mark, note in section.notes))
    return "\n\n".join(parts) + "\n"


def render_latex(rows: Sequence[Row]) -> str:
    r"""Render ranked rows as LaTeX for ``\input`` with one ``table`` per group; needs ``\usepackage{booktabs}``."""
    parts = [r"% needs \usepackage{booktabs}", PREAMBLE]
    for section in _sections(rows):
        parts += ["", r"\begin{table}[p]", rf"\caption{{{escape_latex(section.title)}. {escape_latex(_CAPTION)}}}"]
        parts += [r"\centering\scriptsize\setlength{\tabcolsep}{3pt}\medskip", format_latex(section.metrics)]
        if section.seeds:
            parts += [r"\par\medskip", format_latex(section.seeds), r"\par\smallskip", escape_latex(_SEED_CAPTION)]
        parts += [r"\par\medskip", format_latex(section.costs), r"\par\smallskip", escape_latex(_COST_CAPTION)]
        parts += [r"\par\medskip\raggedright"]
        parts += [rf"{escape_latex(mark)}: {escape_latex(note)}\par" for mark, note in section.notes]
        parts.append(r"\end{table}")
    return "\n".join(parts) + "\n"


def render_text(rows: Sequence[Row]) -> str:
    """Render the metrics of ranked rows as plain text for the terminal."""
    sections = (
        "\n".join(
            [
                *(escape_unprintable(section.title), format_plain(section.metrics)),
                *([f"\n{_SEED_CAPTION}", format_plain(section.seeds)] if section.seeds else []),
                *_source_lines(section),
            ]
        )
        for section in _sections(rows)
    )
    return "\n\n".join([*sections, _LEGEND])


def _source_lines(section: _Section) -> list[str]:
    return [f"{mark}: {escape_unprintable(note)}" for mark, note in section.notes if not mark.isdigit()]


def _sections(rows: Sequence[Row]) -> list[_Section]:
    return [_build_section(group) for group in group_rows(rows).values()]


def _build_section(rows: Sequence[Row]) -> _Section:
    measured = [row for row in rows if row["kind"] == "measured"]
    published = [row for row in rows if row["kind"] != "measured" and row.keys() & _titles()]  # others are in the CSV
    rows = [*measured, *published]
    sources = list(dict.fromkeys(_origin(row) for row in published))
    marks = [str(i + 1) for i in range(len(measured))] + [f"†{sources.index(_origin(row)) + 1}" for row in published]
    notes = [(mark, _describe_run(row)) for mark, row in zip(marks, measured, strict=False)]
    for i, source in enumerate(sources):
        places = dict.fromkeys(row["place"] for row in published if _origin(row) == source and row.get("place"))
        tables = dict.fromkeys(", ".join(places).split(", ")) if places else ()
        notes.append((f"†{i + 1}", _describe_source(*source, [*tables])))
    notes += [("†", _PUBLISHED_NOTE)] * bool(published)
    title = ", ".join(rows[0]["group"].rsplit("|", 1))
    metrics, seeds = _build_metric_table(rows, marks), _build_seed_table(average_rows(measured))
    return _Section(title, metrics, seeds, _build_cost_table(measured, marks), notes)


def _titles() -> dict[str, str]:
    """Return the columns that a table can have, and their titles."""
    return {
        metric_column(metric.name, rule): _format_title(metric, rule)
        for metric in headlines()
        for rule in _COLUMN_RULES.get(metric.name, RULES)
    }


def _origin(row: Row) -> tuple[str, str, str]:
    """Return source, quoting publication and classifier of a published row, which have one note together."""
    return row["source"], row.get("quoted_by", ""), row.get("classifier", "")


def _describe_source(source: str, quoted_by: str, classifier: str, tables: Sequence[str]) -> str:
    printed = f"{source}, as quoted by {quoted_by}" if quoted_by else source
    predicted = {"": [], "own": ["classes predicted by the network itself"]}
    return ", ".join([printed, *tables, *predicted.get(classifier, [f"classes predicted by {classifier}"])])


def _describe_run(row: Row) -> str:
    skipped = f" ({row['skipped']} image{'s' * (row['skipped'] != 1)} skipped)" if row["skipped"] else ""
    note = f" ({row['note']})" if "note" in row else ""
    return f"{row['run']}{skipped}, {row['signature']}{note}"


def _build_metric_table(rows: Sequence[Row], marks: Sequence[str]) -> Table:
    present = {column for row in rows for column in row}
    titles = {column: title for column, title in _titles().items() if column in present}
    best = {column: _find_best(column, [row for row in rows if row["kind"] == "measured"]) for column in titles}
    count = sum(row["kind"] == "measured" for row in rows)
    differing = len(rows) > count
    lines = []
    for i, (mark, row) in enumerate(zip(marks, rows, strict=True)):
        words = [Cell(text) for text in (mark, row.get("model", ""), row.get("method", ""), _format_tau(row))]
        numbers = [
            _build_cell(row, column, i < count and _format_value(row, column) == best[column]) for column in titles
        ]
        lines.append([*words, *numbers, *[Cell(row.get("mismatch", ""))] * differing])
    header = ["#", "model", "method", "tau", *titles.values(), *["differs in"] * differing]
    return Table(
        header,
        lines,
        text_columns=4,
        ruled_rows=frozenset({count} - {0}) if differing else frozenset(),
        trailing_text_columns=differing,
    )


def _build_seed_table(averages: Sequence[Row]) -> Table | None:
    """Build the table of the means over seeds; None without any."""
    if not averages:
        return None
    columns = [column for column in _titles() if any(column in row for row in averages)]
    lines = []
    for row in averages:
        marks = ", ".join(str(place + 1) for place in row["places"])
        model = f"{row['model']} {row['differs']}" if "differs" in row else row["model"]
        words = [marks, model, row["method"], row["tau"].partition("(")[0], f"{row['seeds']} seeds"]
        numbers = (f"{row[name]:.1f} ± {row[f'{name}.sd']:.1f}" if name in row else "" for name in columns)
        lines.append([*map(Cell, (*words, *numbers))])
    titles = _titles()
    return Table(["#", "model", "method", "tau", "n", *(titles[name] for name in columns)], lines, text_columns=5)


def _build_cost_table(rows: Sequence[Row], marks: Sequence[str]) -> Table:
    formats = {f"error_{name}": ".1f" for name in ERROR_TYPES} | dict(zip(COSTS, (".1f", "g", ".0f"), strict=True))
    titles = dict(zip(formats, (*ERROR_TYPES, *_COST_TITLES), strict=True))
    keys = [key for key in formats if any(key in row for row in rows)]
    lines = []
    for mark, row in zip(marks, rows, strict=False):
        numbers = (format(row[key], formats[key]) if key in row else "" for key in keys)
        lines.append([*map(Cell, (mark, *numbers, row.get("device", "")))])
    return Table(["#", *(titles[key] for key in keys), "device"], lines, trailing_text_columns=1)


def _format_title(metric: Metric, rule: str) -> str:
    title = metric.short_title or metric.title or metric.name
    return f"{title}, {rule or 'no tau'}" if metric.rules else title


def _format_tau(row: Row) -> str:
    """Return the tau field of a row's signature, without the images on which tau was chosen."""
    if "tau" in row:
        return re.sub(r"\(.*\)", "", row["tau"].removeprefix("tau:"), flags=re.DOTALL)
    taus = dict.fromkeys(f"{value:g}" for column, value in row.items() if column.endswith(".tau"))
    return ", ".join(taus)


def _format_value(row: Row, column: str) -> str:
    return f"{row[column]:.1f}" if column in row else ""


def _find_best(column: str, rows: Sequence[Row]) -> str | None:
    """Return the best value of a column as displayed; None for fewer than two values."""
    values = [float(_format_value(row, column)) for row in rows if column in row]
    if len(values) < 2:
        return None
    return f"{min(values) if METRICS.get(column.partition('@')[0]).better == 'lower' else max(values):.1f}"


def _build_cell(row: Row, column: str, bold: bool) -> Cell:
    ends = [row.get(column + end) for end in (".low", ".high")]
    detail = "" if None in ends else f"[{ends[0]:.1f}, {ends[1]:.1f}]"
    return Cell(_format_value(row, column), detail, bold)
