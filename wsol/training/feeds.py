"""Where a step's inputs come from: images, or features computed once."""

from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from wsol.datasets import Dataset, Split, read_batches
from wsol.models import GapClassifier, Preprocessing
from wsol.training.augment import augment
from wsol.training.recipe import Stage


class Feed(Protocol):
    """Gives batches of a split."""

    def train(self, stage: Stage, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields inputs and int64 labels ``(n,)`` in the epoch's random order."""

    def in_order(self, stage: Stage, split: Split) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields inputs and int64 labels ``(n,)`` of a split, in order and unchanged."""


class Images:
    """Decodes, augments and normalises images.

    Args:
        load: Gives the split of a stage.
        preprocessing: What the network expects.
        seed: Of order and augmentation.
        device: Where batches go.
        pool: Threads that decode.
    """

    def __init__(
        self,
        load: Callable[[Stage, Split], Dataset],
        preprocessing: Preprocessing,
        seed: int,
        device: torch.device,
        pool: Executor,
    ) -> None:
        self._load, self._preprocessing, self._seed, self._device, self._pool = load, preprocessing, seed, device, pool

    def train(self, stage: Stage, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields images ``(n, 3, side, side)``, augmented, and labels."""
        images = self._load(stage, "train")
        order = np.random.default_rng([self._seed, epoch]).permutation(len(images)).tolist()
        for places, pixels in self._read(images.subset(order), stage):
            if len(places) == 1 < len(images):
                continue  # batch normalisation has no spread to divide by; another epoch has the image elsewhere
            changed = augment(pixels, [[self._seed, epoch, order[i]] for i in places])
            yield (
                self._preprocessing.normalised(changed, self._device),
                self._labels(images, [order[i] for i in places]),
            )

    def in_order(self, stage: Stage, split: Split) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields images ``(n, 3, side, side)`` of a split and labels, unchanged."""
        images = self._load(stage, split)
        for places, pixels in self._read(images, stage):
            yield self._preprocessing.normalised(pixels, self._device), self._labels(images, places)

    def _read(self, images: Dataset, stage: Stage) -> Iterator[tuple[list[int], Any]]:
        batches = read_batches(images.samples, stage.image_size, stage.batch_size, self._pool, skip_bad=False)
        title = f"{images.name} {images.split}"
        with tqdm(total=len(images), unit="image", desc=title, leave=False, disable=None) as progress:
            for batch in batches:
                yield batch.indices, batch.pixels
                progress.update(len(batch.indices))

    def _labels(self, images: Dataset, places: list[int]) -> Tensor:
        return torch.tensor([images.samples[i].label for i in places], device=self._device)


class Pooled:
    """Pools the features of each image once and gives them again every epoch, without augmentation.

    Args:
        images: The images.
        network: Its features are frozen.
        seed: Of the order.
    """

    def __init__(self, images: Images, network: GapClassifier, seed: int) -> None:
        self._images, self._network, self._seed = images, network, seed
        self._known: dict[str, tuple[Tensor, Tensor]] = {}

    def train(self, stage: Stage, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields features ``(n, C)`` and labels."""
        features, labels = self._split(stage, "train")
        order = np.random.default_rng([self._seed, epoch]).permutation(len(labels))
        for start in range(0, len(order), stage.batch_size):
            chosen = torch.from_numpy(order[start : start + stage.batch_size]).to(labels.device)
            yield features[chosen], labels[chosen]

    def in_order(self, stage: Stage, split: Split) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields the features ``(n, C)`` of a split and labels, at once."""
        yield self._split(stage, split)

    def _split(self, stage: Stage, split: Split) -> tuple[Tensor, Tensor]:
        if split not in self._known:
            with torch.no_grad():
                pairs = [
                    (self._network.pooled(self._network.features(batch)), labels)
                    for batch, labels in self._images.in_order(stage, split)
                ]
            self._known[split] = (torch.cat([p[0] for p in pairs]), torch.cat([p[1] for p in pairs]))
        return self._known[split]
