"""The data of a training: batches of images, or of features computed once."""

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsol.datasets import Dataset, Split
from wsol.models import Preprocessing
from wsol.models.base import upload
from wsol.runtime.distributed import ProcessGroup
from wsol.runtime.progress import Progress
from wsol.training.decoding import Decoder
from wsol.training.network import FrozenFeatures
from wsol.training.recipe import Stage
from wsol.training.stage_datasets import StageDatasets
from wsol.training.standardization import Standardization


class BatchSource(Protocol):
    """Batches of a split; each process gets its share of every batch."""

    def train_batches(self, stage: Stage, epoch: int) -> Iterator[tuple[Tensor, Tensor, int]]:
        """Yield inputs and int64 labels ``(n,)`` in the random order of the epoch, and the size of the whole batch."""

    def eval_batches(self, stage: Stage, split: Split) -> Iterator[tuple[Tensor, Tensor]]:
        """Return inputs and int64 labels ``(n,)`` of this process's share of a split, in order and not augmented."""


class ImageBatches:
    """Batches of decoded, augmented and normalized images.

    Args:
        datasets: The images of every stage.
        preprocessing: The preprocessing that the network expects.
        seed: Seed of the order.
        device: Device of the batches.
        decoder: Decodes and augments the images.
        group: The processes that share the images.
    """

    def __init__(
        self,
        datasets: StageDatasets,
        preprocessing: Preprocessing,
        seed: int,
        device: torch.device,
        decoder: Decoder,
        group: ProcessGroup,
    ) -> None:
        self.datasets, self.device = datasets, device
        self._preprocessing, self._seed, self._decoder, self._group = preprocessing, seed, decoder, group

    def train_batches(self, stage: Stage, epoch: int) -> Iterator[tuple[Tensor, Tensor, int]]:
        """Yield augmented images ``(n, 3, side, side)``, labels, and the size of the whole batch."""
        images = self.datasets.load(stage, "train")
        order = np.random.default_rng([self._seed, epoch]).permutation(len(images)).tolist()
        batches = list(split_batches(order, stage.batch_size, self._group))
        decoded = self._decode(images, stage, [indices for indices, _ in batches], epoch)
        for indices, total in batches:
            with self._group.sync_errors():  # an image that one process cannot read stops all
                pixels = next(decoded)
            if total == 1 < stage.batch_size and len(images) > 1:
                continue  # batch normalization needs two images; in another epoch this one is in a larger batch
            yield self._preprocessing.normalize(pixels, self.device), self._labels(images, indices), total

    def eval_batches(self, stage: Stage, split: Split) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield images ``(n, 3, side, side)`` and labels of this process's share of a split."""
        images = self.datasets.load(stage, split)
        share = self._group.share(range(len(images)))
        batches = [share[start : start + stage.batch_size] for start in range(0, len(share), stage.batch_size)]
        for indices, pixels in zip(batches, self._decode(images, stage, batches), strict=True):
            yield self._preprocessing.normalize(pixels, self.device), self._labels(images, indices)

    def _decode(
        self, images: Dataset, stage: Stage, batches: list[Sequence[int]], epoch: int | None = None
    ) -> Iterator[NDArray[np.uint8]]:
        title = f"{images.name} {images.split}"
        with Progress(title, sum(map(len, batches)), shown=self._group.is_main) as progress:
            for pixels in self._decoder.decode(stage, images.split, batches, epoch):
                yield pixels
                progress.update(len(pixels))

    def _labels(self, images: Dataset, indices: Sequence[int]) -> Tensor:
        return upload(torch.tensor([images.samples[i].label for i in indices]), self.device)


class FeatureBatches:
    """Batches of pooled and standardized features, which are computed once per image, without augmentation.

    Args:
        images: Batches of images.
        frozen: The network with frozen features.
        stage: The only stage of the training.
        seed: Seed of the order.
        group: The processes; each computes its share of the features, and all get all of them.

    Attributes:
        standardization: The standardization of the features of the training split.
    """

    def __init__(
        self, images: ImageBatches, frozen: FrozenFeatures, stage: Stage, seed: int, group: ProcessGroup
    ) -> None:
        self._images, self._frozen, self._seed, self._group = images, frozen, seed, group
        features, labels = self._compute_split(stage, "train")
        self.standardization = Standardization.fit(features, centered=frozen.linear.bias is not None)
        self._cache: dict[Split, tuple[Tensor, Tensor]] = {"train": (self.standardization.apply(features), labels)}

    def train_batches(self, stage: Stage, epoch: int) -> Iterator[tuple[Tensor, Tensor, int]]:
        """Yield features ``(n, C)``, labels, and the size of the whole batch."""
        features, labels = self._load_split(stage, "train")
        order = np.random.default_rng([self._seed, epoch]).permutation(len(labels)).tolist()
        for indices, total in split_batches(order, stage.batch_size, self._group):
            rows = torch.tensor(indices, device=labels.device)
            yield features[rows], labels[rows], total

    def eval_batches(self, stage: Stage, split: Split) -> Iterator[tuple[Tensor, Tensor]]:
        """Return features ``(n, C)`` and labels of this process's share of a split, as one batch."""
        features, labels = self._load_split(stage, split)
        share = slice(self._group.rank, None, self._group.size)
        return iter([(features[share], labels[share])])

    def _load_split(self, stage: Stage, split: Split) -> tuple[Tensor, Tensor]:
        if split not in self._cache:
            features, labels = self._compute_split(stage, split)
            self._cache[split] = self.standardization.apply(features), labels
        return self._cache[split]

    def _compute_split(self, stage: Stage, split: Split) -> tuple[Tensor, Tensor]:
        samples = self._images.datasets.load(stage, split).samples
        features = torch.zeros(len(samples), self._frozen.linear.in_features, device=self._images.device)
        with self._group.sync_errors(), torch.no_grad():
            classifier = self._frozen.classifier
            pooled = [
                classifier.pool(classifier.features(batch)) for batch, _ in self._images.eval_batches(stage, split)
            ]
            if pooled:
                features[self._group.rank :: self._group.size] = torch.cat(pooled)
        labels = torch.tensor([sample.label for sample in samples], device=self._images.device)
        return self._group.all_reduce_sum(features), labels


_MIN_PER_PROCESS = 2  # images: batch normalization needs a variance


def split_batches(indices: Sequence[int], batch_size: int, group: ProcessGroup) -> Iterator[tuple[Sequence[int], int]]:
    """Split indices into batches, and each batch into the shares of the processes.

    Every index of a batch is in the share of exactly one process. All processes compute a batch in full if it has fewer
    than two images per process, as the last batch of an epoch may: the mean of their gradients is the gradient of the
    batch, and no process has to skip the step.

    Args:
        indices: Image indices in training order.
        batch_size: Images per step of all processes together.
        group: The processes.

    Yields:
        The share of this process, and the size of the whole batch.
    """
    for start in range(0, len(indices), batch_size):
        batch = indices[start : start + batch_size]
        yield batch if len(batch) < _MIN_PER_PROCESS * group.size else group.share(batch), len(batch)
