"""Network in Network."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from wsol.errors import InputError
from wsol.models.base import MODELS, Architecture, PublishedWeights


class NIN(nn.Module):
    """The ImageNet network of Lin et al., "Network in Network", ICLR 2014: the class scores average one map per class.

    Sizes are those of the authors' released model: two 1 x 1 convolutions after each large one, a ReLU after each.

    Args:
        classes: Number of classes.
    """

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        pool = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.features = nn.Sequential(
            *_build_block(3, (96, 96, 96), 11, stride=4),
            pool,
            *_build_block(96, (256, 256, 256), 5, padding=2),
            pool,
            *_build_block(256, (384, 384, 384), 3, padding=1),
            pool,
            nn.Dropout(0.5),
            *_build_block(384, (1024, 1024, classes), 3, padding=1),
        )
        self.pool = nn.AdaptiveAvgPool2d(1)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(n, classes)`` of images ``(n, 3, H, W)``."""
        logits: Tensor = self.pool(self.features(images)).flatten(1)
        return logits


def _build_block(
    inputs: int, widths: tuple[int, int, int], size: int, stride: int = 1, padding: int = 0
) -> list[nn.Module]:
    first, second, third = widths
    convolutions = (
        nn.Conv2d(inputs, first, size, stride, padding),
        nn.Conv2d(first, second, 1),
        nn.Conv2d(second, third, 1),
    )
    return [layer for convolution in convolutions for layer in (convolution, nn.ReLU(inplace=True))]


@MODELS.register("nin")
class _NIN(Architecture):
    def build(
        self, state: Mapping[str, Tensor], published: PublishedWeights | None, map_size: int | None = None
    ) -> nn.Module:
        last = state.get(list(NIN(1).state_dict())[-1], torch.empty(1000))
        return self.build_for_training(len(last) if last.dim() else 1000, map_size)

    def build_for_training(self, classes: int, map_size: int | None = None, from_scratch: bool = True) -> nn.Module:
        if map_size is not None:
            raise InputError("nin has a fixed map size; leave out --map-size")
        return NIN(classes)
