"""Estimate the time of 50,000 images on eight GPUs: each stage as measured here, divided among cores and GPUs.

    python benchmarks/eight_gpus.py [--gpus 8] [--cores 64] [--forward 2500] [--images 50000]

Decoding, the sweep over thresholds with the thumbnail, and storing a batch are timed here in one thread and divided by
the number of cores or processes; the rate of the forward pass is given. Merging and metrics are computed by the first
process after the others have finished: whole evaluations of few and of many generated images, with one thread and with
two, show how much of that is serial and how much is divided among threads.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from _small_net import build
from PIL import Image

import wsol
from wsol.boxes.resize import bicubic
from wsol.datasets import Dataset, Sample, load_dataset, read_batches
from wsol.datasets.base import as_boxes
from wsol.models import Model, Preprocessing, find_gap
from wsol.protocols import find_protocol
from wsol.protocols.base import ground_truth_of
from wsol.runs.batches import BatchStore, StoredBatch, open_or_resume
from wsol.runs.thumbnails import encode_thumbnail

_PROTOCOL = find_protocol("wsolevaluation")


def time_per_image(work: Callable[[], object], n: int) -> float:
    """Return the seconds per image of work on ``n`` images, the better of two rounds."""
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds) / n


def measure_decoding(folder: Path) -> float:
    """Return the seconds per photo of 500 x 375 for decoding and resizing."""
    images = load_dataset("synthetic", dataset_args={"images": "24"})
    samples = []
    for i, sample in enumerate(images.samples):
        assert sample.render is not None
        path = folder / f"{i}.jpg"
        Image.fromarray(sample.render()).resize((500, 375), Image.Resampling.BICUBIC).save(path, quality=90)
        samples.append(Sample(str(i), 0, as_boxes([[0, 0, 9, 9]]), "edges", path))
    return time_per_image(lambda: [*read_batches(samples, 224, 8, 1, False)], len(samples))


def measure_sweep() -> float:
    """Return the seconds per map for IoUs at 1,000 thresholds, V1 and V2, and the thumbnail."""
    rng = np.random.default_rng(0)
    maps = bicubic(rng.random((24, 4, 4), np.float32), (14, 14))
    pixels = rng.integers(0, 256, (28, 28, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    truth = ground_truth_of(_PROTOCOL, Sample("x", 0, as_boxes([[40, 50, 300, 260]]), "edges"), (500, 375))

    def work() -> None:
        for score_map in maps:
            truth.score_map_stats(_PROTOCOL, _PROTOCOL.prepare(score_map[None], truth.size)[0])
            encode_thumbnail(Image.fromarray(pixels))

    return time_per_image(work, len(maps))


def measure_storing(folder: Path) -> float:
    """Return the seconds per image for writing batches of 32 with fsync."""
    arrays = {"curves": np.zeros((32, 2000), np.float32), "maps": np.zeros((32, 6, 14, 14), np.float32)}
    thumbnails = bytes(9000)
    open_or_resume(folder, {"run": 20}, {"request": "a|b|c|d|e|f"}, False)
    store = BatchStore(folder, "run", 20)
    return time_per_image(
        lambda: [
            store.write(i, StoredBatch(arrays, {}), dict.fromkeys(range(32 * i, 32 * i + 32), thumbnails))
            for i in range(20)
        ],
        20 * 32,
    )


def measure_finishing(folder: Path, n: int, workers: int) -> np.ndarray:
    """Return the seconds for merging and for the metrics of ``n`` images."""

    def renderer(i: int) -> Callable[[], np.ndarray]:
        return lambda: np.random.default_rng(i).integers(0, 256, (32, 32, 3), np.uint8)

    samples = (
        Sample(f"{i:06d}", i % 7, as_boxes([[3, 4, 20, 25]]), "edges", size=(32, 32), render=renderer(i))
        for i in range(n)
    )
    images = Dataset("many", "test", tuple(samples), tuple("abcdefg"))
    network = find_gap(build().eval(), "small")
    model = Model("small", network, Preprocessing(), "random", "0" * 64, 7)
    evaluation = wsol.evaluate(model, dataset=images, device="cpu", workers=workers, out=folder / f"run-{n}-{workers}")
    seconds = evaluation.metadata.seconds
    return np.array([seconds["files"], seconds["metrics"]])


def main() -> int:
    """Print each stage, as measured here and as estimated."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpus", type=int, default=8, help="number of GPUs (default: %(default)s)")
    parser.add_argument("--cores", type=int, default=64, help="number of cores (default: %(default)s)")
    parser.add_argument(
        "--forward", type=float, default=2500, help="images per second of a GPU, maps included (default: %(default)s)"
    )
    parser.add_argument("--images", type=int, default=50_000, help="number of images (default: %(default)s)")
    parser.add_argument(
        "--measured",
        type=int,
        nargs=2,
        default=[1000, 3000],
        help="images that merging and metrics are measured on: few and many (default: %(default)s)",
    )
    options = parser.parse_args()
    n, cores = options.images, options.cores
    few, many = options.measured
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        decode, sweep, store = measure_decoding(folder), measure_sweep(), measure_storing(folder / "stored")
        one, two = (
            (measure_finishing(folder, many, workers) - measure_finishing(folder, few, workers)) / (many - few)
            for workers in (1, 2)
        )
    serial = np.maximum(2 * two - one, 0)  # seconds are serial + parallel / threads
    threaded = (one - serial) / cores
    print(f"{n} images, {options.gpus} GPUs of {options.forward:g} images per second each, {cores} cores")
    print(f"{'stage':42s} {'ms per image here':>17s} {'estimated seconds':>17s}")
    rows = [
        ("decode and resize", decode, decode * n / cores),
        ("forward pass and maps", 1 / options.forward, n / options.forward / options.gpus),
        ("sweep over 1,000 thresholds, thumbnail", sweep, sweep * n / cores),
        ("store the batch (fsync)", store, store * n / options.gpus),
    ]
    for title, here, estimate in rows:
        print(f"{title:42s} {1000 * here:17.3f} {estimate:17.1f}")
    on_cores = (decode + sweep) * n / cores
    print(f"{'together, cores and GPUs at the same time':42s} {'':17s} {max(on_cores, rows[1][2], rows[3][2]):17.1f}")
    for title, here, alone, shared in zip(("merge", "metrics"), one, serial, threaded, strict=True):
        where = f"{title}, by the first process"
        print(f"{where:42s} {1000 * here:17.3f} {(alone + shared) * n:17.1f}   ({1000 * alone:.3f} ms of it serial)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
