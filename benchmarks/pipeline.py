"""Compare a whole evaluation with a loop that only decodes, resizes and runs the network, and measure the host's share.

    python benchmarks/pipeline.py --weights FILE --data-root DIR [--model squeezenet1_0] [--dataset ilsvrc]
        [--device cuda] [--images N] [--only ratio host delay]

``ratio``: both sides use the same image files, the same loaded network and the same batch size, and run alternately, so
that a drift in the speed of the machine affects both. On a CPU the bare loop decodes, resizes, normalizes and runs the
network, without reading ahead. On a GPU it is torch's DataLoader with one worker per processor and pinned memory. The
evaluation does everything that ``python -m wsol.eval`` does after loading: decoding, forward pass, maps, boxes at 1,000
thresholds, metrics, files, page.

``host``: processor time per image of everything but decoding, resizing and the network, relative to decoding and
resizing, by process times of all processes; with a network that costs next to nothing. Also the *serial tail*: seconds
per image that the first process spends after the last batch, as the difference between all images and half of them;
with fewer than 4,000 images that compares processes with threads.

``delay``: how much the work of the host slows down the thread that feeds a device. The device is a stand-in: a batch is
160 small calls, then 20 ms in which no lock is held. The median time of a batch beside decoding, boxes and files is
compared with that of the same calls on an idle machine.
"""

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader

import wsol
from wsol.datasets import Dataset, Sample, load_dataset
from wsol.evaluation import evaluate as evaluation
from wsol.evaluation.batches import BatchLoop
from wsol.evaluation.config import EvalConfig
from wsol.evaluation.inference import BatchPredictions
from wsol.evaluation.plan import prepare
from wsol.models import Model, Preprocessing, find_classifier, load_model
from wsol.runs.batches import BATCHES, BatchStore
from wsol.runtime.distributed import process_group
from wsol.runtime.precision import arithmetic
from wsol.runtime.threads import processor_count
from wsol.runtime.workers import start_workers

RATIO_LIMITS = {"cpu": 1.10, "cuda": 1.5}
HOST_LIMIT, TAIL_LIMIT_MS, DELAY_LIMIT = 1.5, 0.1, 1.2
_CALLS, _DEVICE_SECONDS = 160, 0.020
_SIDE = 224


def decode(path: Path) -> NDArray[np.uint8]:
    """Decode and resize one image."""
    with Image.open(path) as file:
        return np.asarray(file.convert("RGB").resize((_SIDE, _SIDE), Image.Resampling.BILINEAR))


class Files(torch.utils.data.Dataset[Tensor]):
    """Decoded images for torch's DataLoader."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, i: int) -> Tensor:
        return torch.from_numpy(decode(self._paths[i]).copy())


def run_network(model: Model, images: Dataset, batch_size: int) -> None:
    """Decode, resize and normalize the images and run the network, nothing else."""
    device = model.network.device
    mean, std = (
        torch.tensor(v, device=device)[:, None, None] for v in (model.preprocessing.mean, model.preprocessing.std)
    )
    paths = [sample.path for sample in images if sample.path]
    batches: Any = (
        torch.from_numpy(np.stack([decode(path) for path in paths[start : start + batch_size]]))
        for start in range(0, len(paths), batch_size)
    )
    if device.type == "cuda":
        batches = DataLoader(Files(paths), batch_size, num_workers=processor_count(), pin_memory=True)
    with torch.inference_mode(), arithmetic("float32"):  # as the evaluation
        for pixels in batches:
            batch = pixels.to(device, non_blocking=True).permute(0, 3, 1, 2).float().div_(255).sub_(mean).div_(std)
            model.network(batch).argmax(1)
        if device.type == "cuda":
            torch.cuda.synchronize()


def evaluate(model: Model, images: Dataset, batch_size: int) -> tuple[float, dict[str, float]]:
    """Run a whole evaluation into a folder that is removed; return the seconds after the last batch and by stage."""
    with tempfile.TemporaryDirectory() as folder, _note_end_of_batches() as times:
        result = wsol.evaluate(model, dataset=images, batch_size=batch_size, out=Path(folder) / "run")
        return time.perf_counter() - times[-1], result.metadata.seconds


@contextmanager
def _note_end_of_batches() -> Iterator[list[float]]:
    times: list[float] = []
    run_batches = evaluation.run_batches

    def timed(*arguments: Any) -> None:
        run_batches(*arguments)
        times.append(time.perf_counter())

    evaluation.run_batches = timed
    try:
        yield times
    finally:
        evaluation.run_batches = run_batches


def measure_ratio(model: Model, images: Dataset, batch_size: int, rounds: int) -> bool:
    """Time both sides alternately and print the ratio; return whether it is within the limit."""
    limit = RATIO_LIMITS[model.network.device.type]
    ratios: list[float] = []
    for i in range(rounds + 1):
        seconds = []
        for side in (run_network, evaluate):
            start = time.perf_counter()
            result = side(model, images, batch_size)
            seconds.append(time.perf_counter() - start)
        if i == 0:
            continue  # fills the file cache, warms up both sides
        ratios.append(seconds[1] / seconds[0])
        ms = [1000 * s / len(images) for s in seconds]
        print(
            f"round {i}: bare {ms[0]:.2f} ms, evaluation {ms[1]:.2f} ms per image, ratio {ratios[-1]:.3f}", flush=True
        )
    assert result
    stages = ", ".join(f"{stage} {each:.2f}" for stage, each in result[1].items())
    print(f"seconds that the last evaluation waited for: {stages}; after the last batch {result[0]:.2f}")
    median = statistics.median(ratios)
    print(f"median ratio {median:.3f} (limit {limit}), {min(ratios):.3f} to {max(ratios):.3f}")
    return median <= limit


class CheapNet(nn.Module):
    """A network that costs next to nothing, with maps of 14 x 14 and 1,000 classes."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.features, self.fc = nn.Conv2d(3, 8, 16, 16), nn.Linear(8, 1000)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits."""
        return self.fc(self.features(images).relu().mean((2, 3)))


