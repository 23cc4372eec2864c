"""The ground truth of all images of a split, in a few arrays instead of an object per image."""

from collections.abc import Iterable, Iterator, Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray

from wsol.datasets import Sample
from wsol.datasets.base import TO_EDGES
from wsol.protocols.base import GroundTruth, Protocol


class GroundTruths(Sequence[GroundTruth]):
    """The ground truth of some images under a protocol; an item is made when it is asked for.

    Args:
        samples: The ``n`` images and their annotations.
        sizes: int64 ``(n, 2)``, width and height of the frame of each annotation.
        boxes: float64 ``(m, 4)``, the boxes of all images in turn, half-open edges in the protocol's frame.
        counts: int64 ``(n,)``, number of boxes of each image; 0 for one that shows no object.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        sizes: NDArray[np.int64],
        boxes: NDArray[np.float64],
        counts: NDArray[np.int64],
    ) -> None:
        self.samples, self.sizes, self.boxes, self.counts = samples, sizes, boxes, counts
        self.starts = np.cumsum(counts) - counts

    @classmethod
    def stack(cls, truths: Iterable[GroundTruth]) -> "GroundTruths":
        """Return the ground truth of several images, at least one, as arrays."""
        every = [*truths]
        sizes = np.array([truth.size for truth in every], np.int64)
        counts = np.array([len(truth.boxes) for truth in every], np.int64)
        return cls(tuple(t.sample for t in every), sizes, np.concatenate([t.boxes for t in every]), counts)

    def __len__(self) -> int:
        return len(self.samples)

    @overload
    def __getitem__(self, i: int) -> GroundTruth: ...

    @overload
    def __getitem__(self, i: slice) -> "GroundTruths": ...

    def __getitem__(self, i: "int | slice") -> "GroundTruth | GroundTruths":
        if isinstance(i, slice):
            return self.subset(range(len(self))[i])
        i = range(len(self))[i]
        start, (width, height) = self.starts[i], self.sizes[i].tolist()
        return GroundTruth(self.samples[i], (width, height), self.boxes[start : start + self.counts[i]])

    def __iter__(self) -> Iterator[GroundTruth]:
        return map(self.__getitem__, range(len(self)))

    def subset(self, indices: Sequence[int]) -> "GroundTruths":
        """Return the ground truth of the images at these indices."""
        chosen = np.asarray(indices, np.int64)
        counts = self.counts[chosen]
        ends = np.cumsum(counts)
        rows = np.arange(counts.sum()) + np.repeat(self.starts[chosen] - (ends - counts), counts)
        return GroundTruths(tuple(self.samples[i] for i in indices), self.sizes[chosen], self.boxes[rows], counts)

    @property
    def labels(self) -> NDArray[np.int64]:
        """Ground-truth class of each image."""
        return np.array([sample.label for sample in self.samples], np.int64)

    @property
    def edges(self) -> NDArray[np.float64]:
        """The published boxes of all images in turn, float64 ``(m, 4)``, as half-open pixel edges."""
        published = np.concatenate([sample.boxes for sample in self.samples])
        to_edges = np.array([TO_EDGES[sample.corners] for sample in self.samples], np.float64)
        return published + np.repeat(to_edges, self.counts, axis=0)

    @property
    def objects(self) -> NDArray[np.bool_] | None:
        """Whether each image shows an object, bool ``(n,)``; None if all do."""
        return None if self.counts.all() else self.counts > 0

    @property
    def complete_masks(self) -> bool:
        """True if every image has a mask."""
        return all(sample.mask is not None for sample in self.samples)

    def frames(self, protocol: Protocol) -> NDArray[np.int64]:
        """Return width and height of the protocol's frame of each image, int64 ``(n, 2)``."""
        distinct, which = np.unique(self.sizes[:, 0] << 32 | self.sizes[:, 1], return_inverse=True)
        frames = [protocol.frame((size >> 32, size & 0xFFFFFFFF)) for size in distinct.tolist()]
        return np.array(frames, np.int64)[which]
