"""VGG16-GAP, the network of the CAM paper."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from wsol.models.base import MODELS, Architecture, Published


class VGG16GAP(nn.Module):
    """VGG-16 up to conv5_3, one more convolution, global average pooling, one linear layer.

    Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016, section 3: pool5 and the fully
    connected layers are gone; conv 3 x 3, stride 1, pad 1, 1024 units, ReLU; average pooling over 14 x 14 (at 224);
    dropout 0.5; linear without bias.

    Args:
        classes: Number of classes.
        groups: Of the added convolution; 2 in the authors' deploy file.
        bias: Whether the linear layer has a bias; others' reimplementations do.
    """

    def __init__(self, classes: int = 1000, groups: int = 2, bias: bool = False) -> None:
        super().__init__()
        from torchvision.models import vgg16  # noqa: PLC0415  # slow to import

        self.features = vgg16(weights=None, init_weights=False).features[:-1]
        self.conv6 = nn.Conv2d(512, 1024, 3, padding=1, groups=groups)
        self.relu = nn.ReLU(inplace=True)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(0.5)
        self.fc = nn.Linear(1024, classes, bias=bias)

    def forward(self, images: Tensor) -> Tensor:
        """Returns logits ``(n, classes)`` of images ``(n, 3, H, W)``."""
        maps: Tensor = self.relu(self.conv6(self.features(images)))
        logits: Tensor = self.fc(self.dropout(self.pool(maps).flatten(1)))
        return logits


class _VGG16GAP(Architecture):
    def build(self, state: Mapping[str, Tensor], published: Published | None) -> nn.Module:
        head = state.get("fc.weight", torch.empty(1000, 1024))
        classes = head.shape[0] if head.dim() else 1000
        grouped = state.get("conv6.weight", torch.empty(0)).shape[1:2] != (512,)
        return VGG16GAP(classes, groups=2 if grouped else 1, bias="fc.bias" in state)


MODELS.register("vgg16-gap")(_VGG16GAP())
