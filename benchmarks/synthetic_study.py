"""Run the study in results/synthetic: three networks on three settings of the data set, with intervals.

    python benchmarks/synthetic_study.py --work DIR

Networks that are not in DIR yet are trained first, with the recipe of the bundled one, which takes hours on two cores.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

import wsol
from wsol.evaluation.evaluate import Evaluation
from wsol.metrics.bootstrap import intervals, resampled_means
from wsol.training import Recipe, read_stages

HOME = Path(__file__).parents[1] / "results" / "synthetic"
MODELS = {"vgg16-gap": None, "vgg16-gmp": None, "resnet18-gap": 14}  # side of the maps, None for the network's own
SETTINGS: dict[str, dict[str, str]] = {
    "default": {},
    "part_size=0.15": {"part_size": "0.15"},
    "distractors=4": {"distractors": "4"},
}


def main() -> None:
    """Train the missing networks, evaluate all, write and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder of the networks and runs")
    parser.add_argument(
        "--models", nargs="+", default=list(MODELS), choices=MODELS, help="networks to evaluate (default: all)"
    )
    parser.add_argument("--limit", type=int, help="evaluate at most this many images per split")
    parser.add_argument("--out", type=Path, default=HOME, help="folder of study.csv (default: %(default)s)")
    options = parser.parse_args()
    rows, hits = [], {}
    for model in options.models:
        weights = find_or_train(model, options.work)
        for setting, arguments in SETTINGS.items():
            result = wsol.evaluate(
                model,
                weights,
                dataset_args=arguments,
                tau="val",
                limit=options.limit,
                out=options.work / model / setting,
            )
            own_class = result.predictions[result.predictions["rank"] == 0]
            hits[model, setting] = (own_class["error"] == "correct").to_numpy()
            row = {"model": model, "setting": setting, **summarize(result)}
            rows.append(row | compare_with_first_model(hits, model, setting))
    table = pd.DataFrame(rows).round(2)
    table.to_csv(options.out / "study.csv", index=False)
    print(table.to_string(index=False))


def find_or_train(model: str, work: Path) -> Path | None:
    """Return weights that were trained with the recipe; None for the bundled ones."""
    if model == "vgg16-gap":
        return None
    path = work / f"train-{model}" / f"{model}.safetensors"
    recipe = Recipe(read_stages(HOME / "vgg16-gap.toml"))
    return path if path.is_file() else wsol.train(model, "synthetic", recipe, map_size=MODELS[model], out=path.parent)


def summarize(result: Evaluation) -> dict[str, float]:
    """Return the headline metrics of a run, and the best baseline under the same tau rule."""
    metrics = result.metrics.set_index(["metric", "tau_rule"])
    known = metrics.loc[("gt_known_loc_acc", "val")]
    error = result.metrics.set_index("metric").loc["top1_cls_err"]
    baselines = result.baselines.query("metric == 'gt_known_loc_acc' and tau_rule == 'val'")
    best = baselines.loc[baselines["value"].idxmax()]
    return {
        "n": int(known["n"]),
        "top1_cls_err": error["value"],
        "cls_low": error["ci_low"],
        "cls_high": error["ci_high"],
        "top1_loc_err": metrics.loc[("top1_loc_err", "val"), "value"],
        "gt_known_loc_acc": known["value"],
        "gt_low": known["ci_low"],
        "gt_high": known["ci_high"],
        "tau": known["tau"],
        "oracle": metrics.loc[("gt_known_loc_acc", "oracle"), "value"],
        "best_baseline": best["baseline"],
        "baseline_gt_known": best["value"],
    }


def compare_with_first_model(hits: dict[tuple[str, str], np.ndarray], model: str, setting: str) -> dict[str, float]:
    """Return GT-known accuracy minus that of the first network on the same images, with its paired interval."""
    first = hits[next(iter(MODELS)), setting] if (next(iter(MODELS)), setting) in hits else hits[model, setting]
    difference = (hits[model, setting].astype(float) - first)[:, None]
    low, high = intervals(100 * resampled_means(difference))[:, 0]
    return {"to_vgg16_gap": 100 * difference.mean(), "to_low": low, "to_high": high}


if __name__ == "__main__":
    main()
