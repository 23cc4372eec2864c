"""Compare an epoch of a training with a plain PyTorch loop over torch's DataLoader.

    python benchmarks/training.py [--model resnet50] [--data-root FOLDER_OF_IMAGES] [--images 1024] [--batch-size 64]
        [--image-size 224] [--device cuda] [--workers N] [--rounds 3]

Both sides train a copy of the same network on the same files with the same augmentation, loss, optimizer and precision,
and run alternately; the first epoch of each is not counted. The plain loop is what a user writes who knows PyTorch:
worker processes that stay between epochs decode, resize and augment, pinned memory, copies that are not waited for, no
value read back before the end of the epoch. Files are copied until there are enough; without a folder they are
generated, 500 x 375 pixels.
"""

import argparse
import contextlib
import copy
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader

from wsol.models import find_architecture
from wsol.runtime.device import find_device
from wsol.runtime.distributed import ProcessGroup
from wsol.runtime.precision import arithmetic, has_bf16
from wsol.runtime.threads import processor_count
from wsol.training import Recipe, Stage
from wsol.training.augment import ShiftFlipColor
from wsol.training.data import ImageBatches
from wsol.training.decoding import start_decoder
from wsol.training.stage_datasets import StageDatasets
from wsol.training.trainer import Trainer

LIMIT = 1.1  # of the duration
CLASSES = 10


class Files(torch.utils.data.Dataset[tuple[Tensor, int]]):
    """Decoded and augmented images for torch's DataLoader."""

    def __init__(self, paths: Sequence[Path], side: int) -> None:
        self._paths, self._side = paths, side

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        with Image.open(self._paths[i]) as file:
            pixels = ShiftFlipColor().augment(file.convert("RGB"), self._side, [torch.initial_seed(), i])
        return torch.from_numpy(pixels.copy()), i % CLASSES


class PlainLoop:
    """The plain loop.

    Args:
        network: A network on its device.
        paths: The image files.
        options: The command line.
        autocast: The precision of the forward pass.
    """

    def __init__(
        self, network: nn.Module, paths: Sequence[Path], options: argparse.Namespace, autocast: torch.autocast
    ) -> None:
        self._network, self._autocast = network, autocast
        self._device = next(network.parameters()).device
        self._loader = DataLoader(
            Files(paths, options.image_size),
            options.batch_size,
            shuffle=True,
            num_workers=options.workers,
            pin_memory=self._device.type == "cuda",
            persistent_workers=True,
        )
        preprocessing = find_architecture(options.model).preprocessing()
        values = (torch.tensor(each, device=self._device) for each in (preprocessing.mean, preprocessing.std))
        self._mean, self._std = (each[:, None, None] for each in values)
        recipe = Recipe()
        self._optimizer = torch.optim.SGD(
            network.parameters(), recipe.learning_rate, momentum=recipe.momentum, weight_decay=recipe.weight_decay
        )

    def train(self) -> None:
        """Train for one epoch."""
        self._network.train()
        total = torch.zeros((), device=self._device)
        for pixels, labels in self._loader:
            images = pixels.to(self._device, non_blocking=True).permute(0, 3, 1, 2).float().div_(255)
            images = images.sub_(self._mean).div_(self._std)
            with self._autocast:
                logits = self._network(images)
            loss = nn.functional.cross_entropy(logits.float(), labels.to(self._device, non_blocking=True))
            self._optimizer.zero_grad()
            loss.backward()
            self._optimizer.step()
            total += loss.detach()
        total.item()  # waits for the device


@contextlib.contextmanager
def write_files(options: argparse.Namespace) -> Iterator[tuple[Path, list[Path]]]:
    """Write a data set of images to a folder that is removed: yield the folder and the files."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = [folder / f"{i:05d}.jpg" for i in range(options.images)]
        given = sorted(options.data_root.rglob("*.jp*g", case_sensitive=False)) if options.data_root else []
        for i, path in enumerate(paths):
            if given:
                path.write_bytes(given[i % len(given)].read_bytes())
            else:
                Image.fromarray(draw(i)).save(path, quality=90)
        rows = [f"{path.name},{i % CLASSES},0,0,9,9,train" for i, path in enumerate(paths)]
        (folder / "boxes.csv").write_text("\n".join(["image_id,label,x0,y0,x1,y1,split", *rows]) + "\n")
        yield folder, paths


def draw(i: int) -> NDArray[np.uint8]:
    """Draw clouds of colors with some noise."""
    rng = np.random.default_rng(i)
    clouds = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)).resize((500, 375))
    return np.clip(np.asarray(clouds) + rng.normal(0, 8, (375, 500, 3)), 0, 255).astype(np.uint8)


def main() -> int:
    """Time both sides alternately and print images per second and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet50")
    parser.add_argument("--data-root", type=Path, help="folder of JPEG files")
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--workers", type=int, default=processor_count())
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    device = find_device(options.device)
    torch.manual_seed(0)
    network = find_architecture(options.model).build_for_training(CLASSES, None, from_scratch=True)
    network.to(device).to(memory_format=torch.channels_last)
    is_low = has_bf16(device)
    print(
        f"{options.model}, {options.images} images, batches of {options.batch_size}, {options.image_size} pixels, "
        f"{device}, {'bfloat16' if is_low else 'float32'}, {options.workers} worker processes"
    )
    with contextlib.ExitStack() as stack:
        folder, paths = stack.enter_context(write_files(options))
        stack.enter_context(arithmetic("float32", repeatable=False))
        autocast = torch.autocast(device.type, torch.bfloat16, enabled=is_low)
        plain = PlainLoop(copy.deepcopy(network), paths, options, autocast)
        stage = Stage(options.rounds + 1, options.image_size, options.batch_size)
        datasets, group = StageDatasets("csv", folder, {}, (stage,)), ProcessGroup()
        work = stage.epochs * stage.steps_per_epoch(options.images) * stage.work
        decoder = stack.enter_context(start_decoder(datasets, 0, options.workers))
        preprocessing = find_architecture(options.model).preprocessing()
        batches = ImageBatches(datasets, preprocessing, 0, device, decoder, group)
        precision = "bfloat16" if is_low else "float32"
        trainer = Trainer(network, batches, Recipe((stage,)), device, work, group, None, precision)
        ratios = []
        for epoch in range(stage.epochs):
            seconds = []
            for train in (plain.train, lambda epoch=epoch: trainer.train(stage, epoch, epoch * work // stage.epochs)):
                start, used = time.perf_counter(), os.times()
                train()
                seconds.append(time.perf_counter() - start)
                cpu = sum(os.times()[:2]) - sum(used[:2])
                name = "plain" if len(seconds) == 1 else "wsol"
                print(
                    f"epoch {epoch}: {name:5} {options.images / seconds[-1]:8.1f} images/s, "
                    f"{1000 * cpu / options.images:.2f} processor-ms an image in the first process",
                    flush=True,
                )
            if epoch:
                ratios.append(seconds[1] / seconds[0])
    median = statistics.median(ratios)
    print(f"median ratio of durations {median:.3f} (limit {LIMIT}), {min(ratios):.3f} to {max(ratios):.3f}")
    return 0 if median <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
