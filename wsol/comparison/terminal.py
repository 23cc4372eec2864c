"""What is printed of a comparison."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import permutations, product
from pathlib import Path
from string import ascii_uppercase
from typing import Any

import pandas as pd

from wsol.io.display import printable
from wsol.metrics.significance import ALPHA
from wsol.reports.terminal import RULES, TITLES

_EXAMPLES = 5
_LISTED = 3  # up to so many runs, images are named; of more, they are counted in a table
_Found = Callable[[str, str], pd.DataFrame]


def format_comparison(
    signature: str,
    notes: Sequence[str],
    runs: pd.DataFrame,
    metrics: pd.DataFrame,
    differences: pd.DataFrame,
    found: _Found,
    folder: Path,
) -> str:
    """Return what a command prints of a comparison; its runs have letters, since their names may be long.

    Args:
        signature: What the runs have in common.
        notes: What deserves a second look, one sentence each.
        runs: As ``wsol.comparison.compare.Comparison`` has it, like the tables that follow.
        metrics: Values and ranks.
        differences: Of every pair; printed where there is one.
        found: Gives the images that one run finds and another loses, the clearest first.
        folder: Where all of it was written.
    """
    letters = dict(zip(runs["run"], run_letters(len(runs)), strict=True))
    named = [
        [
            letter,
            printable(row.run),
            printable(row.model),
            printable(row.method),
            "none" if pd.isna(row.tau) else f"{row.tau:.3f}",
        ]
        for letter, row in zip(letters.values(), _records(runs), strict=True)
    ]
    two = len(runs) == 2
    lines = [
        signature,
        *notes,
        "",
        *_aligned([["", "run", "model", "method", "tau"], *named], left=5),
        "",
        *_aligned([*_rows(letters, metrics, differences if two else None)], left=2),
        "",
        "Behind a value stands the run's rank: 1, and one more for every run that is better beyond chance; = is a tie.",
        f"Chance: paired bootstrap over images, p < {ALPHA:g}"
        + ("." if two else " corrected for all pairs of runs; differences.csv has each pair."),
        "",
        *(_named if len(runs) <= _LISTED else _counted)(letters, found),
        "",
        f"written to {printable(str(folder))}",
    ]
    return "\n".join(lines)


def run_letters(count: int) -> list[str]:
    """Return A, B, ... Z, AA, AB and on."""
    some = [*ascii_uppercase]
    return [*some, *map("".join, product(some, some))][:count]


def _rows(letters: Mapping[str, str], metrics: pd.DataFrame, differences: pd.DataFrame | None) -> Iterator[list[str]]:
    """Yield the head, then a row a metric and rule."""
    pair = [" - ".join(letters.values()) + " [95 %]", "p", "better"] if differences is not None else []
    yield ["percent, rank", "", *letters.values(), *pair]
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for row in _records(metrics):
        found.setdefault(_key(row), {})[row.run] = row
    apart = {} if differences is None else {_key(row): row for row in _records(differences)}
    order = [*TITLES, *(metric for metric, _ in found if metric not in TITLES)]
    for key in sorted(found, key=lambda key: (order.index(key[0]), RULES.index(key[1]))):
        tau = f" @{next(iter(found[key].values())).tau:.3f}" if key[1] == "fixed" else ""
        cells = [_cell(found[key][name]) if name in found[key] else "" for name in letters]
        if two := apart.get(key):
            cells.append(f"{two.difference:+.3f} [{two.ci_low:+.2f}, {two.ci_high:+.2f}]")
            cells += [f"{two.p:.3f}", letters.get(two.better, two.better)]
        yield [TITLES.get(key[0], key[0]), key[1] + tau, *cells]


def _records(table: pd.DataFrame) -> list[Any]:
    return [*table.itertuples()]  # their fields are the columns


def _key(row: Any) -> tuple[str, str]:
    """Return metric and rule, empty where no threshold enters."""
    return row.metric, "" if pd.isna(row.tau_rule) else row.tau_rule


def _cell(row: Any) -> str:
    rank = "" if pd.isna(row.rank) else f" {row.rank}" + (" ", "=")[int(row.tied)]
    return f"{row.value:.3f}{rank}"


def _named(letters: Mapping[str, str], found: _Found) -> Iterator[str]:
    """Yield, for every pair, how many images one run finds and the other loses, and the clearest ones."""
    for run, other in permutations(letters, 2):
        images = found(run, other)
        yield f"{letters[run]} finds {len(images)} images that {letters[other]} loses" + ":" * bool(len(images))
        for image in images.head(_EXAMPLES).to_dict("records"):
            lost = "no box" if pd.isna(image["other_iou"]) else f"not {image['other_iou']:.3f}"
            names = f"{printable(str(image['image_id']))}  ({printable(str(image['class']))})"
            yield f"  IoU {image['iou']:.3f}, {lost}  {names}"


def _counted(letters: Mapping[str, str], found: _Found) -> Iterator[str]:
    """Yield a table of how many images the run of a row finds and that of a column loses."""
    head = ["images found by the row's run, lost by the column's", *letters.values()]
    rows = [
        [f"{letter:>{len(head[0])}}", *("-" if run == other else str(len(found(run, other))) for other in letters)]
        for run, letter in letters.items()
    ]
    yield from _aligned([head, *rows], left=1)


def _aligned(rows: Sequence[Sequence[str]], left: int) -> Iterator[str]:
    """Yield rows as lines, two spaces between columns, the first ``left`` of them flush left."""
    count = max(map(len, rows))
    full = [[*row, *[""] * (count - len(row))] for row in rows]
    widths = [max(map(len, column)) for column in zip(*full, strict=True)]
    for row in full:
        cells = (
            f"{cell:{'<' if i < left else '>'}{width}}" for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join(cells).rstrip()
