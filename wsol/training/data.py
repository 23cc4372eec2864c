"""Where a step's inputs come from: images, or features computed once."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from itertools import chain
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from wsol.datasets import Dataset, Split, read_batches
from wsol.models import GapClassifier, Preprocessing
from wsol.runtime.distributed import ProcessGroup
from wsol.training.augment import augment
from wsol.training.recipe import Stage


class BatchSource(Protocol):
    """Gives batches of a split, to each process its part."""

    def train(self, stage: Stage, epoch: int) -> Iterator[tuple[Tensor, Tensor, int]]:
        """Yield inputs and int64 labels ``(n,)`` in the epoch's random order, and the length of the whole batch."""

    def in_order(self, stage: Stage, split: Split) -> Iterator[tuple[Tensor, Tensor]]:
        """Return inputs and int64 labels ``(n,)`` of this process's share of a split, unchanged."""


class Images:
    """Decodes, augments and normalises images.

    Args:
        load: Gives the split of a stage.
        preprocessing: What the network expects.
        seed: Of order and augmentation.
        device: Where batches go.
        pool: Threads that decode.
        group: The processes that share the images.
    """

    def __init__(
        self,
        load: Callable[[Stage, Split], Dataset],
        preprocessing: Preprocessing,
        seed: int,
        device: torch.device,
        pool: Executor,
        group: ProcessGroup,
    ) -> None:
        self.load, self.device = load, device
        self._preprocessing, self._seed, self._pool, self._group = preprocessing, seed, pool, group

    def train(self, stage: Stage, epoch: int) -> Iterator[tuple[Tensor, Tensor, int]]:
        """Yield images ``(n, 3, side, side)``, augmented, labels, and the length of the whole batch."""
        images = self.load(stage, "train")
        order = np.random.default_rng([self._seed, epoch]).permutation(len(images)).tolist()
        mine = list(split_batches(order, stage.batch_size, self._group))
        read = self._read(images, stage, [places for places, _ in mine])
        for places, total in mine:
            with self._group.sync_errors():  # an image that one cannot read stops all
                pixels = next(read)
            if total == 1 < len(images):
                continue  # batch normalisation has no spread to divide by; another epoch has the image elsewhere
            changed = augment(pixels, [[self._seed, epoch, place] for place in places])
            yield self._preprocessing.normalize(changed, self.device), self._labels(images, places), total

    def in_order(self, stage: Stage, split: Split) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield images ``(n, 3, side, side)`` of this process's share of a split and labels, unchanged."""
        images = self.load(stage, split)
        share = self._group.share(range(len(images)))
        batches = [share[start : start + stage.batch_size] for start in range(0, len(share), stage.batch_size)]
        for places, pixels in zip(batches, self._read(images, stage, batches), strict=True):
            yield self._preprocessing.normalize(pixels, self.device), self._labels(images, places)

    def _read(self, images: Dataset, stage: Stage, batches: list[Sequence[int]]) -> Iterator[NDArray[np.uint8]]:
        usual = len(batches[0]) if batches else 0
        even = [batch for batch in batches if len(batch) <= usual]
        longer = batches[len(even) :]  # the last one, which all processes compute in full
        read: Iterator[Any] = chain.from_iterable(
            read_batches(
                images.subset([place for batch in some for place in batch]).samples,
                stage.image_size,
                len(some[0]),
                self._pool,
                skip_bad=False,
            )
            for some in (even, longer)
            if some
        )
        title = f"{images.name} {images.split}"
        shown = None if self._group.is_main else True  # None: where somebody looks on
        total = sum(map(len, batches))
        with tqdm(total=total, unit="image", desc=title, leave=False, disable=shown) as progress:
            for batch in read:
                yield batch.pixels
                progress.update(len(batch.pixels))

    def _labels(self, images: Dataset, places: Sequence[int]) -> Tensor:
        return torch.tensor([images.samples[i].label for i in places], device=self.device)


class Pooled:
    """Pools the features of each image once and gives them again every epoch, without augmentation.

    Args:
        images: The images.
        network: Its features are frozen.
        linear: Its linear layer.
        seed: Of the order.
        group: The processes; each computes its share of the features, and all get them all.
    """

    def __init__(
        self, images: Images, network: GapClassifier, linear: nn.Linear, seed: int, group: ProcessGroup
    ) -> None:
        self._images, self._network, self._seed, self._group = images, network, seed, group
        self._width = linear.in_features
        self._known: dict[str, tuple[Tensor, Tensor]] = {}

    def train(self, stage: Stage, epoch: int) -> Iterator[tuple[Tensor, Tensor, int]]:
        """Yield features ``(n, C)``, labels, and the length of the whole batch."""
        features, labels = self._split(stage, "train")
        order = np.random.default_rng([self._seed, epoch]).permutation(len(labels)).tolist()
        for places, total in split_batches(order, stage.batch_size, self._group):
            chosen = torch.tensor(places, device=labels.device)
            yield features[chosen], labels[chosen], total

    def in_order(self, stage: Stage, split: Split) -> Iterator[tuple[Tensor, Tensor]]:
        """Return the features ``(n, C)`` of this process's share of a split and labels, at once."""
        features, labels = self._split(stage, split)
        share = slice(self._group.rank, None, self._group.size)
        return iter([(features[share], labels[share])])

    def _split(self, stage: Stage, split: Split) -> tuple[Tensor, Tensor]:
        if split not in self._known:
            samples = self._images.load(stage, split).samples
            features = torch.zeros(len(samples), self._width, device=self._images.device)
            with self._group.sync_errors(), torch.no_grad():
                mine = [
                    self._network.pooled(self._network.features(batch))
                    for batch, _ in self._images.in_order(stage, split)
                ]
                if mine:
                    features[self._group.rank :: self._group.size] = torch.cat(mine)
            labels = torch.tensor([sample.label for sample in samples], device=self._images.device)
            self._known[split] = self._group.all_reduce_sum(features), labels
        return self._known[split]


_LEAST = 2  # images a process; batch normalisation needs a spread to divide by


def split_batches(places: Sequence[int], batch_size: int, group: ProcessGroup) -> Iterator[tuple[Sequence[int], int]]:
    """Cut places into batches, and batches into what each process gets.

    Every place of a batch is in one process's part. A batch with fewer than two images a process, as an epoch's last
    may be, all compute in full: the mean of their gradients is its gradient, and none has to leave out the step.

    Args:
        places: In the order in which they are learnt.
        batch_size: Images in a step of all processes together.
        group: The processes.

    Yields:
        The places of this process's part, and how many the whole batch has.
    """
    for start in range(0, len(places), batch_size):
        batch = places[start : start + batch_size]
        yield batch if len(batch) < _LEAST * group.size else group.share(batch), len(batch)
