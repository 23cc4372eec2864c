"""What 50,000 images would take on eight GPUs, on paper: each station as measured here, divided by who works on it.

    python benchmarks/eight_gpus.py [--gpus 8] [--cores 64] [--forward 2500] [--images 50000]

Decoding, the sweep over thresholds with the thumbnail, and keeping a batch are timed in one thread here and divided by
the cores or processes; the forward pass is what you say a GPU does in a second. Merging and metrics are what the first
process does when the others have ended: whole evaluations of made-up images, few and many, with one thread and with
two, say how much of that is done in turn and how much is divided among threads.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
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


def each(work: Callable[[], object], n: int) -> float:
    """Return the seconds for one of ``n`` images, the better of two rounds."""
    taken = []
    for _ in range(2):
        begun = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begun)
    return min(taken) / n


def decoding(folder: Path, pool: ThreadPoolExecutor) -> float:
    """Return the seconds for a photo of 500 x 375, decoded and squashed."""
    images = load_dataset("synthetic", dataset_args={"images": "24"})
    samples = []
    for i, sample in enumerate(images.samples[:24]):
        assert sample.render is not None
        path = folder / f"{i}.jpg"
        Image.fromarray(sample.render()).resize((500, 375), Image.Resampling.BICUBIC).save(path, quality=90)
        samples.append(Sample(str(i), 0, as_boxes([[0, 0, 9, 9]]), "edges", path))
    return each(lambda: [*read_batches(samples, 224, 8, pool, False)], len(samples))


def sweeping() -> float:
    """Return the seconds for a map at 1,000 thresholds, V1 and V2, and the thumbnail."""
    rng = np.random.default_rng(0)
    maps = bicubic(rng.random((24, 4, 4), np.float32), (14, 14))
    pixels = rng.integers(0, 256, (28, 28, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    truth = ground_truth_of(_PROTOCOL, Sample("x", 0, as_boxes([[40, 50, 300, 260]]), "edges"), (500, 375))

    def work() -> None:
        for score_map in maps:
            truth.score_map_stats(_PROTOCOL, _PROTOCOL.prepare(score_map[None], truth.size)[0])
            encode_thumbnail(pixels)

    return each(work, len(maps))


def keeping(folder: Path) -> float:
    """Return the seconds for an image's share of a batch of 32 that is kept, on the disk for good."""
    arrays = {"curves": np.zeros((32, 2000), np.float32), "maps": np.zeros((32, 6, 14, 14), np.float32)}
    arrays["thumbnails"] = np.zeros(32 * 9000, np.uint8)
    open_or_resume(folder, {"run": 20}, {"request": "a|b|c|d|e|f"}, False)
    parts = BatchStore(folder, "run", 20)
    return each(lambda: [parts.write(i, StoredBatch(arrays, {})) for i in range(20)], 20 * 32)


def finishing(folder: Path, n: int, workers: int) -> np.ndarray:
    """Return the seconds from the last batch to the tables, and for the tables, of ``n`` images."""

    def drawn(i: int) -> Callable[[], np.ndarray]:
        return lambda: np.random.default_rng(i).integers(0, 256, (32, 32, 3), np.uint8)

    samples = (
        Sample(f"{i:06d}", i % 7, as_boxes([[3, 4, 20, 25]]), "edges", size=(32, 32), render=drawn(i)) for i in range(n)
    )
    images = Dataset("many", "test", tuple(samples), tuple("abcdefg"))
    network = find_gap(build().eval(), "small")
    model = Model("small", network, Preprocessing(), "random", "0" * 64, 7)
    out = folder / f"run-{n}-{workers}"
    wsol.evaluate(model, dataset=images, device="cpu", workers=workers, out=out)
    seconds = json.loads((out / "run.json").read_text())["seconds"]
    return np.array([seconds["files"], seconds["metrics"]])


def main() -> int:
    """Print the stations, on this machine and on paper."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpus", type=int, default=8)
    parser.add_argument("--cores", type=int, default=64)
    parser.add_argument("--forward", type=float, default=2500)
    parser.add_argument("--images", type=int, default=50_000)
    options = parser.parse_args()
    n, cores = options.images, options.cores
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(1) as pool:
        folder = Path(name)
        decode, sweep, keep = decoding(folder, pool), sweeping(), keeping(folder / "kept")
        few, many = 1000, 3000
        one, two = ((finishing(folder, many, w) - finishing(folder, few, w)) / (many - few) for w in (1, 2))
    alone = np.maximum(2 * two - one, 0)  # seconds are a + b / threads
    divided = (one - alone) / cores
    print(f"{n} images, {options.gpus} GPUs of {options.forward:g} images a second each, {cores} cores")
    print(f"{'station':42s} {'ms an image here':>16s} {'seconds on paper':>17s}")
    rows = [
        ("decode and squash", decode, decode * n / cores),
        ("forward and maps", 1 / options.forward, n / options.forward / options.gpus),
        ("sweep over 1,000 thresholds, thumbnail", sweep, sweep * n / cores),
        ("keep the batch (fsync)", keep, keep * n / options.gpus),
    ]
    for title, once, whole in rows:
        print(f"{title:42s} {1000 * once:16.3f} {whole:17.1f}")
    shared = (decode + sweep) * n / cores
    print(f"{'together, cores and GPUs at the same time':42s} {'':16s} {max(shared, rows[1][2], rows[3][2]):17.1f}")
    for title, here, serial, threaded in zip(("merge", "metrics"), one, alone, divided, strict=True):
        where = f"{title}, by the first process"
        print(
            f"{where:42s} {1000 * here:16.3f} {(serial + threaded) * n:17.1f}   ({1000 * serial:.3f} ms of it in turn)"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
