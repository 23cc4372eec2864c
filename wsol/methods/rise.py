"""RISE."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from wsol.methods._masking import score_masked
from wsol.methods._target import Target, class_score
from wsol.methods.base import METHODS, Forward, Method


@METHODS.register("rise")
@dataclass(frozen=True)
class RISE(Method):
    """Random masks weighted by the probability of the class under each, averaged.

    Petsiuk et al., "RISE: Randomized Input Sampling for Explanation of Black-box Models", BMVC 2018, eq. 6:
    ``sum_i p_c(X * M_i) M_i / (N keep)``, with the class probability p, in whose place another target is taken as it
    is. A mask is a grid of random cells, resized (bilinear) to one cell more than the image and cropped at a random
    offset. All images get the same masks. Costs ``masks`` forward passes of the whole network, shared by all classes.

    Attributes:
        masks: Number of masks, N.
        cells: Number of cells per side of a mask.
        keep: Probability that a cell is visible.
        seed: Seed of the masks.
    """

    needs = "forward passes"
    masks: int = 4000
    cells: int = 8
    keep: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        """Check that the settings give a map."""
        if self.masks < 1 or self.cells < 1 or not 0 < self.keep <= 1:
            raise ValueError("masks and cells must be 1 or more, keep from 0 (excluded) to 1")

    def maps(self, forward: Forward, classes: Tensor) -> Tensor:
        """Return maps of the size of the image."""
        maps = []
        with torch.no_grad():
            for image, chosen in enumerate(classes):
                total = forward.images.new_zeros(len(chosen), *forward.images.shape[2:])
                for masks, scores in score_masked(forward, image, self._make_masks(forward)):
                    weights = _weigh(forward.target, scores, chosen)
                    total += torch.einsum("mk,mhw->khw", weights, masks[:, 0])
                maps.append(total / (self.masks * self.keep))
        return torch.stack(maps)

    def _make_masks(self, forward: Forward) -> Iterator[Tensor]:
        height, width = forward.images.shape[2:]
        cell = math.ceil(height / self.cells), math.ceil(width / self.cells)
        size = ((self.cells + 1) * cell[0], (self.cells + 1) * cell[1])
        generator = torch.Generator().manual_seed(self.seed)
        grids = torch.rand(self.masks, 1, self.cells, self.cells, generator=generator) < self.keep
        tops = torch.randint(0, cell[0], (self.masks,), generator=generator).tolist()
        lefts = torch.randint(0, cell[1], (self.masks,), generator=generator).tolist()
        for grid, top, left in zip(grids.to(forward.images), tops, lefts, strict=True):
            mask = functional.interpolate(grid[None], size=size, mode="bilinear", align_corners=False)[0, 0]
            yield mask[top : top + height, left : left + width]


def _weigh(target: Target, scores: Tensor, classes: Tensor) -> Tensor:
    """Return the weights ``(m, k)`` of m masks for classes ``(k,)``: their probabilities, or another target."""
    if target is class_score:
        return scores.softmax(1)[:, classes]
    return target(scores, classes.expand(len(scores), -1))