def build_cheap_model(classes: int) -> Model:
    """Return the cheap network as a model."""
    network = CheapNet()
    network.fc = nn.Linear(8, classes)
    classifier = find_classifier(network.eval(), "cheap")
    return Model("cheap", classifier, Preprocessing(), "random", "0" * 64, classes)


def _processor_seconds() -> float:
    """Return the processor time of this process and of those that have ended, in seconds."""
    return sum(os.times()[:4])


def _measure_decoding(images: Dataset) -> float:
    """Return the processor seconds for decoding and resizing, with as many processes as the evaluation uses."""
    count, start = processor_count(), _processor_seconds()

    def work(first: int) -> None:
        for sample in images.samples[first::count]:
            assert sample.path
            decode(sample.path)

    with start_workers(work, count, processes=True) as submit:
        for future in [submit(first) for first in range(count)]:
            future.result()
    return _processor_seconds() - start


def measure_host(images: Dataset, batch_size: int, rounds: int) -> bool:
    """Print the host cost and the serial tail; return whether they are within the limits."""
    model = build_cheap_model(len(images.classes))
    batch = np.zeros((2, _SIDE, _SIDE, 3), np.uint8)
    half = images.subset(range(0, len(images), 2))
    costs, tails = [], []
    for i in range(rounds + 1):
        decoding = _measure_decoding(images)
        start = _processor_seconds()
        with torch.inference_mode():
            for _ in range(0, len(images), 2):
                model.network(model.preprocessing.normalize(batch, torch.device("cpu")))
        network = _processor_seconds() - start
        start = _processor_seconds()
        tail, _ = evaluate(model, images, batch_size)
        host = _processor_seconds() - start - network
        decoding = (decoding + _measure_decoding(images)) / 2  # the speed of a machine drifts
        host -= decoding
        half_tail, _ = evaluate(model, half, batch_size)
        if i == 0:
            continue  # fills the file cache, compiles
        costs.append(host / decoding)
        tails.append(1000 * (tail - half_tail) / (len(images) - len(half)))
        print(
            f"round {i}: processor-ms per image: decode and resize {1000 * decoding / len(images):.2f}, network "
            f"{1000 * network / len(images):.2f}, everything else {1000 * host / len(images):.2f}, ratio "
            f"{costs[-1]:.2f}; after the last batch {tail:.2f} s, {tails[-1]:.3f} ms per image",
            flush=True,
        )
    cost, tail = statistics.median(costs), statistics.median(tails)
    print(
        f"median host cost {cost:.2f} (limit {HOST_LIMIT}), serial tail {tail:.3f} ms per image (limit {TAIL_LIMIT_MS})"
    )
    return cost <= HOST_LIMIT and tail <= TAIL_LIMIT_MS


