"""Data sets drawn from a population and resampled by products of matrices, for ``interval_coverage.py``."""

from dataclasses import dataclass

import numpy as np
from _populations import Population
from numpy.typing import NDArray

from wsol.metrics.bootstrap import draw_counts

FOLDS, TIMES = 10, 10


@dataclass(frozen=True)
class Design:
    """Drawing and resampling of data sets of one size.

    Attributes:
        labels: Class of each image.
        shares: float32 ``(resamples, n)``, what each image adds to the mean, or to the mean over classes.
        weighted: The same with the weights of the images on all images.
        weights: What each image adds on all images, ``(n,)``.
        folds: float32 ``(folds * times, n)``, the weights of the images of each fold.
        first: Index of the first image of the population that each image is drawn from.
        count: Number of images from there that it is drawn from.
    """

    labels: NDArray[np.int64]
    shares: NDArray[np.float32]
    weighted: NDArray[np.float32]
    weights: NDArray[np.float64]
    folds: NDArray[np.float32]
    first: NDArray[np.int64]
    count: NDArray[np.int64]

    @classmethod
    def plan(cls, population: Population, sizes: NDArray[np.int64], by_class: bool) -> "Design":
        """Plan data sets with the given number of images a class; the classes of the population are shared evenly."""
        labels = np.repeat(np.arange(len(sizes)), sizes)
        n, per_class = len(labels), len(population.curves) // population.classes
        counts = draw_counts(n, 0).astype(np.float64)
        bounds = np.linspace(0, population.classes, len(sizes) + 1).astype(np.int64)
        if by_class:
            members = labels[:, None] == np.arange(len(sizes))
            found = counts @ members
            shares = counts / np.maximum(found, 1)[:, labels] / (found > 0).sum(1, keepdims=True)
            weights = 1 / (len(sizes) * sizes[labels])
            weighted = (counts * weights / (counts @ weights)[:, None]).astype(np.float32)
            shares = shares.astype(np.float32)
        else:
            weights, shares = np.full(n, 1 / n), (counts / n).astype(np.float32)
            weighted = shares
        rng = np.random.default_rng(1)
        folds = np.concatenate(
            [rng.permutation(np.arange(n) % FOLDS) == np.arange(FOLDS)[:, None] for _ in range(TIMES)]
        )
        first, last = bounds[:-1] * per_class, bounds[1:] * per_class
        return cls(
            labels,
            shares,
            weighted,
            weights,
            (folds * weights).astype(np.float32),
            first[labels],
            (last - first)[labels],
        )

    def mean_of_population(self, columns: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the means over the population, or over classes of their means over the population."""
        first, index = np.unique(self.first, return_index=True)
        parts = zip(first, self.count[index], strict=True)
        means: NDArray[np.float64] = np.mean([columns[a : a + k].mean(0, dtype=np.float64) for a, k in parts], axis=0)
        return means

    def draw(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Draw a data set: indices of images of the population."""
        drawn: NDArray[np.int64] = self.first + (rng.random(len(self.first)) * self.count).astype(np.int64)
        return drawn


@dataclass(frozen=True)
class Sums:
    """Means of all columns ``(..., blocks, taus)`` over a data set, its resamples and its folds."""

    of_all: NDArray[np.float64]
    of_resamples: NDArray[np.float32]
    weighted: NDArray[np.float32]
    of_folds: NDArray[np.float32]

    @classmethod
    def compute(cls, design: Design, columns: NDArray[np.generic], taus: int) -> "Sums":
        """Compute the sums of columns ``(n, blocks * taus)``."""
        numbers = columns.astype(np.float32)
        draws = design.shares @ numbers
        weighted = draws if design.weighted is design.shares else design.weighted @ numbers
        return cls(
            (design.weights @ columns).reshape(-1, taus),
            draws.reshape(len(draws), -1, taus),
            weighted.reshape(len(weighted), -1, taus),
            (design.folds @ numbers).reshape(TIMES, FOLDS, -1, taus),
        )

    def at(self, blocks: list[int], places: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the mean over blocks of each resample, at one tau a block."""
        means: NDArray[np.float64] = self.of_resamples[:, blocks, places].mean(1, dtype=np.float64)
        return means

    def choose_again(self, blocks: list[int]) -> tuple[NDArray[np.float64], float, float]:
        """Return the best value of each resample, and the optimism by the bootstrap and by folds."""
        means, draws = self.of_all[blocks], self.weighted[:, blocks]
        own, again = means.argmax(1), draws.argmax(2)
        gain = draws.max(2) - draws[:, np.arange(len(blocks)), own]
        optimism = gain.mean(dtype=np.float64) + (means.max(1).mean() - np.take_along_axis(means, again.T, 1).mean())
        best = self.of_resamples[:, blocks].max(2).mean(1, dtype=np.float64)
        folds = self.of_folds[:, :, blocks]
        others = (folds.sum(1, keepdims=True) - folds).argmax(3)
        held_out = np.take_along_axis(folds, others[..., None], 3)[..., 0].sum(1).mean()
        return best, float(optimism), float(means.max(1).mean() - held_out)
