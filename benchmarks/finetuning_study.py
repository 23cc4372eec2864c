"""Fine-tune two ImageNet networks on parts of CUB and Oxford-IIIT Pet, frozen and whole, and compare them.

    OMP_NUM_THREADS=1 python benchmarks/finetuning_study.py --data-root DIR --weights FILE --work DIR [cub oxford-pets]

``DIR`` of the data has the folders ``CUB_200_2011`` and ``oxford-iiit-pet``, whole or in part; ``FILE`` holds
torchvision's weights of SqueezeNet 1.0; those of EfficientNet-Lite0 come from the package index, see
``benchmarks/efficientnet_lite0.py``. Weights and run folders stay in ``--work``: a finished training or run is read
back, an unfinished one goes on. Writes the tables, the page and the picture of ``results/finetuning``.
"""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import pandas as pd
import torch
from _finetuning_report import METRICS, write_report
from _finetuning_tables import choose_tau_again, count_images, nearest_neighbor_errors, summarize_seeds
from numpy.typing import NDArray

import wsol
from wsol.datasets import Dataset, load_dataset
from wsol.datasets._images import read_batches
from wsol.methods import find_method
from wsol.methods.base import forward
from wsol.models import Model, load_model
from wsol.runs.read import read_run
from wsol.training import Recipe, Stage

SEEDS = (0, 1, 2)
SIDE, BATCH = 224, 8
PAIR = ["row", "other", "metric", "tau_rule"]
FOLDERS = {"cub": "CUB_200_2011", "oxford-pets": "oxford-iiit-pet"}
BASELINES = ("center-gaussian", "center-box", "full-image")
UNTRAINED = "imagenet"  # the network as it comes, with the map of the ImageNet class that it predicts


@dataclass(frozen=True)
class Network:
    """A network with ImageNet weights.

    Attributes:
        name: Name in the tables.
        model: Name for ``--model`` in the training.
        imagenet: Name for ``--model`` of the network that still has ImageNet's classes.
        has_file: Whether the weights are in a file, rather than in the network's own package.
        learning_rate: Rate at which all of its layers are trained.
        epochs: Epochs of that, by data set.
    """

    name: str
    model: str
    imagenet: str
    has_file: bool
    learning_rate: float
    epochs: dict[str, int]

    def recipe(self, data: str, training: str, seed: int) -> Recipe:
        """Return the recipe of a training: a new linear layer learns alike on all features, as they are standardized.

        Args:
            data: Data set.
            training: One of ``TRAININGS``.
            seed: Seed of the recipe.
        """
        if training == "frozen":
            return Recipe((Stage(20, SIDE, BATCH),), learning_rate=0.015, seed=seed)
        return Recipe((Stage(self.epochs[data], SIDE, BATCH),), learning_rate=self.learning_rate, seed=seed)


_OWN = f"{Path(__file__).parent / 'efficientnet_finetuned.py'}:make"
NETWORKS = (
    Network("squeezenet", "squeezenet1_0-gap", "squeezenet1_0", True, 0.015, {"cub": 12, "oxford-pets": 20}),
    Network("efficientnet", _OWN, _OWN, False, 0.06, {"cub": 4, "oxford-pets": 12}),
)
TRAININGS = {"frozen": "features", "whole": None}  # with the option --freeze


