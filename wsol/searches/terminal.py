"""The text that ``wsol.search`` prints: the best trial of each method, and its settings on the split test."""

import shlex
from pathlib import Path

import pandas as pd

from wsol.io.display import escape_unprintable
from wsol.metrics.base import METRICS, row_title
from wsol.searches.search import Search

_KEYS = ["network", "method"]
_SHOWN = ("gt_known_loc_acc", "top1_cls_err")  # beside the metric that decides; test.csv has all


def format_search(search: Search) -> str:
    """Return the tables of a search and its comparisons as text, and the command that ranks its runs."""
    lines = [f"{_title(search.by)} on {search.images}, percent:", "", *_trial_lines(search)]
    if len(search.seeds):
        lines += ["", "on test, percent: mean +- standard deviation over seeds [95 % over images]", ""]
        lines += _test_lines(search)
    for network, text in search.comparisons.items():
        lines += ["", f"{escape_unprintable(network)}, all seeds on test:", "", text]
    lines += ["", f"trials, plot and runs in {escape_unprintable(str(search.folder))}"]
    runs = search.seeds.loc[search.seeds["status"] == "done", "folder"]
    if len(runs):
        folder = Path(runs.iloc[0]).parents[1]  # those of fewer trials are beside it
        lines.append(f"rank: {shlex.join(['python', '-m', 'wsol.leaderboard', str(folder)])}")
    return "\n".join(lines)


def _trial_lines(search: Search) -> list[str]:
    rows = [["network", "method", "trials", "diverged", "median", "best", "settings of the best"]]
    columns = [*search.trials]
    drawn = columns[3 : columns.index("value")]
    for (network, method), group in search.trials.groupby(_KEYS, sort=False):
        diverged, best = int((group["status"] == "diverged").sum()), group[group["best"]].to_dict("records")
        settings = [f"{name} {_format(best[0][name])}" for name in drawn if best and pd.notna(best[0][name])]
        median = "" if diverged == len(group) else f"{group['value'].median():.3f}"
        value = f"{best[0]['value']:.3f}" if best else ""
        rows.append([str(network), str(method), str(len(group)), str(diverged), median, value, ", ".join(settings)])
    return _align(rows, left={0, 1, 6})


def _format(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)  # a column of integers with gaps holds floats


def _test_lines(search: Search) -> list[str]:
    wanted, table = list(dict.fromkeys([search.by, *_SHOWN])), search.test
    columns = [(name, rule) for name in wanted for rule in (None, "val", "oracle") if len(_pick(table, name, rule))]
    titles = [f"{_title(name)}{f' ({rule})' if rule else ''}" for name, rule in columns]
    rows = [["network", "method", "seeds", *titles]]
    for (network, method), group in search.seeds.groupby(_KEYS, sort=False):
        own = table[(table["network"] == network) & (table["method"] == method)]
        cells = [_cell(_pick(own, name, rule)) for name, rule in columns]
        rows.append([str(network), str(method), str((group["status"] == "done").sum()), *cells])
    return _align(rows, left={0, 1})


def _pick(table: pd.DataFrame, name: str, rule: str | None) -> pd.DataFrame:
    same = table["tau_rule"].isna() if rule is None else table["tau_rule"] == rule
    return table[(table["metric"] == name) & same]


def _cell(rows: pd.DataFrame) -> str:
    if not len(rows):
        return ""
    row = rows.iloc[0]
    spread = "" if pd.isna(row["sd"]) else f" +- {row['sd']:.2f}"
    interval = "" if pd.isna(row["ci_low"]) else f" [{row['ci_low']:.1f}, {row['ci_high']:.1f}]"
    return f"{row['mean']:.2f}{spread}{interval}"


def _title(name: str) -> str:
    return row_title(name).strip() if name in METRICS.names() else name


def _align(rows: list[list[str]], left: set[int]) -> list[str]:
    rows = [[escape_unprintable(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(
            c.ljust(w) if i in left else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
