"""AlexNet*-GAP of the CAM paper."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from wsol.errors import InputError
from wsol.models.base import MODELS, Architecture, PublishedWeights


class AlexNetStarGAP(nn.Module):
    """AlexNet up to conv5, two more convolutions, global average pooling, one linear layer.

    Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016, section 3.1: two more
    convolutions before the pooling, 3 x 3, 512 units each, with ReLU; 13 x 13 maps for 224 x 224 images. The
    convolutions up to conv5 are those of torchvision's AlexNet.

    Args:
        classes: Number of classes.
    """

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        from torchvision.models import alexnet  # noqa: PLC0415  # slow to import

        self.features = alexnet(weights=None).features[:-1]
        self.added = nn.Sequential(
            nn.Conv2d(256, 512, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(512, 512, 3, padding=1),
            nn.ReLU(inplace=True),
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(0.5)
        self.fc = nn.Linear(512, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(n, classes)`` of images ``(n, 3, H, W)``."""
        logits: Tensor = self.fc(self.dropout(self.pool(self.added(self.features(images))).flatten(1)))
        return logits


@MODELS.register("alexnet-star-gap")
class _AlexNetStar(Architecture):
    def build(
        self, state: Mapping[str, Tensor], published: PublishedWeights | None, map_size: int | None = None
    ) -> nn.Module:
        head = state.get("fc.weight", torch.empty(1000, 0))
        return self.build_for_training(len(head) if head.dim() else 1000, map_size)

    def build_for_training(self, classes: int, map_size: int | None = None, from_scratch: bool = True) -> nn.Module:
        if map_size is not None:
            raise InputError("alexnet-star-gap has maps of 13 x 13; leave out --map-size")
        return AlexNetStarGAP(classes)
