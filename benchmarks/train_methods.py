"""Compare the training step of every training method with that of plain training.

    python benchmarks/train_methods.py [--model vgg16-gap --model resnet18-gap] [--method adl:rate=0.5] [--batch-size 8]
        [--image-size 224] [--classes 200] [--rounds 9] [--device cuda]

Both sides train a network of the same name on the same random images, which are on the device already: network, loss,
gradients and optimizer, as in ``wsol.train``. Their steps alternate; a step is timed by processor time on a CPU, where
others may use the machine, and by the clock on a GPU. Prints images per second and the median ratio; exits with 1 if a
ratio is above its limit.
"""

import argparse
import itertools
import statistics
import sys
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from wsol.errors import InputError
from wsol.models import find_architecture
from wsol.runtime.device import find_device
from wsol.runtime.distributed import ProcessGroup
from wsol.runtime.precision import arithmetic, has_bf16
from wsol.training import Recipe, Stage
from wsol.training.methods import TRAIN_METHODS, find_train_method
from wsol.training.trainer import Trainer

PLAIN = "cam"
LIMITS = {"has": 1.05, "cutmix": 1.05, "adl": 1.05, "acol": 1.5, "spg": 1.5}
WARM_UP = 2  # steps of each side that are not counted


class SameBatch:
    """A batch source of one step, always of the same images."""

    def __init__(self, options: argparse.Namespace, device: torch.device) -> None:
        generator = torch.Generator().manual_seed(0)
        n, side = options.batch_size, options.image_size
        images = torch.randn(n, 3, side, side, generator=generator).to(device)
        self._images = images.to(memory_format=torch.channels_last)
        self._labels = torch.randint(options.classes, (n,), generator=generator).to(device)

    def train_batches(self, *_: object) -> Iterator[tuple[Tensor, Tensor, int]]:
        """Yield a copy of the images, which methods may change."""
        yield self._images.clone(), self._labels, len(self._labels)


def make_step(model: str, method_name: str, batches: SameBatch, options: argparse.Namespace) -> Callable[[], None]:
    """Return a function that trains for one step.

    Raises:
        InputError: The method cannot train the network.
    """
    method, device = find_train_method(method_name), find_device(options.device)
    torch.manual_seed(0)
    architecture = find_architecture(method.name_network(model))
    network = architecture.build_for_training(options.classes, None, from_scratch=False)
    method.prepare(network.eval(), model, options.image_size)
    network.to(device).to(memory_format=torch.channels_last)
    stage = Stage(1, options.image_size, options.batch_size)
    recipe = Recipe((stage,), learning_rate=1e-3)
    precision = "bfloat16" if has_bf16(device) else "float32"
    trainer = Trainer(network, batches, recipe, device, stage.work, ProcessGroup(), None, precision, method)
    epochs = itertools.count()  # each seeds the random choices of one step

    def step() -> None:
        trainer.train(stage, next(epochs), 0)

    return step


def measure(
    plain: Callable[[], None], other: Callable[[], None], rounds: int, device: torch.device
) -> tuple[float, ...]:
    """Return the median seconds of both steps, by the clock, and the median, lowest and highest ratio."""
    timer = time.process_time if device.type == "cpu" else time.perf_counter
    for step in (plain, other) * WARM_UP:
        step()
    seconds: dict[Callable[[], None], list[float]] = {plain: [], other: []}
    ratios = []
    for i in range(rounds):
        used = {}
        for step in (plain, other) if i % 2 else (other, plain):
            start, begun = time.perf_counter(), timer()
            step()
            used[step] = timer() - begun
            seconds[step].append(time.perf_counter() - start)
        ratios.append(used[other] / used[plain])
    medians = (statistics.median(seconds[step]) for step in (plain, other))
    return *medians, statistics.median(ratios), min(ratios), max(ratios)


def main() -> int:
    """Print a line per network and method; return 1 if a ratio is above its limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", help="network; may be given several times")
    parser.add_argument("--method", action="append", help="training method, with settings (default: all)")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--classes", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    device, failed = find_device(options.device), False
    batches = SameBatch(options, device)
    names = options.method or [name for name in TRAIN_METHODS.names() if name != PLAIN]
    print(
        f"batches of {options.batch_size}, {options.image_size} pixels, {device}, "
        f"{'bfloat16' if has_bf16(device) else 'float32'}, {torch.get_num_threads()} threads"
    )
    for model in options.model or ["vgg16-gap", "resnet18-gap"]:
        with arithmetic("float32", repeatable=False):
            plain = make_step(model, PLAIN, batches, options)
            for name in names:
                try:
                    step = make_step(model, name, batches, options)
                except InputError as error:
                    print(f"{model} {name}: {error}")
                    continue
                base, seconds, ratio, lowest, highest = measure(plain, step, options.rounds, device)
                limit = LIMITS.get(name.partition(":")[0])
                failed |= limit is not None and ratio > limit
                speed, base_speed = options.batch_size / seconds, options.batch_size / base
                print(
                    f"{model} {name}: {speed:.1f} images/s, {PLAIN} {base_speed:.1f}; ratio {ratio:.3f} "
                    f"({lowest:.3f} to {highest:.3f}{f', limit {limit}' if limit else ''})",
                    flush=True,
                )
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
