"""Evaluate all methods on 270 images of ImageNet with two networks, and compare them pair by pair.

    python benchmarks/methods_study.py --weights FILE --data-root DIR --work DIR [squeezenet efficientnet]

``FILE`` holds torchvision's weights of SqueezeNet 1.0; those of EfficientNet-Lite0 come from the package index, see
``benchmarks/efficientnet_lite0.py``. The methods are those of the registry that apply to the network and its layer, and
the variants below. Methods of many forward passes have tables of their own, on every ninth image, some with fewer
samples than in their papers. The run folders stay in ``--work``: a finished run is read back, an unfinished one goes
on. Writes a CSV file per table, the tables in ``README.md`` and its picture.
"""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pandas as pd
from _methods_report import METRICS, write_report

import wsol
from wsol.datasets import Dataset, load_dataset
from wsol.io.paths import file_name
from wsol.methods import METHODS, find_method
from wsol.methods.base import unsupported_reason
from wsol.models import Model, load_model

SLOW = {  # on fewer images, with these settings
    "integrated-gradients": "integrated-gradients:steps=20",
    "occlusion": "occlusion",
    "rise": "rise:masks=500",
    "scorecam": "scorecam",
    "is-cam": "is-cam:samples=2",
    "ss-cam": "ss-cam:samples=2",
}
FEWER = 9  # every ninth image
NO_LAYER = {  # their maps do not depend on the target layer
    *("backprop", "fullgrad", "guided-backprop", "integrated-gradients", "occlusion", "rise"),
}
VARIANTS = (  # in the tables of the earlier layer
    *("gradcam:aug_smooth=true", "gradcam:eigen_smooth=true", "layercam:target=finer", "fem:binary=false"),
    "eigencam:centered=true",
)
FUSED = ("layercam:fusion=mean", "layercam:fusion=product")  # of the earlier and the pooled layer


@dataclass(frozen=True)
class Network:
    """A network, and an earlier layer than the pooled one.

    Attributes:
        name: Prefix of the tables.
        model: Name for ``--model``.
        earlier: Name of the earlier layer.
        has_file: Whether the weights are in a file, rather than in the network's own package.
    """

    name: str
    model: str
    earlier: str
    has_file: bool


NETWORKS = (
    Network("squeezenet", "squeezenet1_0", "features.12", True),
    Network("efficientnet", f"{Path(__file__).parent / 'efficientnet_lite0.py'}:make", "_blocks.15", False),
)


@dataclass(frozen=True)
class Row:
    """A run: a method at a layer, None for the pooled one."""

    method: str
    layer: str | None


def table_rows(load: "Loader", network: Network) -> Iterator[tuple[str, list[Row]]]:
    """Yield the tables of a network, CAM first in each, as its paper's layer is that of the reference."""
    cam = Row("cam", None)
    pooled, earlier = (load.applicable(network, layer) for layer in (None, network.earlier))
    fast = [Row(name, None) for name in pooled if name not in SLOW and name != "cam"]
    yield "pooled", [cam, *fast]
    texts = [*(name for name in earlier if name not in {*SLOW, *NO_LAYER, "cam"}), *VARIANTS]
    both = f"{network.earlier},{load.model(network, None).network.layer}"
    yield "earlier", [cam, *(Row(text, both) for text in FUSED), *(Row(text, network.earlier) for text in texts)]
    slow = [Row(text, None if name in NO_LAYER else network.earlier) for name, text in SLOW.items() if name in earlier]
    yield "slow", [cam, Row("gradcam", network.earlier), *slow]


class Loader:
    """Models of the study, each loaded once.

    Args:
        weights: Weights file of the networks that have one.
    """

    def __init__(self, weights: Path) -> None:
        self._weights = weights
        self.model = cache(self._load)

    def _load(self, network: Network, layer: str | None) -> Model:
        return load_model(network.model, self._weights if network.has_file else None, layer=layer)

    def applicable(self, network: Network, layer: str | None) -> list[str]:
        """Return the registered methods that apply to the network at a layer."""
        model = self.model(network, layer)
        methods = ((name, METHODS.get(name)) for name in METHODS.names())
        return [name for name, method in methods if unsupported_reason(method, model.network, model.classes) is None]


