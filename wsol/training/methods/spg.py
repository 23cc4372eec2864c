"""Self-produced guidance."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from wsol.models.heads.acol import normalize
from wsol.models.heads.spg import SPGSettings
from wsol.runtime.distributed import process_group
from wsol.training.methods.base import TRAIN_METHODS, Run, TrainMethod


@TRAIN_METHODS.register("spg")
@dataclass(frozen=True)
class SPGTraining(SPGSettings, TrainMethod):
    """Train branches that predict the foreground, each guided by the sure pixels of the one before.

    Zhang et al., "Self-produced Guidance for Weakly-supervised Object Localization", ECCV 2018. The classifier A is two
    convolutions 3 x 3 with ReLU, global average pooling and a linear layer. B1 and B2 read earlier features, C the maps
    that A pools; each predicts the foreground by a convolution 3 x 3, ReLU, (B1 and B2: another such pair, which they
    share,) and a convolution 1 x 1. All maps are resized to the image, bilinearly. The map of the label, normalized to
    [0, 1], guides B2; the sigmoid of B2 guides B1; the mean of the sigmoids of B1 and B2 guides C: a pixel is
    foreground where the guide is above ``high``, background where it is below ``low``, and ignored in between. The loss
    is the cross-entropy of A plus the binary cross-entropies of B1, B2 and C, each a mean over the pixels that are not
    ignored, of the images of all processes. No gradient flows through a guide; those of the branches reach the
    features.

    From the code of Choe et al. (CVPR 2020) are the thresholds, which layers B1 and B2 read, and that where fewer than
    30 pixels of an image are foreground, those above 0.7 of the guide's maximum are; background has precedence.
    Different from it, a mask without any pixel adds nothing, the gradients of last layers are shortened for loud
    features as in plain training, the features are those of plain training, and B1 reads Inception's maps before their
    side is halved to 14. Their A has ``channels=512`` for VGG-16, and ``channels=0`` with ``width=1024`` for ResNet-50;
    the defaults are those for Inception, as in the paper, but without dropout. The branches are not stored, and
    ``--method cam`` makes the maps. Costs, forward and backward, ``9 channels (C + channels)`` products for each place
    of the features, and for each place that B1, B2 and C read ``9 width`` times their channels; for B1 and B2 another
    ``9 width width``.
    """

    def name_network(self, model: str) -> str:
        """Return the network with the head, whose settings are those of the method."""
        return f"{model}+{self.signature}"

    def compute_loss(
        self, run: Run, images: Tensor, labels: Tensor, criterion: nn.CrossEntropyLoss
    ) -> tuple[Tensor, Tensor]:
        """Return the sum of the losses of A, B1, B2 and C, and the logits of A."""
        logits, *maps = run(images, labels)
        logits = logits.float()
        size = (images.shape[2], images.shape[3])
        attention, b1, b2, c = (functional.interpolate(each.float(), size, mode="bilinear") for each in maps)
        with torch.no_grad():
            first, second = b1.sigmoid(), b2.sigmoid()
            masks = [
                make_mask(normalize(attention), self.high_b2, self.low_b2),
                make_mask(second, self.high_b1, self.low_b1),
                make_mask((first + second) / 2, self.high_c, self.low_c),
            ]
        return criterion(logits, labels) + guided_loss((b2, b1, c), masks), logits

    def chance_loss(self, classes: int) -> float:
        """Return the loss of a classifier and three branches that guess."""
        return super().chance_loss(classes) + 3 * math.log(2)


def make_mask(guide: Tensor, high: float, low: float) -> tuple[Tensor, Tensor]:
    """Return which pixels are foreground, and which count: those of foreground and background.

    Args:
        guide: ``(n, 1, H, W)``, in [0, 1].
        high: Foreground is above it.
        low: Background is below it.

    Returns:
        Two masks, bool ``(n, 1, H, W)``.
    """
    foreground = guide > high
    is_small = foreground.sum((1, 2, 3), keepdim=True) < _FEW_PIXELS
    foreground = torch.where(is_small, guide > _SHARE * guide.amax((1, 2, 3), keepdim=True), foreground)
    background = guide < low
    return foreground & ~background, foreground | background


_FEW_PIXELS, _SHARE = 30, 0.7


def guided_loss(logits: Sequence[Tensor], masks: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """Return the sum of the binary cross-entropies of branches, each a mean over the pixels that count.

    Each process scales its sum so that the mean over the images of all processes is the mean over their pixels.

    Args:
        logits: Logits of the foreground of each branch, ``(n, 1, H, W)``.
        masks: Foreground, and which pixels count, of each branch.
    """
    sums = []
    for each, mask in zip(logits, masks, strict=True):
        targets, weights = (pixels.to(each.dtype) for pixels in mask)
        sums.append(functional.binary_cross_entropy_with_logits(each, targets, weights, reduction="sum"))
    images = len(logits[0])
    counts = torch.stack([counted.sum() for _, counted in masks])
    totals = process_group().all_reduce_sum(torch.cat([counts, torch.full_like(counts[:1], images)]))
    pixels, all_images = totals[:-1].clamp(min=1), totals[-1]
    return (torch.stack(sums) / pixels).sum() * (all_images / images)
