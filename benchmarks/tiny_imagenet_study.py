"""Train ResNet18-GAP on Tiny ImageNet by several training methods, evaluate and compare them.

    python benchmarks/tiny_imagenet_study.py --data-root tiny-imagenet-200.zip --work DIR [--classes 20] [--epochs 10]
        [--batch-size 32] [--methods cam has ...] [--seeds 3] [--device cuda] [--threads 2]

Images of 64 x 64 pixels, maps of 8 x 8, random initial weights. Each method is trained with seed 0 first; CAM and the
two others with the highest MaxBoxAccV2 on val are then trained with further seeds. The threshold is chosen on val, and
nothing on test. Boxes that ignore the image are entries like the methods.

The same command again continues where it was killed: ``--work`` keeps trainings and runs, and finished ones are read
back. It refuses another budget there. Writes the tables of the budget below ``--out``, and the page of all budgets;
see ``_tiny_imagenet_tables.py`` and ``_tiny_imagenet_report.py``.
"""

import argparse
import csv
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from _tiny_imagenet_report import write_report
from _tiny_imagenet_tables import BASELINES, FIRST, SPEEDS, Runs, run_name, val_accuracy, write_tables

import wsol
from wsol.datasets import load_dataset
from wsol.runs.read import read_run
from wsol.runtime.threads import processor_count
from wsol.training import Recipe, Stage
from wsol.training.methods import find_train_method

METHODS = (FIRST, "has", "cutmix", "acol", "adl", "spg")
MODEL, DATASET, IMAGE_SIZE = "resnet18-gap", "tiny-imagenet", 64
MAP_SIZE = 28  # of images of 224 x 224: 8 x 8 here
RETRAINED = 2  # methods besides CAM that are trained with all seeds


@dataclass(frozen=True)
class Study:
    """The trainings and runs of one budget.

    Attributes:
        work: Folder of trainings and runs.
        data: Arguments that name the images, as of ``wsol.evaluate``.
        images: Number of training images.
        stage: The only stage of each training.
        learning_rate: Peak learning rate for batches of 32.
        device: The device.
        threads: Threads of torch, and worker processes.
    """

    work: Path
    data: Mapping[str, Any]
    images: int
    stage: Stage
    learning_rate: float
    device: str
    threads: int

    def run(self, method: str, seed: int) -> Path:
        """Train by a method and evaluate, as far as that was not done before, and return the run folder."""
        weights = self._train(method, seed)
        folder = self.work / "runs" / run_name(method, seed)
        wsol.evaluate(
            weights=weights,
            method=find_train_method(method).map_method,
            tau="val",
            out=folder,
            resume=True,
            device=self.device,
            batch_size=self.stage.batch_size,
            workers=self.threads,
            **self.data,
        )
        return folder

    def score(self, baseline: str) -> Path:
        """Evaluate boxes that ignore the image, unless that was done before, and return the run folder."""
        folder = self.work / "runs" / baseline
        if not (folder / "run.json").is_file():
            protocol = f"wsolevaluation:size={IMAGE_SIZE}"  # that of the networks
            wsol.score(baseline=baseline, protocol=protocol, tau="val", out=folder, **self.data)
        return folder

    def _train(self, method: str, seed: int) -> Path | None:
        """Train a network, or resume its training, and log the speed of this call; a finished one is only checked."""
        folder = self.work / "train" / run_name(method, seed)
        before, start, processor = count_epochs(folder), time.perf_counter(), time.process_time()
        print(f"{folder.name}: {before} of {self.stage.epochs} epochs are trained", flush=True)
        path = wsol.train(
            MODEL,
            recipe=Recipe((self.stage,), self.learning_rate, seed=seed),
            map_size=MAP_SIZE,
            device=self.device,
            workers=self.threads,
            train_method=method,
            out=folder,
            **self.data,
        )
        if epochs := count_epochs(folder) - before:
            row = {"method": method, "seed": seed, "images": epochs * self.images}
            row |= {"seconds": round(time.perf_counter() - start, 1)}
            row |= {"processor_seconds": round(time.process_time() - processor, 1), "threads": self.threads}
            log_speed(self.work / SPEEDS, row)
        return path


def count_epochs(folder: Path) -> int:
    """Return the number of epochs in the log of a training."""
    path = folder / "log.csv"
    return len(path.read_text(encoding="utf-8").splitlines()) - 1 if path.is_file() else 0


def log_speed(path: Path, row: Mapping[str, object]) -> None:
    """Append what a call trained, and the time that it took with start and validation."""
    new = not path.is_file()
    with path.open("a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, row, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(row)


def choose_best(runs: Runs) -> list[str]:
    """Return the methods besides CAM with the highest MaxBoxAccV2 on val, at its best taus there, with seed 0."""
    values = {method: val_accuracy(read_run(folder)) for (method, _), folder in runs.items()}
    others = sorted(set(values) - {FIRST}, key=lambda method: -values[method])
    return others[:RETRAINED]


def main() -> int:
    """Train and evaluate what is missing, and write tables, page and picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=Path, required=True, help="folder or zip archive of the images")
    parser.add_argument("--work", type=Path, required=True, help="folder of trainings and runs")
    parser.add_argument("--classes", type=int, default=20, help="classes, evenly spaced (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=10, help="epochs of each training (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=32, help="images per step (default: %(default)s)")
    parser.add_argument("--learning-rate", type=float, default=0.015, help="per 32 images (default: %(default)s)")
    parser.add_argument(
        "--methods",
        nargs="+",
        default=METHODS,
        metavar="NAME",
        help=f"with settings, as in wsol.train (default: {' '.join(METHODS)})",
    )
    parser.add_argument("--seeds", type=int, default=3, help="seeds of CAM and the best two (default: %(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=processor_count(), help="default: one per processor")
    parser.add_argument("--out", type=Path, default=Path("results/tiny-imagenet"), help="default: %(default)s")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    arguments = {"classes": str(options.classes)}
    data = {"dataset": DATASET, "data_root": options.data_root, "dataset_args": arguments}
    images = len(load_dataset(DATASET, options.data_root, "train", arguments))
    stage = Stage(options.epochs, IMAGE_SIZE, options.batch_size)
    study = Study(options.work, data, images, stage, options.learning_rate, options.device, options.threads)
    out = options.out / f"{options.classes}-classes"
    methods = [*dict.fromkeys([FIRST, *options.methods])]
    for method in methods:
        find_train_method(method)  # an unknown one is named before hours of training
    baselines = {name: study.score(name) for name in BASELINES}
    runs = {(method, 0): study.run(method, 0) for method in methods}
    if options.seeds > 1:
        write_tables(runs, baselines, options.work, out)  # hours before the others are trained
    retrained = (FIRST, *choose_best(runs))
    runs |= {(method, seed): study.run(method, seed) for seed in range(1, options.seeds) for method in retrained}
    write_tables(runs, baselines, options.work, out)
    write_report(options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
