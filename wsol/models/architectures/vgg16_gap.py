"""VGG16-GAP, the network of the CAM paper, and VGG16-GMP."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from wsol.models._feature_extractor import enlarge_maps
from wsol.models.base import MODELS, Architecture, PublishedWeights
from wsol.models.pooling import THETA, Pooling, check_theta, make_pooling


class VGG16GAP(nn.Module):
    """VGG-16 up to conv5_3, one more convolution, global average pooling, one linear layer.

    Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016, section 3: pool5 and the fully
    connected layers are removed; conv 3 x 3, stride 1, pad 1, 1024 units, ReLU; average pooling over 14 x 14 (for
    224 x 224 images); dropout 0.5; linear without bias.

    Args:
        classes: Number of classes.
        groups: Groups of the added convolution; 2 in the authors' deploy file.
        bias: Whether the linear layer has a bias; reimplementations by others do.
        batch_norm: Whether batch normalization follows each convolution.
        pooling: ``average``; ``max`` for VGG16-GMP, ``thresholded`` for VGG16-TAP.
        theta: Share of the maximum that counts in thresholded average pooling.
    """

    def __init__(
        self,
        classes: int = 1000,
        groups: int = 2,
        bias: bool = False,
        batch_norm: bool = False,
        pooling: Pooling = "average",
        theta: float = THETA,
    ) -> None:
        super().__init__()
        from torchvision.models import vgg16, vgg16_bn  # noqa: PLC0415  # slow to import

        self.features = (vgg16_bn if batch_norm else vgg16)(weights=None, init_weights=batch_norm).features[:-1]
        self.conv6 = nn.Conv2d(512, 1024, 3, padding=1, groups=groups)
        self.norm6 = nn.BatchNorm2d(1024) if batch_norm else nn.Identity()
        self.relu = nn.ReLU(inplace=True)
        self.pool = make_pooling(pooling, theta)
        self.dropout = nn.Dropout(0.5)
        self.fc = nn.Linear(1024, classes, bias=bias)

    @property
    def feature_layers(self) -> nn.Module:
        """The layers before the added convolution."""
        features: nn.Module = self.features
        return features

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(n, classes)`` of images ``(n, 3, H, W)``."""
        maps: Tensor = self.relu(self.norm6(self.conv6(self.features(images))))
        logits: Tensor = self.fc(self.dropout(self.pool(maps).flatten(1)))
        return logits


class _VGG16(Architecture):
    pooling: ClassVar[Pooling] = "average"
    theta: float = THETA

    def build(
        self, state: Mapping[str, Tensor], published: PublishedWeights | None, map_size: int | None = None
    ) -> nn.Module:
        head = state.get("fc.weight", torch.empty(1000, 1024))
        classes = head.shape[0] if head.dim() else 1000
        grouped = state.get("conv6.weight", torch.empty(0)).shape[1:2] != (512,)
        network = VGG16GAP(classes, groups=2 if grouped else 1, bias="fc.bias" in state, **self._pooling)
        return self._enlarge_maps(network, map_size)

    def bundled_weights(self) -> Path | None:
        return BUNDLED if self.pooling == "average" and BUNDLED.is_file() else None

    def build_for_training(self, classes: int, map_size: int | None = None, from_scratch: bool = True) -> nn.Module:
        # Without batch normalization a network this deep does not train from random weights.
        network = VGG16GAP(classes, batch_norm=from_scratch, **self._pooling)
        self._enlarge_maps(network, map_size)
        nn.init.kaiming_normal_(network.conv6.weight, mode="fan_out", nonlinearity="relu")
        return network

    def export_state(self, network: nn.Module) -> dict[str, Tensor]:
        # Batch normalization is folded into the convolutions: the stored network is that of the paper.
        if not isinstance(network, VGG16GAP) or isinstance(network.norm6, nn.Identity):
            return network.state_dict()
        convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
        norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
        folded = [fuse_conv_bn_eval(*pair) for pair in zip(convolutions, norms, strict=True)]
        plain = VGG16GAP(network.fc.out_features)
        targets = [m for m in plain.modules() if isinstance(m, nn.Conv2d)]
        for target, convolution in zip(targets, folded, strict=True):
            target.load_state_dict(convolution.state_dict())
        plain.fc.load_state_dict(network.fc.state_dict())
        return plain.state_dict()

    @property
    def _pooling(self) -> dict[str, Any]:
        return {"pooling": self.pooling, "theta": self.theta}

    def _enlarge_maps(self, network: VGG16GAP, map_size: int | None) -> VGG16GAP:
        if map_size is not None:
            enlarge_maps(network.features, map_size, "vgg16")
        return network


class _VGG16GMP(_VGG16):
    pooling: ClassVar[Pooling] = "max"


@dataclass(frozen=True)
class _VGG16TAP(_VGG16):
    pooling: ClassVar[Pooling] = "thresholded"
    theta: float = THETA

    def __post_init__(self) -> None:
        check_theta(self.theta)


BUNDLED = Path(__file__).parents[1] / "weights" / "vgg16-gap-synthetic.safetensors"

MODELS.register("vgg16-gap")(_VGG16())
MODELS.register("vgg16-gmp")(_VGG16GMP())
MODELS.register("vgg16-tap")(_VGG16TAP())
