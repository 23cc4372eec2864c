"""Workers that decode and augment images for as long as a training lasts."""

import contextlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsol.datasets import Split, read_image
from wsol.runtime.workers import shared_array, start_workers
from wsol.training.augment import Augmentation, find_augmentation, resize_square
from wsol.training.recipe import Recipe, Stage
from wsol.training.stage_datasets import StageDatasets

_MIN_FOR_PROCESSES = 128  # images of all epochs; fewer are decoded before processes are worth their start
_MAX_UNIT = 16


@dataclass(frozen=True)
class Decoder:
    """Decodes batches ahead of their use, in shared memory. The bits do not depend on the number of workers.

    Attributes:
        submit: Makes a worker call ``_DecodeUnit``.
        slots: uint8 ``(slots, bytes)``, each with the images of one batch.
        workers: Number of workers.
    """

    submit: Callable[..., Future[None]]
    slots: NDArray[np.uint8]
    workers: int

    def decode(
        self, stage: Stage, split: Split, batches: Sequence[Sequence[int]], epoch: int | None = None
    ) -> Iterator[NDArray[np.uint8]]:
        """Yield the squares of every batch, uint8 ``(n, side, side, 3)``; overwritten when the next is asked for.

        Args:
            stage: The stage.
            split: The split.
            batches: Indices of images.
            epoch: Number of the epoch, for augmentation; None for none.

        Raises:
            ImageError: An image cannot be read.
        """
        waiting: deque[tuple[int, list[Future[None]]]] = deque()
        numbers = iter(range(len(batches)))
        try:
            while True:
                while len(waiting) < len(self.slots) and (number := next(numbers, None)) is not None:
                    waiting.append((number, self._submit(number, stage, split, epoch, batches[number])))
                if not waiting:
                    return
                yield self._collect(stage, batches, *waiting.popleft())
        finally:  # no worker may write to a slot that is used for something else
            wait([future for _, futures in waiting for future in futures if not future.cancel()])

    def _submit(
        self, number: int, stage: Stage, split: Split, epoch: int | None, batch: Sequence[int]
    ) -> list[Future[None]]:
        slot, unit = number % len(self.slots), _unit(len(batch), self.workers)
        starts = range(0, len(batch), unit)
        return [self.submit(slot, stage, split, epoch, start, batch[start : start + unit]) for start in starts]

    def _collect(
        self, stage: Stage, batches: Sequence[Sequence[int]], number: int, futures: list[Future[None]]
    ) -> NDArray[np.uint8]:
        for future in futures:
            future.result()
        return _view_squares(self.slots[number % len(self.slots)], stage)[: len(batches[number])]


@contextlib.contextmanager
def start_decoder(
    datasets: StageDatasets, seed: int, workers: int, augmentation: str = Recipe.augmentation
) -> Iterator[Decoder]:
    """Start the workers; a context.

    They are processes, or threads for a training of few images.

    Args:
        datasets: The images of every stage.
        seed: Seed of the augmentation.
        workers: Number of workers.
        augmentation: The augmentation of training images, with its settings.
    """
    stages = datasets.stages
    ahead = max(2 + 2 * workers * _unit(stage.batch_size, workers) // stage.batch_size for stage in stages)
    largest = max(stage.batch_size * stage.image_size**2 * 3 for stage in stages)
    slots: NDArray[np.uint8] = shared_array((ahead, largest), np.uint8)
    many = sum(stage.epochs * len(datasets.load(stage, "train")) for stage in stages) >= _MIN_FOR_PROCESSES
    with start_workers(
        _DecodeUnit(datasets, seed, slots, find_augmentation(augmentation)), workers, processes=many
    ) as submit:
        yield Decoder(submit, slots, workers)


def _unit(batch: int, workers: int) -> int:
    """Return the number of images that a worker decodes at a time."""
    return max(1, min(_MAX_UNIT, -(-batch // workers)))


@dataclass(frozen=True)
class _DecodeUnit:
    datasets: StageDatasets
    seed: int
    slots: NDArray[np.uint8]
    augmentation: Augmentation

    def __call__(
        self, slot: int, stage: Stage, split: Split, epoch: int | None, first: int, indices: Sequence[int]
    ) -> None:
        """Decode images into a slot, from a place on."""
        squares = _view_squares(self.slots[slot], stage)
        samples = self.datasets.load(stage, split).samples
        for place, index in enumerate(indices, first):
            image, side = read_image(samples[index])[0], stage.image_size
            if epoch is None:
                squares[place] = np.asarray(resize_square(image, side))
            else:
                squares[place] = self.augmentation.augment(image, side, [self.seed, epoch, index])


def _view_squares(slot: NDArray[np.uint8], stage: Stage) -> NDArray[np.uint8]:
    side = stage.image_size
    return slot[: stage.batch_size * side * side * 3].reshape(-1, side, side, 3)
