"""The page and the pictures of ``tiny_imagenet_study.py``, made from its tables."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from _tiny_imagenet_tables import BASELINES, FIRST
from matplotlib.axes import Axes
from matplotlib.figure import Figure

SCRIPT = "tiny_imagenet_study.py"
TABLES = ("metrics", "differences", "runs", "errors", "speeds", "curves")
HEAD = (
    *("entry", "seeds", "MaxBoxAccV2", "minus CAM", "rank", "GT-known, tau of val", "oracle - val"),
    *("top-1 loc. error, tau of val", "top-1 cls. error"),
)
CONCLUSIONS = "## Conclusions\n"
ERRORS = ("correct", "class", "multi", "part", "more", "other")
COLORS = ("#009e73", "#999999", "#cc79a7", "#d55e00", "#0072b2", "#f0e442")
INTRODUCTION = """\
# Training methods on Tiny ImageNet

ResNet18-GAP from random weights on images of 64 x 64 pixels, with maps of 8 x 8, trained by each method of `wsol.train`
with the settings in its name, and defaults otherwise, and evaluated on the official validation images under
`wsolevaluation`; tau is chosen on a tenth of the training images. All methods have the same learning rate, and nothing
was tuned. Percent, with the standard deviation over seeds where there are several, 95 % intervals over images and
seeds, and the paired difference from CAM. The rank is 1 plus the number of entries that are significantly better. The
last three entries are boxes that ignore the image. The interval of a method with one seed leaves out the spread over
seeds, which is unknown.

