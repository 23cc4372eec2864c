"""Compare the time of a whole evaluation with that of the bare forward pass over the same files.

    python benchmarks/pipeline.py --weights FILE --data-root DIR [--model squeezenet1_0] [--dataset ilsvrc]

Both sides use the same image files, the same loaded network and the same batch size, and run alternately, so that a
drift in the speed of the machine affects both. The bare loop decodes, resizes, normalizes and runs the network, without
reading ahead; the evaluation does everything that ``python -m wsol.eval`` does after loading: decoding, forward pass,
maps, boxes at 1,000 thresholds, metrics, files. The limit applies to the median ratio.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import wsol
from wsol.datasets import Dataset, load_dataset
from wsol.models import Model, load_model

LIMIT = 1.25


def run_network(model: Model, images: Dataset, batch_size: int) -> None:
    """Decode, resize and normalize the images and run the network, nothing else."""
    mean, std = (torch.tensor(v)[:, None, None] for v in (model.preprocessing.mean, model.preprocessing.std))
    paths = [sample.path for sample in images]
    with torch.inference_mode():
        for start in range(0, len(paths), batch_size):
            pixels = []
            for path in paths[start : start + batch_size]:
                with Image.open(path) as file:
                    pixels.append(np.asarray(file.convert("RGB").resize((224, 224), Image.Resampling.BILINEAR)))
            batch = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float().div_(255).sub_(mean).div_(std)
            model.network(batch)


def evaluate(model: Model, images: Dataset, batch_size: int) -> None:
    """Run a whole evaluation into a folder that is removed."""
    with tempfile.TemporaryDirectory() as folder:
        wsol.evaluate(model, dataset=images, batch_size=batch_size, device="cpu", out=Path(folder) / "run")


def main() -> int:
    """Time both sides alternately and print the ratio; return 1 if it exceeds the limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True, help="weights file")
    parser.add_argument("--data-root", type=Path, required=True, help="folder of the data set")
    parser.add_argument("--model", default="squeezenet1_0", help="registered name (default: %(default)s)")
    parser.add_argument("--dataset", default="ilsvrc", help="registered name (default: %(default)s)")
    parser.add_argument("--limit", type=int, help="use at most this many images, evenly spaced")
    parser.add_argument("--batch-size", type=int, default=32, help="images per batch (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each side (default: %(default)s)")
    options = parser.parse_args()
    model = load_model(options.model, options.weights)
    images = load_dataset(options.dataset, options.data_root)
    images = images.limit(options.limit or len(images))
    evaluate(model, images, options.batch_size)  # compiles what Numba has not cached, and fills the file cache
    ratios = []
    print(f"{len(images)} images, {torch.get_num_threads()} threads, batches of {options.batch_size}")
    for i in range(options.rounds):
        seconds = []
        for side in (run_network, evaluate):
            start = time.perf_counter()
            side(model, images, options.batch_size)
            seconds.append(time.perf_counter() - start)
        ratios.append(seconds[1] / seconds[0])
        ms = [1000 * s / len(images) for s in seconds]
        print(f"round {i + 1}: bare {ms[0]:.1f} ms, evaluation {ms[1]:.1f} ms per image, ratio {ratios[-1]:.3f}")
    median = statistics.median(ratios)
    print(f"median ratio {median:.3f} (limit {LIMIT}), {min(ratios):.3f} to {max(ratios):.3f}")
    return int(median > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