@dataclass(frozen=True)
class Study:
    """The data, weights and folders of the study.

    Attributes:
        data_root: Folder of the two data sets.
        weights: Weights file of SqueezeNet.
        work: Folder of trainings and runs.
    """

    data_root: Path
    weights: Path
    work: Path

    def images(self, data: str, split: str) -> Dataset:
        """Return a split of a data set."""
        return load_dataset(data, self.data_root / FOLDERS[data], split)

    def run_folder(self, data: str, *name: object) -> Path:
        """Return the folder of a run; the folder above holds all runs that are compared."""
        folder = self.work / "runs" / data / "-".join(map(str, name))
        folder.parent.mkdir(parents=True, exist_ok=True)
        return folder

    def train(self, data: str, network: Network, training: str, seed: int) -> Path:
        """Fine-tune a network, unless that was done before, and return its weights file."""
        folder = self.work / "trainings" / data / f"{network.name}-{training}-{seed}"
        if found := [path for path in folder.glob("*.safetensors") if path.name != "state.safetensors"]:
            return found[0]
        weights = self.weights if network.has_file else None
        arguments = {"weights": weights, "freeze": TRAININGS[training], "precision": "float32", "workers": 1}
        recipe, root = network.recipe(data, training, seed), self.data_root / FOLDERS[data]
        path = wsol.train(network.model, data, recipe, data_root=root, device="cpu", out=folder, **arguments)
        assert path is not None  # only if it is told to stop
        return path

    def evaluate(self, data: str, network: Network, training: str, seed: int) -> Path:
        """Fine-tune and evaluate a network, unless that was done before, and return the run folder."""
        folder = self.run_folder(data, network.name, training, seed)
        weights = self.train(data, network, training, seed)
        options = {"data_root": self.data_root / FOLDERS[data], "tau": "val", "device": "cpu", "resume": True}
        wsol.evaluate(network.model, weights, dataset=data, batch_size=BATCH, workers=1, out=folder, **options)
        return folder

    def evaluate_untrained(self, data: str, network: Network) -> Path:
        """Score the maps of the ImageNet network, unless that was done before, and return the run folder."""
        folder = self.run_folder(data, network.name, UNTRAINED)
        if not (folder / "run.json").is_file():
            model = load_model(network.imagenet, self.weights if network.has_file else None)
            maps, val_maps = (dict(predicted_maps(model, self.images(data, split))) for split in ("test", "val"))
            options = {"data_root": self.data_root / FOLDERS[data], "tau": "val"}
            wsol.score(maps=maps, val_maps=val_maps, raw=True, dataset=data, out=folder, **options)
        return folder

    def evaluate_baseline(self, data: str, baseline: str) -> Path:
        """Score a baseline, unless that was done before, and return the run folder."""
        folder = self.run_folder(data, baseline)
        if not (folder / "run.json").is_file():
            options = {"data_root": self.data_root / FOLDERS[data], "tau": "val"}
            wsol.score(baseline=baseline, dataset=data, out=folder, **options)
        return folder


def predicted_maps(model: Model, images: Dataset) -> Iterator[tuple[str, NDArray]]:
    """Yield the id of each image and its CAM of the class that the network predicts, ``(h, w)``."""
    cam = find_method("cam")
    for batch in read_batches(images.samples, SIDE, BATCH, 1, skip_bad=False):
        passed = forward(model.network, model.preprocessing.normalize(batch.pixels, torch.device("cpu")))
        maps = cam.maps(passed, passed.logits.topk(1).indices)[:, 0].numpy()
        yield from zip((images.samples[i].image_id for i in batch.indices), maps, strict=True)


def run_study(study: Study, data: str) -> dict[str, pd.DataFrame]:
    """Compute what is missing for a data set, and return its tables by name."""
    fixed = {name: [study.evaluate_baseline(data, name)] for name in BASELINES}
    for network in NETWORKS:
        fixed[f"{network.name}-{UNTRAINED}"] = [study.evaluate_untrained(data, network)]
    trained: dict[str, list[Path]] = {}
    for training, network in product(TRAININGS, NETWORKS):
        row = trained.setdefault(f"{network.name}-{training}", [])
        for seed in SEEDS:
            row.append(study.evaluate(data, network, training, seed))
            print(f"{data}: {row[-1].name}", flush=True)
    rows = trained | fixed
    leaderboard, seeds, differences = compare_rows(rows)
    tables = {
        "images": pd.DataFrame(
            [
                *count_images(study.images(data, split) for split in ("train", "val", "test")),
                *(
                    nearest_neighbor_errors(
                        load_model(network.imagenet, study.weights if network.has_file else None),
                        *(study.images(data, split) for split in ("train", "val", "test")),
                    )
                    | {"network": network.name}
                    for network in NETWORKS
                ),
            ]
        ),
        "leaderboard": leaderboard,
        "seeds": seeds,
        "differences": differences,
        "tau": pd.DataFrame([line for name, folders in rows.items() for line in describe_tau(name, folders)]),
        "errors": pd.concat([read_errors(name, folders) for name, folders in trained.items()]),
        "trainings": pd.DataFrame([line for name in trained for line in read_logs(study, data, name)]),
    }
    return {name: table.assign(data=data).set_index("data").reset_index() for name, table in tables.items()}