Each budget has `leaderboard.csv` and `.md` (`wsol.leaderboard --validate`, with signatures), `metrics.csv`,
`differences.csv` (`wsol.compare`), `runs.csv`, `errors.csv`, `curves.csv` and `speeds.csv`. Maps, boxes and overlays of
a run are on its page, `DIR/runs/cam-0/report.html`.
"""

Tables = dict[str, pd.DataFrame]


def write_report(folder: Path) -> None:
    """Write the page, with its conclusions as they are, and the picture of every budget."""
    path = folder / "README.md"
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    conclusions = text[text.index(CONCLUSIONS) :] if CONCLUSIONS in text else CONCLUSIONS
    budgets = read_budgets(folder)
    page = "\n".join([INTRODUCTION, *(to_markdown(*each) for each in budgets.items()), conclusions])
    path.write_text(page, encoding="utf-8")
    for name, tables in budgets.items():
        draw(tables).savefig(folder / name / "study.webp", dpi=110, pil_kwargs={"quality": 80, "method": 6})


def read_budgets(folder: Path) -> dict[str, Tables]:
    """Return the tables of each budget by the name of its folder."""
    budgets = sorted(path.parent for path in folder.glob("*/metrics.csv"))
    return {home.name: {name: pd.read_csv(home / f"{name}.csv") for name in TABLES} for home in budgets}


def to_markdown(name: str, tables: Tables) -> str:
    """Return the section of a budget: its table, what follows from it, and its picture."""
    runs = tables["runs"]
    classes, epochs, images = name.partition("-")[0], runs["epochs"].max(), runs["images"].max()
    command = f"python benchmarks/{SCRIPT} --data-root tiny-imagenet-200.zip --work DIR --classes {classes} "
    command += f"--epochs {epochs} --methods {' '.join(dict.fromkeys(runs['method']))}"
    lines = [f"## {classes} classes, {epochs} epochs, {images} test images\n", f"    {command}\n"]
    lines.append(f"| {' | '.join(HEAD)} |")
    lines += ["|" + "---|" * len(HEAD), *(f"| {' | '.join(_cells(entry, tables))} |" for entry in list_entries(tables))]
    return "\n".join([*lines, "", *(f"- {sentence}" for sentence in read_off(tables)), "", _image(name), ""])


def list_entries(tables: Tables) -> list[str]:
    """Return methods, the highest MaxBoxAccV2 first, and then the baselines."""
    rows = _rows(tables["metrics"], "max_box_acc_v2", "oracle").sort_values("value", ascending=False, kind="stable")
    return [*(run for run in rows["run"] if run not in BASELINES), *(run for run in rows["run"] if run in BASELINES)]


def read_off(tables: Tables) -> list[str]:
    """Return what the numbers say, one sentence or two each."""
    methods = [entry for entry in list_entries(tables) if entry not in BASELINES]
    sentences = [
        f"**{title}.** {_describe_differences(FIRST, methods, tables, metric, rule)}"
        for metric, rule, title in (
            ("max_box_acc_v2", "oracle", "MaxBoxAccV2, the methods and CAM"),
            ("gt_known_loc_acc", "val", "GT-known accuracy at the tau of val, the methods and CAM"),
        )
    ]
    gaussian = _describe_differences(BASELINES[0], methods, tables, "max_box_acc_v2", "oracle")
    sentences.append(f"**MaxBoxAccV2, the methods and a center Gaussian.** {gaussian}")
    costs = {method: _tau_cost(method, tables) for method in methods}
    lowest, highest = min(costs, key=costs.__getitem__), max(costs, key=costs.__getitem__)
    sentences.append(
        "**What tau costs.** Chosen on val rather than on the test images, it loses "
        f"{costs[lowest]:.1f} (`{lowest}`) to {costs[highest]:.1f} points (`{highest}`) of GT-known accuracy."
    )
    shares = tables["errors"][tables["errors"]["method"] == FIRST].groupby("error")["share"].mean()
    parts = ", ".join(f"{ERROR_TITLES[error]} {shares[error]:.1f} %" for error in ERRORS)
    sentences.append(f"**Where CAM fails.** Of its first predictions {parts}.")
    speeds = tables["speeds"].groupby("method")[["images", "seconds", "processor_seconds"]].sum()
    rates = speeds["images"] / speeds["processor_seconds"]
    listed = ", ".join(f"`{method}` {rates[method]:.1f}" for method in methods if method in rates)
    sentences.append(f"**Speed.** Images per second of processor time of the training process: {listed}.")
    return sentences


ERROR_TITLES = {
    "correct": "right",
    "class": "wrong class",
    "multi": "a box over several objects",
    "part": "a part of the object",
    "more": "more than the object",
    "other": "elsewhere",
}


def _cells(entry: str, tables: Tables) -> list[str]:
    """Return the cells of an entry of the table."""
    metrics = tables["metrics"][tables["metrics"]["run"] == entry]
    accuracy, known = _row(metrics, "max_box_acc_v2", "oracle"), _row(metrics, "gt_known_loc_acc", "val")
    seeds = (tables["runs"]["method"] == entry).sum()
    difference = "" if entry == FIRST else str(find_difference(entry, FIRST, tables, "max_box_acc_v2", "oracle"))
    localization, classification = (
        _row(metrics, name, rule) for name, rule in (("top1_loc_err", "val"), ("top1_cls_err", ""))
    )
    return [
        f"`{entry}`",
        str(seeds or ""),
        _format_value(accuracy),
        difference,
        f"{accuracy['rank']:.0f}",
        _format_value(known),
        f"{_tau_cost(entry, tables):.1f}",
        *(_format_value(row) for row in (localization, classification)),
    ]


@dataclass(frozen=True)
class Difference:
    """A paired difference of two entries in points, with its interval; ``sign`` is 0 if it may be due to chance."""

    value: float
    low: float
    high: float
    p: float
    sign: int

    def __str__(self) -> str:
        return f"{self.value:+.1f} [{self.low:+.1f}, {self.high:+.1f}], p = {self.p:.3f}"


def find_difference(run: str, other: str, tables: Tables, metric: str, rule: str) -> Difference:
    """Return ``run`` minus ``other``; the table has each pair in one of the two orders."""
    rows = _rows(tables["differences"], metric, rule)
    for first, second, sign in ((run, other, 1), (other, run, -1)):
        match = rows[(rows["run"] == first) & (rows["other"] == second)]
        if len(match):
            row = match.iloc[0]
            low, high = sorted((sign * row["ci_low"], sign * row["ci_high"]))
            better = {run: 1, other: -1}.get(row["better"], 0)
            return Difference(sign * row["difference"], low, high, row["p_corrected"], better)
    raise ValueError(f"{metric} of {run} and {other} is not compared")


def _describe_differences(other: str, methods: list[str], tables: Tables, metric: str, rule: str) -> str:
    """Return which methods are above and below another entry beyond chance, and which are not."""
    found = {each: find_difference(each, other, tables, metric, rule) for each in methods if each != other}
    parts = []
    for sign, words in ((1, "above `{}` beyond chance"), (-1, "below `{}` beyond chance"), (0, "tied with `{}`")):
        listed = [f"`{method}` ({each})" for method, each in found.items() if each.sign == sign]
        parts += [f"{words.format(other)}: {', '.join(listed)}"] if listed else []
    text = "; ".join(parts) or "nothing to compare"
    return f"{text[0].upper()}{text[1:]}."


def _tau_cost(entry: str, tables: Tables) -> float:
    """Return the GT-known accuracy at the best tau of the test images minus that at the tau of val."""
    oracle, val = (
        _rows(tables["metrics"], "gt_known_loc_acc", rule).set_index("run")["value"] for rule in ("oracle", "val")
    )
    return float(oracle[entry] - val[entry])


def _rows(table: pd.DataFrame, metric: str, rule: str) -> pd.DataFrame:
    return table[(table["metric"] == metric) & (table["tau_rule"].fillna("") == rule)]


def _row(table: pd.DataFrame, metric: str, rule: str) -> pd.Series | None:
    rows = _rows(table, metric, rule)
    return rows.iloc[0] if len(rows) else None


def _format_value(row: pd.Series | None) -> str:
    if row is None or pd.isna(row["value"]):
        return ""
    spread = f" ± {row['sd']:.1f}" if "sd" in row and pd.notna(row["sd"]) else ""
    return f"{row['value']:.1f}{spread} [{row['ci_low']:.1f}, {row['ci_high']:.1f}]"


def _image(name: str) -> str:
    return f"![MaxBoxAccV2, GT-known accuracy over tau, and error types, {name}]({name}/study.webp)"


def draw(tables: Tables) -> Figure:
    """Draw MaxBoxAccV2 with intervals and seeds, GT-known accuracy over tau, and error types."""
    entries = list_entries(tables)
    figure = Figure(figsize=(13, 1.5 + 0.34 * len(entries)), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    _draw_values(left, entries, tables)
    for entry in entries:
        style = "--" if entry in BASELINES else "-"
        middle.plot(tables["curves"]["tau"], tables["curves"][entry], style, label=entry)
    middle.set(xlabel="tau", ylabel="GT-known accuracy, %", xlim=(0, 1), ylim=(0, None))
    _draw_errors(right, [entry for entry in entries if entry not in BASELINES], tables)
    figure.legend(*right.get_legend_handles_labels(), fontsize=8, ncols=len(ERRORS), loc="outside upper right")
    figure.legend(*middle.get_legend_handles_labels(), fontsize=8, ncols=len(entries), loc="outside lower center")
    return figure


def _draw_values(axes: Axes, entries: list[str], tables: Tables) -> None:
    rows = _rows(tables["metrics"], "max_box_acc_v2", "oracle").set_index("run").loc[entries[::-1]]
    runs = tables["runs"]
    for place, (entry, row) in enumerate(rows.iterrows()):
        axes.plot([row["ci_low"], row["ci_high"]], [place, place], color="0.4")
        axes.plot(row["value"], place, "s" if entry in BASELINES else "o", color="0.1")
        seeds = runs.loc[runs["method"] == entry, "max_box_acc_v2@oracle"]
        axes.plot(seeds, [place] * len(seeds), "|", color="#0072b2", markersize=12)
    axes.set_yticks(range(len(rows)), rows.index)
    axes.set_xlabel("MaxBoxAccV2, %, with 95 % interval; blue: each seed")


def _draw_errors(axes: Axes, methods: list[str], tables: Tables) -> None:
    shares = tables["errors"].groupby(["method", "error"])["share"].mean().unstack().loc[methods[::-1]]
    start = pd.Series(0.0, shares.index)
    for error, color in zip(ERRORS, COLORS, strict=True):
        axes.barh(shares.index, shares[error], left=start, color=color, label=ERROR_TITLES[error])
        start += shares[error]
    axes.set(xlabel="first predictions, %", xlim=(0, 100))
