"""Any torchvision backbone as a classifier that ends in global pooling: ``alexnet-gap``, ``googlenet-gmp`` ..."""

from collections.abc import Mapping

import torch
import torchvision.models
from torch import Tensor, nn

from wsol.models._feature_extractor import Features, enlarge_maps, map_size
from wsol.models.architectures._inception import padded_inception_v3
from wsol.models.base import MODELS, Architecture, Preprocessing, PublishedWeights
from wsol.models.global_pooling import POOLINGS, Pooling


class Pooled(nn.Module):
    """Features, one more convolution where the CAM paper has it, global pooling, dropout, one linear layer.

    Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016, section 3: what follows the
    features is replaced by a convolution 3 x 3, stride 1, pad 1, 1024 units, ReLU, and global pooling. A backbone that
    pools to 1 x 1 by itself (ResNet, DenseNet ...) needs no added convolution.

    Args:
        name: Of torchvision's classifier.
        classes: Number of classes.
        pooling: ``average`` or ``max``.
        side: Of the maps of a 224 x 224 image; None for the backbone's own.
    """

    def __init__(self, name: str, classes: int, pooling: Pooling, side: int | None = None) -> None:
        super().__init__()
        side = _SIDES.get(name) if side is None else side
        if name == "inception_v3":
            self.backbone = Features(padded_inception_v3(28 if side == 28 else 14), name, _CUTS[name])
        else:
            settings = {"aux_logits": False, "init_weights": True} if name == "googlenet" else {}
            whole = torchvision.models.get_model(name, weights=None, **settings)
            self.backbone = Features(whole, name, _CUTS.get(name))
        if side is not None:
            enlarge_maps(self.backbone, side, name)
        channels = map_size(self.backbone)[0]
        self.added = nn.Sequential()
        if not self.backbone.pools_to_one:
            self.added = nn.Sequential(nn.Conv2d(channels, 1024, 3, padding=1), nn.ReLU(inplace=True))
            channels = 1024
        self.pool = POOLINGS[pooling](1)
        self.dropout = nn.Dropout(0.5)
        self.fc = nn.Linear(channels, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(n, classes)`` of images ``(n, 3, H, W)``."""
        maps: Tensor = self.added(self.backbone(images))
        logits: Tensor = self.fc(self.dropout(self.pool(maps).flatten(1)))
        return logits


# The CAM paper removes what follows inception4e; the WSOL literature does the like to Inception v3.
_CUTS = {"googlenet": "inception4e", "inception_v3": "Mixed_6e"}
_SIDES = {"alexnet": 13} | {f"vgg{depth}{norm}": 14 for depth in (11, 13, 16, 19) for norm in ("", "_bn")}


class _Pooled(Architecture):
    def __init__(self, name: str, pooling: Pooling) -> None:
        self.name, self.pooling = name, pooling

    def build(
        self, state: Mapping[str, Tensor], published: PublishedWeights | None, side: int | None = None
    ) -> nn.Module:
        head = state.get("fc.weight", torch.empty(1000, 0))
        return Pooled(self.name, len(head) if head.dim() else 1000, self.pooling, side)

    def build_for_training(self, classes: int, side: int | None = None, from_scratch: bool = True) -> nn.Module:
        return Pooled(self.name, classes, self.pooling, side)

    def preprocessing(self) -> Preprocessing:
        return MODELS.get(self.name).preprocessing()


_POOLINGS: dict[str, Pooling] = {"gap": "average", "gmp": "max"}

for _name in torchvision.models.list_models(module=torchvision.models):
    for _suffix, _pooling in _POOLINGS.items():
        if not _name.startswith("vit_") and _name != "vgg16":  # no feature map; and VGG16-GAP has a file of its own
            MODELS.register(f"{_name}-{_suffix}")(_Pooled(_name, _pooling))
