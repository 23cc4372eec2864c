"""Evaluate all methods on one network and data set, and print them side by side.

    python benchmarks/methods_study.py --weights FILE --data-root DIR [--out results/ilsvrc-270]

SqueezeNet 1.0 on ILSVRC by default. Methods of features and gradients run on all images, at the layer that is pooled
(one map per class) and at the last one before the classifier; methods of many forward passes run on every 18th or 54th
image, with fewer samples than in their papers, next to CAM on the same images. Rows that are already in the table are
not computed again.
"""

import argparse
import sys
from pathlib import Path

import pandas as pd

import wsol
from wsol.datasets import Dataset, load_dataset
from wsol.models import load_model

POOLED = [  # at the layer that is pooled
    *("cam", "gradcam", "gradcam++", "xgradcam", "layercam", "hirescam", "gradcam-elementwise", "eigencam"),
    *("smoothgradcam++", "ablationcam", "backprop", "guided-backprop", "fullgrad"),
]
BEFORE = [  # at the last layer before the classifier
    *("gradcam", "gradcam++", "xgradcam", "layercam", "hirescam", "gradcam-elementwise", "eigencam"),
    *("eigencam:centered=true", "smoothgradcam++", "ablationcam"),
]
SLOW = ["integrated-gradients:steps=10", "occlusion", "rise:masks=500", "scorecam"]
SLOWEST = ["is-cam:samples=2", "ss-cam:samples=2"]
METRICS = ("top1_loc_err", "gt_known_loc_acc", "max_box_acc", "max_box_acc_v2", "pointing_game", "mean_iou")


def evaluate_row(images: Dataset, options: argparse.Namespace, method: str, layer: str | None) -> dict[str, object]:
    """Evaluate one method and return its row of the table: values with their 95 % intervals."""
    model = load_model(options.model, options.weights, layer=layer)
    folder = options.work and options.work / f"{method.replace(':', '-')}-{layer}-{len(images)}"
    result = wsol.evaluate(model, dataset=images, method=method, out=folder, batch_size=16)
    row: dict[str, object] = {"method": method, "layer": layer or model.network.layer, "n": len(images)}
    for metric in METRICS:
        candidates = result.metrics[result.metrics["metric"] == metric]
        oracle = candidates["tau_rule"] == "oracle"
        value = candidates[oracle if metric.startswith("max") else ~oracle].iloc[0]
        row |= {metric: value["value"], f"{metric}_low": value["ci_low"], f"{metric}_high": value["ci_high"]}
    return row | {"signature": result.signature}


def main() -> int:
    """Compute the missing rows of the table and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True, help="weights file")
    parser.add_argument("--data-root", type=Path, required=True, help="folder of the data set")
    parser.add_argument("--model", default="squeezenet1_0", help="registered name (default: %(default)s)")
    parser.add_argument("--before", default="features.12", help="layer before the classifier (default: %(default)s)")
    parser.add_argument("--dataset", default="ilsvrc", help="registered name (default: %(default)s)")
    parser.add_argument(
        "--out", type=Path, default=Path("results/ilsvrc-270"), help="folder of methods.csv (default: %(default)s)"
    )
    parser.add_argument("--work", type=Path, help="folder to keep the run folders in")
    options = parser.parse_args()
    images = load_dataset(options.dataset, options.data_root)
    few, fewest = images.limit(len(images) // 18), images.limit(len(images) // 54)
    jobs = [(images, method, None) for method in POOLED] + [(images, method, options.before) for method in BEFORE]
    jobs += [(few, "cam", None), (few, "gradcam", options.before)]
    jobs += [(few, method, options.before) for method in SLOW]
    jobs += [(fewest, "cam", None)] + [(fewest, method, options.before) for method in SLOWEST]
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "methods.csv"
    rows = pd.read_csv(path).to_dict("records") if path.is_file() else []
    for subset, method, layer in jobs:
        if any((row["method"], row["n"]) == (method, len(subset)) and layer in (None, row["layer"]) for row in rows):
            continue
        rows.append(evaluate_row(subset, options, method, layer))
        pd.DataFrame(rows).to_csv(path, index=False, float_format="%.3f")
    print(to_markdown(pd.read_csv(path)))
    return 0


def to_markdown(table: pd.DataFrame) -> str:
    """Return the table as Markdown, values in percent with their intervals."""
    metrics = ("top1_loc_err", "gt_known_loc_acc", "max_box_acc", "max_box_acc_v2", "pointing_game")
    lines = ["| method | layer | n | " + " | ".join(metrics) + " |", "|" + "---|" * (3 + len(metrics))]
    for row in table.to_dict("records"):
        values = [f"{row[m]:.1f} [{row[f'{m}_low']:.1f}, {row[f'{m}_high']:.1f}]" for m in metrics]
        lines.append(f"| `{row['method']}` | `{row['layer']}` | {row['n']} | " + " | ".join(values) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