class StandIn:
    """A device that computes for 20 ms without any lock, once 160 small calls have told it what to do."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._small = torch.zeros(8)
        noise = np.random.default_rng(0).random((64, 6, 4, 4), np.float32)
        self._maps = np.repeat(np.repeat(noise, 4, 2), 4, 3)[..., 1:15, 1:15]

    def predict(self, samples: Sequence[Sample], pixels: NDArray[np.uint8]) -> SimpleNamespace:
        """Launch a batch and wait for it."""
        start = time.perf_counter()
        for _ in range(_CALLS):
            self._small.add_(1)
        time.sleep(_DEVICE_SECONDS)
        self.seconds.append(time.perf_counter() - start)
        n = len(samples)
        classes = np.array([[sample.label, *range(5)] for sample in samples])
        maps = np.resize(self._maps, (n, *self._maps.shape[1:]))
        predictions = BatchPredictions(classes, np.full((n, 6), 0.1, np.float32), maps)
        return SimpleNamespace(result=lambda clock: (predictions, n))


def measure_delay(images: Dataset, batch_size: int, rounds: int) -> bool:
    """Print the feeding delay; return whether it is within the limit."""
    model, ratios = build_cheap_model(len(images.classes)), []
    plan = prepare(EvalConfig(model=model, dataset=images, batch_size=batch_size, device="cpu"))
    threads = processor_count()
    pixels = np.zeros((2, _SIDE, _SIDE, 3), np.uint8)
    for i in range(rounds + 1):
        idle, busy = StandIn(), StandIn()
        for _ in range(100):
            idle.predict(images.samples[:2], pixels)
        with tempfile.TemporaryDirectory() as place, ThreadPoolExecutor(threads) as pool:
            (Path(place) / BATCHES / "run").mkdir(parents=True)
            store = BatchStore(Path(place), "run", plan.splits[0].batches)
            network: Any = busy
            loop = BatchLoop(plan.inference, plan.splits[0], 200, store, network, pool, threads)
            loop.run(store.missing(), process_group())
        if i == 0:
            continue
        medians = [1000 * statistics.median(each.seconds) for each in (idle, busy)]
        ratios.append(medians[1] / medians[0])
        print(f"round {i}: idle {medians[0]:.2f} ms, busy {medians[1]:.2f} ms per batch, ratio {ratios[-1]:.3f}")
    delay = statistics.median(ratios)
    print(f"median feeding delay {delay:.3f} (limit {DELAY_LIMIT})")
    return delay <= DELAY_LIMIT


def copy_images(images: Dataset, count: int, folder: Path) -> Dataset:
    """Return ``count`` images, copies of the given ones."""
    samples = []
    for i in range(count):
        sample = images.samples[i % len(images)]
        assert sample.path
        path = folder / f"{i:06d}{sample.path.suffix}"
        shutil.copyfile(sample.path, path)
        samples.append(replace(sample, image_id=f"{i // len(images)}/{sample.image_id}", path=path))
    return replace(images, samples=tuple(samples))


def main() -> int:
    """Measure what was asked for; return 1 if a limit is exceeded."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, help="weights file, for the ratio")
    parser.add_argument("--data-root", type=Path, required=True, help="folder of the data set")
    parser.add_argument("--model", default="squeezenet1_0", help="registered name (default: %(default)s)")
    parser.add_argument("--dataset", default="ilsvrc", help="registered name (default: %(default)s)")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"), help="for the ratio (default: %(default)s)")
    parser.add_argument("--images", type=int, help="number of images; files are copied if there are fewer")
    parser.add_argument("--batch-size", type=int, default=32, help="images per batch (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each side (default: %(default)s)")
    names = ("ratio", "host", "delay")
    parser.add_argument("--only", nargs="+", choices=names, default=names, help="figures (default: all)")
    options = parser.parse_args()
    images = load_dataset(options.dataset, options.data_root).localizable()
    within = True
    with tempfile.TemporaryDirectory() as folder:
        if options.images:
            images = copy_images(images, options.images, Path(folder))
        print(f"{len(images)} images, {processor_count()} processors, batches of {options.batch_size}", flush=True)
        measures: dict[str, Callable[[Dataset, int, int], bool]] = {"host": measure_host, "delay": measure_delay}
        if "ratio" in options.only:
            model = load_model(options.model, options.weights, options.device)
            within &= measure_ratio(model, images, options.batch_size, options.rounds)
        for name in options.only:
            if name in measures:
                within &= measures[name](images, options.batch_size, options.rounds)
    return int(not within)


if __name__ == "__main__":
    sys.exit(main())
