"""CutMix: a box of each image is replaced by that of another one."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from wsol.models.base import upload
from wsol.training.methods.base import TRAIN_METHODS, Run, TrainMethod

_LEAST_ALPHA = 0.01  # torch draws from the distributions of much smaller ones wrongly: 0.5 in place of 0 or 1


@TRAIN_METHODS.register("cutmix")
@dataclass(frozen=True)
class CutMix(TrainMethod):
    """Paste a random box of another image into each image, and mix the labels by area.

    Yun et al., "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features", ICCV 2019,
    equations 1 and 2 and algorithm A1. With probability ``probability``, all images of a step are mixed: lambda is
    drawn from Beta(alpha, alpha), the center of the box uniformly over the image, its sides are
    ``side * sqrt(1 - lambda)``, and it is clipped to the image and rounded to pixels. Image ``i`` gets this box of
    image ``order[i]``, a random permutation, and lambda becomes the exact share of the pixels that image ``i`` keeps.
    The loss is ``lambda * CE(labels) + (1 - lambda) * CE(labels[order])``, each with the recipe's label smoothing.

    Box, lambda and permutation are those of the whole step, as in the authors' and in Choe et al.'s released code,
    which truncate the sides of the box to even numbers of pixels. As in both, the training error counts an image as
    right if it is given the label of the image that the box was pasted into, however large the box; it is high, and no
    measure of how well the network classifies whole images. Among several processes each mixes its own share of the
    step, with its own lambda.

    Attributes:
        alpha: Both parameters of the beta distribution, 0.01 or more; 1 for a uniform lambda.
        probability: Probability that the images of a step are mixed, 0 to 1.
    """

    alpha: float = 1.0
    probability: float = 1.0

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            ValueError: One is out of range.
        """
        if not _LEAST_ALPHA <= self.alpha < math.inf:
            raise ValueError(f"alpha is {self.alpha}, which must be {_LEAST_ALPHA} or more and finite")
        if not 0 <= self.probability <= 1:
            raise ValueError(f"probability is {self.probability}, which must be from 0 to 1")

    def compute_loss(
        self, run: Run, images: Tensor, labels: Tensor, criterion: nn.CrossEntropyLoss
    ) -> tuple[Tensor, Tensor]:
        """Mix images and labels; see ``TrainMethod.compute_loss``."""
        draw, x, y = torch.rand(3, dtype=torch.float64, device="cpu").tolist()
        if draw >= self.probability:
            return super().compute_loss(run, images, labels, criterion)
        alpha = torch.tensor(self.alpha, dtype=torch.float64, device="cpu")
        kept = float(torch.distributions.Beta(alpha, alpha).sample())
        order = upload(torch.randperm(len(images), device="cpu"), images.device)
        height, width = images.shape[2:]
        top, bottom = place_interval(y, math.sqrt(1 - kept), height)
        left, right = place_interval(x, math.sqrt(1 - kept), width)
        images[:, :, top:bottom, left:right] = images[:, :, top:bottom, left:right][order]  # indexing copies
        kept = 1 - (bottom - top) * (right - left) / (height * width)
        logits = run(images).float()
        return kept * criterion(logits, labels) + (1 - kept) * criterion(logits, labels[order]), logits


def place_interval(center: float, length: float, side: int) -> tuple[int, int]:
    """Return start and end of an interval that is clipped to an image and rounded to pixels.

    Args:
        center: Relative to the side, 0 to 1.
        length: Relative to the side, before clipping.
        side: Number of pixels.
    """
    start, end = (center - length / 2) * side, (center + length / 2) * side
    return round(max(start, 0.0)), round(min(end, float(side)))