def evaluate_row(load: Loader, network: Network, row: Row, images: Dataset, work: Path) -> Path:
    """Evaluate a row, unless that was done before, and return its run folder."""
    find_method(row.method)  # before a folder is named after it
    model = load.model(network, row.layer)
    folder = work / file_name(network.name, str(len(images)), row.layer or "pooled") / file_name(row.method)
    folder.parent.mkdir(parents=True, exist_ok=True)
    wsol.evaluate(model, dataset=images, method=row.method, out=folder, resume=True, batch_size=16)
    return folder


def compare_rows(rows: list[Row], models: list[Model], folders: list[Path]) -> pd.DataFrame:
    """Compare the runs of a table pair by pair, and return one line per run and metric.

    ``difference`` is that to the first run, with its interval and p-values, see ``wsol.metrics.significance``;
    ``rank`` is 1 plus the number of significantly better runs.
    """
    comparison = wsol.compare(folders)
    runs, lines = comparison.runs, []
    for metric, rule in METRICS.items():
        of_metric = comparison.metrics[comparison.metrics["metric"] == metric]
        pairs = comparison.differences[comparison.differences["metric"] == metric]
        if rule:
            of_metric, pairs = of_metric[of_metric["tau_rule"] == rule], pairs[pairs["tau_rule"] == rule]
        values = of_metric.set_index("run")
        to_first = pairs[pairs["run"] == runs["run"][0]].set_index("other")
        for row, model, run in zip(rows, models, runs.itertuples(), strict=True):
            value = values.loc[run.run]
            layer = "" if row.method.partition(":")[0] in NO_LAYER else model.network.layer
            line = {"method": row.method, "layer": layer, "images": len(comparison.images)}
            line |= {"metric": metric, "tau_rule": rule, "tau": value["tau"], "value": value["value"]}
            line |= {"ci_low": value["ci_low"], "ci_high": value["ci_high"]}
            if run.run in to_first.index:  # the first minus this one
                gap = to_first.loc[run.run]
                line |= {"difference": -gap["difference"], "difference_low": -gap["ci_high"]}
                line |= {"difference_high": -gap["ci_low"], "p": gap["p"], "p_corrected": gap["p_corrected"]}
            lines.append(line | {"rank": value["rank"], "signature": run.signature})
    return pd.DataFrame(lines)


def main() -> int:
    """Compute what is missing, and write tables, page and picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [network.name for network in NETWORKS]
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help=f"of {', '.join(names)} (default: all)")
    parser.add_argument("--weights", type=Path, required=True, help="weights file of SqueezeNet")
    parser.add_argument("--data-root", type=Path, required=True, help="folder of the images")
    parser.add_argument("--work", type=Path, required=True, help="folder of the run folders")
    parser.add_argument("--out", type=Path, default=Path("results/methods"), help="folder of the tables")
    options = parser.parse_args()
    if unknown := {*options.networks} - {*names}:
        parser.error(f"there is no network {', '.join(unknown)}; give {' or '.join(names)}")
    images, load = load_dataset("ilsvrc", options.data_root), Loader(options.weights)
    options.out.mkdir(parents=True, exist_ok=True)
    chosen = [network for network in NETWORKS if network.name in (options.networks or names)]
    tables = [(network, *table) for network in chosen for table in table_rows(load, network)]
    for network, table, rows in sorted(tables, key=lambda each: each[1] == "slow"):
        shown = images.limit(len(images) // FEWER) if table == "slow" else images
        folders = [evaluate_row(load, network, row, shown, options.work) for row in rows]
        models = [load.model(network, row.layer) for row in rows]
        path = options.out / f"{network.name}-{table}.csv"
        compare_rows(rows, models, folders).to_csv(path, index=False, float_format="%.4f")
        write_report(options.out)
        print(f"{path}: {len(rows)} methods on {len(shown)} images", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