def compare_rows(rows: dict[str, list[Path]]) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Compare the rows of a data set pair by pair, each a group of seeds.

    Args:
        rows: Run folders of each row, one per seed, or a single one.

    Returns:
        The metrics of each run; of each row, over its seeds; and the differences of each pair of rows. Their ``width``
        is that of the paired interval over images alone, a mean over the seeds whose boxes differ.
    """
    runs = [(name, seed, read_run(folder)) for name, folders in rows.items() for seed, folder in enumerate(folders)]
    tables = [
        keep_metrics(run.tables.metrics).assign(row=name, seed=seed, signature=run.signature)
        for name, seed, run in runs
    ]
    columns = ["row", "seed", "metric", "tau_rule", "tau", "value", "ci_low", "ci_high", "signature"]
    comparison = wsol.compare(rows)
    count = len(comparison.images)
    leaderboard = pd.concat(tables)[columns].assign(images=count)
    seeds = summarize_seeds(leaderboard, keep_metrics(comparison.metrics.rename(columns={"run": "row"})))
    gaps = keep_metrics(comparison.differences.rename(columns={"run": "row"}))
    widths = pd.concat([image_widths(rows, seed) for seed in SEEDS])
    widths = widths[widths["width"] > 0].groupby(PAIR, dropna=False)["width"].mean()
    gap_columns = [*PAIR, "difference", "ci_low", "ci_high", "p", "p_corrected", "better", "width"]
    return leaderboard, seeds, gaps.merge(widths.reset_index(), how="left")[gap_columns].assign(images=count)


def image_widths(rows: dict[str, list[Path]], seed: int) -> pd.DataFrame:
    """Return the widths of the paired intervals over images of each pair of rows, with the runs of one seed."""
    gaps = wsol.compare({name: folders[min(seed, len(folders) - 1)] for name, folders in rows.items()}).differences
    gaps = keep_metrics(gaps.rename(columns={"run": "row"}))
    return gaps.assign(width=gaps["ci_high"] - gaps["ci_low"])[[*PAIR, "width"]]


def keep_metrics(table: pd.DataFrame) -> pd.DataFrame:
    """Return the lines of the metrics and rules of the study."""
    kept = [(table["metric"] == metric) & (table["tau_rule"].fillna("") == rule) for metric, rule in METRICS]
    return table[pd.concat(kept, axis=1).any(axis=1)]


def describe_tau(name: str, folders: list[Path]) -> Iterator[dict[str, object]]:
    """Yield what the choice of tau on val costs, and how uncertain it is, for each run of a row."""
    for seed, folder in enumerate(folders):
        yield {"row": name, "seed": seed} | choose_tau_again(read_run(folder))


def read_errors(name: str, folders: list[Path]) -> pd.DataFrame:
    """Return the error types of each run of a row."""
    tables = [pd.read_csv(folder / "errors.csv").assign(row=name, seed=seed) for seed, folder in enumerate(folders)]
    return pd.concat(tables)[["row", "seed", "error", "n", "share", "share_low", "share_high", "gain"]]


def read_logs(study: Study, data: str, name: str) -> Iterator[dict[str, object]]:
    """Yield the recipe and the last epoch of each training of a row."""
    network = next(each for each in NETWORKS if name.startswith(each.name))
    for seed in SEEDS:
        last = pd.read_csv(study.work / "trainings" / data / f"{name}-{seed}" / "log.csv").iloc[-1]
        recipe = network.recipe(data, name.removeprefix(f"{network.name}-"), seed)
        line = {"row": name, "seed": seed, "epochs": recipe.stages[0].epochs, "batch_size": BATCH}
        line |= {"learning_rate": recipe.learning_rate, "train_loss": last["train_loss"]}
        yield line | {"train_err": last["train_err"], "val_err": last["val_err"]}


def main() -> int:
    """Compute what is missing, and write tables, page and picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="*", metavar="DATA", help=f"of {', '.join(FOLDERS)} (default: all)")
    parser.add_argument("--data-root", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--weights", type=Path, required=True, help="weights file of SqueezeNet")
    parser.add_argument("--work", type=Path, required=True, help="folder of trainings and runs")
    parser.add_argument("--out", type=Path, default=Path("results/finetuning"), help="folder of the tables")
    options = parser.parse_args()
    if unknown := {*options.data} - {*FOLDERS}:
        parser.error(f"there is no data set {', '.join(unknown)}; give {' or '.join(FOLDERS)}")
    study = Study(options.data_root, options.weights, options.work)
    chosen = [data for data in FOLDERS if data in (options.data or FOLDERS)]
    results = [run_study(study, data) for data in chosen]
    options.out.mkdir(parents=True, exist_ok=True)
    for name in results[0]:
        tables, path = [each[name] for each in results], options.out / f"{name}.csv"
        if path.is_file():  # of data sets that are not computed again
            kept = pd.read_csv(path)
            tables.append(kept[~kept["data"].isin(chosen)])
        table = pd.concat([each for each in tables if len(each)])
        table = table.sort_values("data", key=lambda names: names.map([*FOLDERS].index), kind="stable")
        table.to_csv(path, index=False, float_format="%.4f")
    write_report(options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
