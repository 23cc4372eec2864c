"""Evaluates all methods on one network and data set, and prints them side by side.

    python benchmarks/methods_study.py --weights FILE --data-root DIR [--out results/ilsvrc-270]

SqueezeNet 1.0 on ILSVRC by default. Methods of features and gradients run on all images, on the layer that is pooled
(one map a class) and on the last one before the classifier; methods of many forward passes on every 18th or 54th image,
with fewer samples than their papers take, beside CAM on the same images. What stands in the table already is not run
again.
"""

import argparse
import sys
from pathlib import Path

import pandas as pd

import wsol
from wsol.datasets import Dataset, load_dataset
from wsol.models import load_model

POOLED = [
    *("cam", "gradcam", "gradcam++", "xgradcam", "layercam", "hirescam", "gradcam-elementwise", "eigencam"),
    *("smoothgradcam++", "ablationcam", "backprop", "guided-backprop", "fullgrad"),
]
BEFORE = [
    *("gradcam", "gradcam++", "xgradcam", "layercam", "hirescam", "gradcam-elementwise", "eigencam"),
    *("eigencam:centred=true", "smoothgradcam++", "ablationcam"),
]
MANY = ["integrated-gradients:steps=10", "occlusion", "rise:masks=500", "scorecam"]
MOST = ["is-cam:samples=2", "ss-cam:samples=2"]
METRICS = ("top1_loc_err", "gt_known_loc_acc", "max_box_acc", "max_box_acc_v2", "pointing_game", "mean_iou")


def row(images: Dataset, options: argparse.Namespace, method: str, layer: str | None) -> dict[str, object]:
    """Evaluate one method and returns its line of the table, values with their 95 % intervals."""
    model = load_model(options.model, options.weights, layer=layer)
    folder = options.work and options.work / f"{method.replace(':', '-')}-{layer}-{len(images)}"
    found = wsol.evaluate(model, dataset=images, method=method, out=folder, batch_size=16)
    line: dict[str, object] = {"method": method, "layer": layer or model.network.layer, "n": len(images)}
    for metric in METRICS:
        of = found.metrics[found.metrics["metric"] == metric]
        chosen = of[of["tau_rule"] == "oracle"] if metric.startswith("max") else of[of["tau_rule"] != "oracle"]
        value = chosen.iloc[0]
        line |= {metric: value["value"], f"{metric}_low": value["ci_low"], f"{metric}_high": value["ci_high"]}
    return line | {"signature": found.signature}


def main() -> int:
    """Fill the table and prints it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--model", default="squeezenet1_0")
    parser.add_argument("--before", default="features.12", help="layer before the classifier (default: %(default)s)")
    parser.add_argument("--dataset", default="ilsvrc")
    parser.add_argument("--out", type=Path, default=Path("results/ilsvrc-270"))
    parser.add_argument("--work", type=Path, help="keep the run folders here, with their pictures")
    options = parser.parse_args()
    images = load_dataset(options.dataset, options.data_root)
    few, fewest = images.limit(len(images) // 18), images.limit(len(images) // 54)
    jobs = [(images, method, None) for method in POOLED] + [(images, method, options.before) for method in BEFORE]
    jobs += [(few, "cam", None), (few, "gradcam", options.before)]
    jobs += [(few, method, options.before) for method in MANY]
    jobs += [(fewest, "cam", None)] + [(fewest, method, options.before) for method in MOST]
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "methods.csv"
    lines = pd.read_csv(path).to_dict("records") if path.is_file() else []
    for part, method, layer in jobs:
        if any((x["method"], x["n"]) == (method, len(part)) and layer in (None, x["layer"]) for x in lines):
            continue
        lines.append(row(part, options, method, layer))
        pd.DataFrame(lines).to_csv(path, index=False, float_format="%.3f")
    print(markdown(pd.read_csv(path)))
    return 0


def markdown(table: pd.DataFrame) -> str:
    """Return the table as Markdown, values in percent with their intervals."""
    shown = ("top1_loc_err", "gt_known_loc_acc", "max_box_acc", "max_box_acc_v2", "pointing_game")
    rows = ["| method | layer | n | " + " | ".join(shown) + " |", "|" + "---|" * (3 + len(shown))]
    for line in table.to_dict("records"):
        values = [f"{line[m]:.1f} [{line[f'{m}_low']:.1f}, {line[f'{m}_high']:.1f}]" for m in shown]
        rows.append(f"| `{line['method']}` | `{line['layer']}` | {line['n']} | " + " | ".join(values) + " |")
    return "\n".join(rows)


if __name__ == "__main__":
    sys.exit(main())
