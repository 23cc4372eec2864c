"""Score the same score maps under every protocol and normalization, and print them side by side.

    python benchmarks/conventions.py --weights FILE --data-root DIR [--out results/conventions]

CAM of SqueezeNet 1.0 on ILSVRC by default. The network runs once on images squashed to 224 x 224; the maps are stored
and scored under each protocol. A protocol that shows another input to the network has maps of its own. Differences are
those to the first row, paired by image; ranks are corrected for all pairs of rows.
"""

import argparse
import io
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from PIL import Image

import wsol
from wsol.comparison.differences import compare_pairs, resample
from wsol.datasets import load_dataset
from wsol.metrics.tau import DEFAULT_TAU
from wsol.models import load_model
from wsol.runs.read import StoredRun, read_run
from wsol.runs.signature import Signature


@dataclass(frozen=True)
class Convention:
    """One row of the table.

    Attributes:
        protocol: The protocol.
        own_maps: Whether the network runs on the input that the protocol shows to it; otherwise the maps are those of
            images squashed to 224 x 224.
        tau: The fixed threshold.
    """

    protocol: str
    own_maps: bool = False
    tau: float = DEFAULT_TAU


CONVENTIONS = [
    Convention("wsolevaluation"),
    Convention("wsolevaluation:norm=max"),
    Convention("wsolevaluation:norm=pas"),
    Convention("wsolevaluation:norm=ivr,percentile=0.45"),
    Convention("wsolevaluation:norm=ivr,percentile=0.6"),
    Convention("exact"),
    Convention("exact:norm=max"),
    Convention("exact:norm=pas"),
    Convention("exact:norm=ivr,percentile=0.45"),
    Convention("exact:norm=ivr,percentile=0.6"),
    Convention("zhou2016"),
    Convention("zhou2016:norm=minmax"),
    Convention("zhou2016:box=script"),
    Convention("zhou2016:crops=1", own_maps=True),
    Convention("tscam"),
    Convention("crop224"),
    Convention("crop224:paper=sat"),
    Convention("crop224:paper=spol"),
    Convention("crop224", own_maps=True),
]
COLUMNS = {  # metric and rule of tau, title
    ("gt_known_loc_acc", "fixed"): "GT-known accuracy",
    ("max_box_acc", "oracle"): "MaxBoxAcc",
    ("max_box_acc_v2", "oracle"): "MaxBoxAccV2",
    ("mean_iou", "fixed"): "mean IoU",
    ("top5_loc_err", "fixed"): "top-5 localization error",
}
READING = "## Reading"
"""Heading of the part of the page that is written by hand, and kept."""


def score_all(options: argparse.Namespace, work: Path) -> list[StoredRun]:
    """Run the network and score its maps under every convention; return the runs in the order of the rows."""
    images = load_dataset(options.dataset, options.data_root)
    model = load_model(options.model, options.weights)
    wsol.evaluate(model, dataset=images, out=work / "maps", resume=True, batch_size=16)
    runs = []
    for convention in CONVENTIONS:
        protocol, tau = convention.protocol, convention.tau
        folder = work / (protocol.replace(":", " ") + ", own maps" * convention.own_maps)
        if convention.own_maps:
            wsol.evaluate(model, dataset=images, protocol=protocol, tau=tau, out=folder, resume=True, batch_size=16)
        elif not (folder / "run.json").is_file():
            wsol.score(run=work / "maps", protocol=protocol, tau=tau, out=folder)
        runs.append(read_run(folder))
    return runs


def build_table(runs: list[StoredRun]) -> pd.DataFrame:
    """Return one row per convention and metric: its value, and the difference to that of the first convention."""
    names, resampled = [run.name for run in runs], []
    for run in runs:
        # The released program has its own levels instead of a tau: they stand for the fixed one.
        resampled.append({(name, rule or "fixed"): each for (name, rule), each in resample(run).items()})
    metrics, differences = compare_pairs(names, [{k: r[k] for k in COLUMNS if k in r} for r in resampled])
    first = differences[differences["run"] == names[0]].set_index(["other", "metric"])
    signatures = {run.name: run.signature for run in runs}
    rows = []
    for row in metrics.to_dict("records"):
        fields = Signature.parse(signatures[row["run"]])
        entry = {"protocol": fields.protocol, "maps": fields.method, **row}
        if (row["run"], row["metric"]) in first.index:
            pair = first.loc[row["run"], row["metric"]]
            sides = {"difference_low": -pair["ci_high"], "difference_high": -pair["ci_low"]}
            entry |= {"difference": -pair["difference"], **sides, "p": pair["p"], "p_corrected": pair["p_corrected"]}
        rows.append(entry | {"signature": signatures[row["run"]]})
    return pd.DataFrame(rows)


