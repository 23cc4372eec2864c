"""Evaluate a live network on a few images without intervals, and compare with a bare loop over the same files.

Run: python benchmarks/few_images.py --weights FILE --data-root DIR [--images N] [--rounds N]

``FILE`` are weights of torchvision's SqueezeNet 1.0, ``DIR`` is ILSVRC in Kaggle's layout. The bare loop decodes and
resizes the images and runs the same network in batches of the same size and on the same number of threads. Both
alternate, after a first call of each, which is printed too. The evaluation may take 1.2 times the loop and one second
more.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torchvision.models import SqueezeNet1_0_Weights, squeezenet1_0

import wsol
from wsol.datasets import Dataset, load_dataset

FACTOR, MORE = 1.2, 1.0  # limit: times the loop, and seconds more
BATCH = 32


def main() -> int:
    """Run the benchmark and return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--images", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    images = load_dataset("ilsvrc", given.data_root)
    images = images.subset(range(given.images))
    network = squeezenet1_0()
    network.load_state_dict(load_file(given.weights))
    preprocessing = SqueezeNet1_0_Weights.IMAGENET1K_V1.transforms()

    def evaluate() -> None:
        wsol.evaluate(network, preprocessing=preprocessing, dataset=images, batch_size=BATCH, bootstrap=0)

    first = measure(lambda: run_bare(network, images)), measure(evaluate)
    print(f"{len(images)} images; first call: bare {first[0][0]:.2f} s, evaluation {first[1][0]:.2f} s", flush=True)
    left = []
    for number in range(1, given.rounds + 1):
        (bare, bare_cpu), (ours, ours_cpu) = measure(lambda: run_bare(network, images)), measure(evaluate)
        left.append(FACTOR * bare + MORE - ours)
        print(
            f"round {number}: bare {bare:.2f} s ({bare_cpu:.2f} s of processors), evaluation {ours:.2f} s "
            f"({ours_cpu:.2f} s): {ours - FACTOR * bare:+.2f} s beyond {FACTOR} times the loop",
            flush=True,
        )
    median = MORE - statistics.median(left)
    print(f"median {median:+.2f} s (limit {MORE:+.2f} s)")
    return int(median > MORE)


def run_bare(network: torch.nn.Module, images: Dataset) -> None:
    """Decode, resize and normalize the images, and run the network."""
    training = network.training
    network.eval()
    mean, std = (torch.tensor(each)[:, None, None] for each in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    samples = images.samples
    with torch.inference_mode():
        for start in range(0, len(samples), BATCH):
            pixels = []
            for sample in samples[start : start + BATCH]:
                assert sample.path is not None
                with Image.open(sample.path) as file:
                    square = file.convert("RGB").resize((224, 224), Image.Resampling.BILINEAR)
                pixels.append(np.asarray(square))
            batch = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float() / 255
            network((batch - mean) / std)
    network.train(training)


def measure(function: Callable[[], None]) -> tuple[float, float]:
    """Return the seconds, and the processor seconds, of one call."""
    start, processor = time.perf_counter(), time.process_time()
    function()
    return time.perf_counter() - start, time.process_time() - processor


if __name__ == "__main__":
    sys.exit(main())
