"""Any torchvision backbone before global pooling: ``alexnet-gap``, ``googlenet-gmp``, ``resnet18-tap`` ..."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torchvision.models
from torch import Tensor, nn

from wsol.models._feature_extractor import FeatureExtractor, enlarge_maps, measure_maps
from wsol.models.architectures._inception import build_padded_inception_v3
from wsol.models.base import MODELS, Architecture, Preprocessing, PublishedWeights
from wsol.models.pooling import THETA, Pooling, check_theta, make_pooling


class PooledClassifier(nn.Module):
    """Features, one more convolution where the CAM paper has it, global pooling, dropout, one linear layer.

    Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016, section 3: the layers after the
    features are replaced by a convolution 3 x 3, stride 1, pad 1, 1024 units, ReLU, and global pooling. A backbone that
    itself pools to 1 x 1 (ResNet, DenseNet ...) needs no added convolution.

    Args:
        name: Name of torchvision's classifier.
        classes: Number of classes.
        pooling: ``average``, ``max`` or ``thresholded``.
        map_size: Side of the feature maps for a 224 x 224 image; None for the backbone's own.
        theta: Share of the maximum that counts in thresholded average pooling.
    """

    def __init__(
        self, name: str, classes: int, pooling: Pooling, map_size: int | None = None, theta: float = THETA
    ) -> None:
        super().__init__()
        map_size = _MAP_SIZES.get(name) if map_size is None else map_size
        if name == "inception_v3":
            self.backbone = FeatureExtractor(
                build_padded_inception_v3(28 if map_size == 28 else 14), name, _LAST_LAYERS[name]
            )
        else:
            settings = {"aux_logits": False, "init_weights": True} if name == "googlenet" else {}
            network = torchvision.models.get_model(name, weights=None, **settings)
            self.backbone = FeatureExtractor(network, name, _LAST_LAYERS.get(name))
        if map_size is not None:
            enlarge_maps(self.backbone, map_size, name)
        channels = measure_maps(self.backbone)[0]
        self.added = nn.Sequential()
        if not self.backbone.pools_to_one:
            self.added = nn.Sequential(nn.Conv2d(channels, 1024, 3, padding=1), nn.ReLU(inplace=True))
            channels = 1024
        self.pool = make_pooling(pooling, theta)
        self.dropout = nn.Dropout(0.5)
        self.fc = nn.Linear(channels, classes)

    @property
    def feature_layers(self) -> nn.Module:
        """The layers before the added convolution, or before the pooling."""
        return self.backbone

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(n, classes)`` of images ``(n, 3, H, W)``."""
        maps: Tensor = self.added(self.backbone(images))
        logits: Tensor = self.fc(self.dropout(self.pool(maps).flatten(1)))
        return logits


# The CAM paper removes the layers after inception4e; the WSOL literature does the same to Inception v3.
_LAST_LAYERS = {"googlenet": "inception4e", "inception_v3": "Mixed_6e"}
_MAP_SIZES = {"alexnet": 13} | {f"vgg{depth}{norm}": 14 for depth in (11, 13, 16, 19) for norm in ("", "_bn")}


class _PooledArchitecture(Architecture):
    backbone: ClassVar[str]
    pooling: ClassVar[Pooling]
    theta: float = THETA

    def build(
        self, state: Mapping[str, Tensor], published: PublishedWeights | None, map_size: int | None = None
    ) -> nn.Module:
        head = state.get("fc.weight", torch.empty(1000, 0))
        classes = len(head) if head.dim() else 1000
        return PooledClassifier(self.backbone, classes, self.pooling, map_size, self.theta)

    def build_for_training(self, classes: int, map_size: int | None = None, from_scratch: bool = True) -> nn.Module:
        return PooledClassifier(self.backbone, classes, self.pooling, map_size, self.theta)

    def preprocessing(self) -> Preprocessing:
        return MODELS.get(self.backbone).preprocessing()


@dataclass(frozen=True)
class _ThresholdedArchitecture(_PooledArchitecture):
    pooling: ClassVar[Pooling] = "thresholded"
    theta: float = THETA

    def __post_init__(self) -> None:
        check_theta(self.theta)


def _pooled(name: str, pooling: Pooling) -> Architecture:
    kind: Any = _ThresholdedArchitecture if pooling == "thresholded" else _PooledArchitecture
    return type(kind.__name__, (kind,), {"backbone": name, "pooling": pooling})()  # type: ignore[no-any-return]


_POOLINGS: dict[str, Pooling] = {"gap": "average", "gmp": "max", "tap": "thresholded"}

for _name in torchvision.models.list_models(module=torchvision.models):
    for _suffix, _pooling in _POOLINGS.items():
        if not _name.startswith("vit_") and _name != "vgg16":  # vit_* has no feature map, VGG16-GAP its own file
            MODELS.register(f"{_name}-{_suffix}")(_pooled(_name, _pooling))
