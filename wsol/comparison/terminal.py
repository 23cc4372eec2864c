"""A comparison as text for the terminal."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import permutations, product
from pathlib import Path
from string import ascii_uppercase
from typing import Any

import pandas as pd

from wsol.io.display import printable
from wsol.metrics.base import row_title, sort_rows
from wsol.metrics.significance import ALPHA
from wsol.reports.terminal import RULES

_EXAMPLES = 5
_RUN_COLUMNS = ("run", "model", "method", "protocol", "seeds", "tau")
_MAX_LISTED = 3  # runs up to which images are listed; for more runs they are counted in a table
_ImagesFoundOnlyBy = Callable[[str, str], pd.DataFrame]


def format_comparison(
    signature: str,
    notes: Sequence[str],
    runs: pd.DataFrame,
    metrics: pd.DataFrame,
    differences: pd.DataFrame,
    images_found_only_by: _ImagesFoundOnlyBy,
    folder: Path,
) -> str:
    """Format a comparison for the terminal; runs are denoted by letters, since their names may be long.

    Args:
        signature: Signature that the runs have in common.
        notes: Warnings, one sentence each.
        runs: ``runs`` of ``wsol.comparison.compare.Comparison``.
        metrics: ``metrics`` of the comparison.
        differences: ``differences`` of the comparison; printed if there are two runs.
        images_found_only_by: ``images_found_only_by`` of the comparison.
        folder: Folder that the comparison was written to.
    """
    letters = dict(zip(runs["run"], run_letters(len(runs)), strict=True))
    run_rows = [
        [
            letter,
            printable(row.run),
            printable(row.model),
            printable(row.method),
            *([printable(row.protocol)] if "protocol" in runs else []),
            *([str(row.seeds)] if "seeds" in runs else []),
            "none" if pd.isna(row.tau) else f"{row.tau:.3f}",
        ]
        for letter, row in zip(letters.values(), _records(runs), strict=True)
    ]
    two, several = len(runs) == 2, "seeds" in runs
    legend = [
        "The number after a value is the run's rank: 1 plus the number of significantly better runs; = marks a tie."
    ]
    if several:
        legend.append("After ± is the standard deviation over seeds (n - 1), which a single run does not show (-).")
    lines = [
        signature,
        *notes,
        "",
        *_align_columns([["", *(name for name in runs if name in _RUN_COLUMNS)], *run_rows], left=7),
        "",
        *_align_columns([*_metric_rows(letters, metrics, differences if two else None)], left=2),
        "",
        *legend,
        f"Significance: paired bootstrap over {'seeds and ' * several}images, p < {ALPHA:g}"
        + ("." if two else ", corrected for all pairs of runs; differences.csv lists each pair."),
        "",
        *(["A group finds an image if more than half of its seeds do; IoU is their mean.", ""] if several else []),
        *(_list_images if len(runs) <= _MAX_LISTED else _count_images)(letters, images_found_only_by),
        "",
        f"written to {printable(str(folder))}",
    ]
    return "\n".join(lines)


def run_letters(count: int) -> list[str]:
    """Return A, B, ..., Z, AA, AB and so on."""
    letters = [*ascii_uppercase]
    return [*letters, *map("".join, product(letters, letters))][:count]


def _metric_rows(
    letters: Mapping[str, str], metrics: pd.DataFrame, differences: pd.DataFrame | None
) -> Iterator[list[str]]:
    """Yield the header, then one row per metric and rule."""
    pair_header = [" - ".join(letters.values()) + " [95 %]", "p", "better"] if differences is not None else []
    several = "seeds" in metrics
    with_interval = several and len(letters) <= _MAX_LISTED
    content = "percent ± sd, rank" if several else "percent, rank"
    yield [content.replace(",", " [95 %],") if with_interval else content, "", *letters.values(), *pair_header]
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for row in _records(metrics):
        rows.setdefault(_key(row), {})[row.run] = row
    pairs = {} if differences is None else {_key(row): row for row in _records(differences)}
    order = sort_rows(metric for metric, _ in rows)
    for key in sorted(rows, key=lambda key: (order.index(key[0]), RULES.index(key[1]))):
        tau = f" @{next(iter(rows[key].values())).tau:.3f}" if key[1] == "fixed" else ""
        cells = [_format_cell(rows[key][name], several, with_interval) if name in rows[key] else "" for name in letters]
        if pair := pairs.get(key):
            cells.append(f"{pair.difference:+.3f} [{pair.ci_low:+.2f}, {pair.ci_high:+.2f}]")
            cells += [f"{pair.p:.3f}", letters.get(pair.better, pair.better)]
        yield [row_title(key[0]), key[1] + tau, *cells]


def _records(table: pd.DataFrame) -> list[Any]:
    return [*table.itertuples()]  # typed as Any: the attributes are the columns


def _key(row: Any) -> tuple[str, str]:
    """Return metric and rule; the rule is empty if the metric uses no threshold."""
    return row.metric, "" if pd.isna(row.tau_rule) else row.tau_rule


def _format_cell(row: Any, with_spread: bool, with_interval: bool) -> str:
    spread = "" if not with_spread else " ± -" if pd.isna(row.sd) else f" ± {row.sd:.2f}"
    interval = f" [{row.ci_low:.1f}, {row.ci_high:.1f}]" * with_interval
    rank = "" if pd.isna(row.rank) else f" {row.rank}" + (" ", "=")[int(row.tied)]
    return f"{row.value:.3f}{spread}{interval}{rank}"


def _list_images(letters: Mapping[str, str], images_found_only_by: _ImagesFoundOnlyBy) -> Iterator[str]:
    """Yield, for every pair, how many images one run finds and the other misses, and those with the largest gap."""
    for run, other in permutations(letters, 2):
        images = images_found_only_by(run, other)
        yield (
            f"{letters[run]} finds {len(images)} image{'s' * (len(images) != 1)} that {letters[other]} misses"
            + ":" * bool(len(images))
        )
        for image in images.head(_EXAMPLES).to_dict("records"):
            missed = "no box" if pd.isna(image["other_iou"]) else f"not {image['other_iou']:.3f}"
            names = f"{printable(str(image['image_id']))}  ({printable(str(image['class']))})"
            yield f"  IoU {image['iou']:.3f}, {missed}  {names}"


def _count_images(letters: Mapping[str, str], images_found_only_by: _ImagesFoundOnlyBy) -> Iterator[str]:
    """Yield a table with the number of images that the run of a row finds and the run of a column misses."""
    header = ["images found by the row's run, missed by the column's", *letters.values()]
    rows = []
    for run, letter in letters.items():
        counts = ("-" if run == other else str(len(images_found_only_by(run, other))) for other in letters)
        rows.append([f"{letter:>{len(header[0])}}", *counts])
    yield from _align_columns([header, *rows], left=1)


def _align_columns(rows: Sequence[Sequence[str]], left: int) -> Iterator[str]:
    """Yield rows as lines with aligned columns, two spaces apart; the first ``left`` columns are left-aligned."""
    count = max(map(len, rows))
    full = [[*row, *[""] * (count - len(row))] for row in rows]
    widths = [max(map(len, column)) for column in zip(*full, strict=True)]
    for row in full:
        cells = (
            f"{cell:{'<' if i < left else '>'}{width}}" for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join(cells).rstrip()