def to_markdown(table: pd.DataFrame) -> str:
    """Return the table as Markdown: values with their intervals, differences to the first row, and ranks."""
    maps = [*dict.fromkeys(table["maps"])]
    lines = ["| protocol | maps | " + " | ".join(COLUMNS.values()) + " |", "|" + "---|" * (2 + len(COLUMNS))]
    for _, rows in table.groupby("run", sort=False):
        by_metric = rows.set_index("metric")
        cells = [_format_cell(by_metric.loc[metric]) if metric in by_metric.index else "" for metric, _ in COLUMNS]
        lines.append(
            f"| `{rows['protocol'].iloc[0]}` | {'ABCDEFGH'[maps.index(rows['maps'].iloc[0])]} | {' | '.join(cells)} |"
        )
    return "\n".join(lines)


def _format_cell(row: pd.Series) -> str:
    is_default = row["tau_rule"] == "fixed" and row["tau"] == DEFAULT_TAU
    tau = "" if is_default or pd.isna(row["tau"]) else f" at {row['tau']:.3g}"
    rank = f"rank {row['rank']}{'=' if row['tied'] else ''}"
    if pd.isna(row["difference"]):
        return f"**{row['value']:.1f}**{tau} [{row['ci_low']:.1f}, {row['ci_high']:.1f}], {rank}"
    interval = f"[{row['difference_low']:+.1f}, {row['difference_high']:+.1f}]"
    return f"**{row['value']:.1f}**{tau}, {row['difference']:+.1f} {interval}, {rank}"


def write_page(options: argparse.Namespace, table: pd.DataFrame, n: int) -> None:
    """Write the page, with the part below ``READING`` as it is."""
    path = options.out / "README.md"
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    reading = text[text.index(READING) :] if READING in text else f"{READING}\n"
    maps = [*dict.fromkeys(table["maps"])]
    legend = "; ".join(f"{letter}: `{method}`" for letter, method in zip("ABCDEFGH", maps, strict=False))
    path.write_text(
        f"""# The same maps under every convention

CAM of `{options.model}` on {n} images of `{options.dataset}`, computed by

    python benchmarks/conventions.py --weights FILE --data-root DIR

Network, weights and images are the same in all rows. Rows with the same letter under "maps" score the very same maps,
stored once, so that only the convention differs ({legend}; after the @ is another input of the network). The crops of
`zhou2016` are not part of maps that were stored before.

Percent. GT-known accuracy, mean IoU and top-5 localization error at the fixed tau, 0.2 unless the cell names another
(`box=script` has its own levels); MaxBoxAcc and MaxBoxAccV2 at the best tau. The first row has 95 % intervals; the
others have the difference to the first row with its 95 % interval, paired over images. The rank is 1 plus the number of
significantly better rows (p < 0.05, corrected for all pairs of rows); = marks a tie. Protocols with one box a threshold
have no MaxBoxAccV2.
`conventions.csv` has all intervals, p-values and signatures.

{to_markdown(table)}

![GT-known accuracy over tau under wsolevaluation, one line a normalization](accuracy.webp)

{reading}""",
        encoding="utf-8",
    )


def main() -> int:
    """Compute the table, the picture and the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True, help="weights file")
    parser.add_argument("--data-root", type=Path, required=True, help="folder of the data set")
    parser.add_argument("--model", default="squeezenet1_0", help="registered name (default: %(default)s)")
    parser.add_argument("--dataset", default="ilsvrc", help="registered name (default: %(default)s)")
    parser.add_argument(
        "--out", type=Path, default=Path("results/conventions"), help="folder of the files (default: %(default)s)"
    )
    parser.add_argument("--work", type=Path, help="folder to keep the run folders in, for another start")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        runs = score_all(options, options.work or Path(temporary))
        table = build_table(runs)
        table.to_csv(options.out / "conventions.csv", index=False, float_format="%.3f")
        norms = [run for run in runs if run.protocol.name == runs[0].protocol.name]
        picture = Image.open(io.BytesIO(wsol.compare(norms).draw_figures()["accuracy.png"]))
        picture.convert("RGB").save(options.out / "accuracy.webp", lossless=True)
        write_page(options, table, len(runs[0].results.images))
    print(to_markdown(table))
    return 0


if __name__ == "__main__":
    sys.exit(main())
