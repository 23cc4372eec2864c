"""VGG16 and InceptionV3 of Choe et al., "Evaluating Weakly Supervised Object Localization Methods Right", CVPR 2020.

Their third network is torchvision's ``resnet50`` with maps of 14 x 14 or 28 x 28. Layers have the names of their code,
clovaai/wsolevaluation, and of torchvision's weights.
"""

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import torch
import torchvision.models
from torch import Tensor, nn

from wsol.errors import InputError
from wsol.models.architectures._inception import PaddedReduction
from wsol.models.base import MODELS, Architecture, PublishedWeights


class VGG16(nn.Sequential):
    """The network that ``build_vgg16`` returns."""

    @property
    def feature_layers(self) -> nn.Module:
        """The layers before the added convolution."""
        return self.get_submodule("features")


class InceptionV3(nn.Sequential):
    """The network that ``build_inception_v3`` returns."""

    @property
    def feature_layers(self) -> nn.Module:
        """The layers before the added convolutions, under the name below which other heads look for weights."""
        return nn.Sequential(OrderedDict({"body": self[: len(_INCEPTION_LAYERS)]}))


def build_vgg16(classes: int, map_size: int, init_weights: bool) -> VGG16:
    """Return VGG-16 up to conv5_3, a convolution to 1024 channels, global average pooling and a linear layer.

    Unlike ``vgg16-gap`` the added convolution has a single group, the linear layer has a bias, and there is no dropout.

    Args:
        classes: Number of classes.
        map_size: 14, or 28 without the fourth pooling layer.
        init_weights: Whether to initialize the layers of VGG-16 as torchvision does.
    """
    features = torchvision.models.vgg16(weights=None, init_weights=init_weights).features[:-1]
    if map_size == 28:
        features[_POOL4] = nn.Identity()
    added = nn.Conv2d(512, 1024, 3, padding=1)
    nn.init.kaiming_normal_(added.weight, mode="fan_out", nonlinearity="relu")
    head = {
        "relu": nn.ReLU(),
        "avgpool": nn.AdaptiveAvgPool2d(1),
        "flatten": nn.Flatten(),
        "fc": nn.Linear(1024, classes),
    }
    return VGG16(OrderedDict({"features": features, "conv6": added, **head}))


def build_inception_v3(classes: int, map_size: int, init_weights: bool) -> InceptionV3:
    """Return Inception v3 up to Mixed_6e, two convolutions 3 x 3, one of 1 x 1 to the classes, and average pooling.

    Dropout precedes each of the three added convolutions. Unlike in ``inception_v3-gap``, there are two of 3 x 3 and no
    linear layer, the second and the last convolution of the stem are not padded, and a pooling layer, not the stride of
    Mixed_6a, halves the maps to 14 x 14.

    Args:
        classes: Number of classes.
        map_size: 14, or 28 without the last pooling layer.
        init_weights: Whether to initialize the layers of Inception v3 as torchvision does.
    """
    plain = torchvision.models.inception_v3(weights=None, aux_logits=False, init_weights=init_weights)
    vars(plain.get_submodule("Conv2d_1a_3x3.conv"))["padding"] = (1, 1)
    layers: dict[str, nn.Module] = {
        "pool1": nn.MaxPool2d(3, 2, padding=1, ceil_mode=True),
        "pool2": nn.MaxPool2d(3, 2, padding=1, ceil_mode=True),
        "pool3": nn.MaxPool2d(3, 2, ceil_mode=True) if map_size == 14 else nn.Identity(),
        "Mixed_6a": PaddedReduction(plain.get_submodule("Mixed_6a"), stride=1),
    }
    trunk = {name: layers.get(name) or plain.get_submodule(name) for name in _INCEPTION_LAYERS}
    convolutions = [
        nn.Conv2d(768, 1024, 3, padding=1),
        nn.Conv2d(1024, 1024, 3, padding=1),
        nn.Conv2d(1024, classes, 1),
    ]
    for convolution in convolutions:
        nn.init.xavier_uniform_(convolution.weight)
    first, second, last = convolutions
    added: dict[str, nn.Module] = {
        "dropout1": nn.Dropout(0.5),
        "SPG_A3_1b": nn.Sequential(first, nn.ReLU()),
        "dropout2": nn.Dropout(0.5),
        "SPG_A3_2b": nn.Sequential(second, nn.ReLU()),
        "dropout3": nn.Dropout(0.5),
        "SPG_A4": last,
    }
    return InceptionV3(OrderedDict({**trunk, **added, "avgpool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten()}))


_POOL4 = 23  # index of the fourth pooling layer among the features of torchvision's VGG-16
_INCEPTION_LAYERS = (
    *("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "pool1", "Conv2d_3b_1x1", "Conv2d_4a_3x3", "pool2"),
    *("Mixed_5b", "Mixed_5c", "Mixed_5d", "pool3", "Mixed_6a", "Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"),
)
_BUILDERS = {"vgg16": build_vgg16, "inception_v3": build_inception_v3}


class _Network(Architecture):
    backbone: ClassVar[str]
    head: ClassVar[str]

    def build(
        self, state: Mapping[str, Tensor], published: PublishedWeights | None, map_size: int | None = None
    ) -> nn.Module:
        head = state.get(self.head, torch.empty(1000, 0))
        return self.build_for_training(len(head) if head.dim() else 1000, map_size, from_scratch=False)

    def build_for_training(self, classes: int, map_size: int | None = None, from_scratch: bool = True) -> nn.Module:
        if map_size not in (None, 14, 28):
            raise InputError(
                f"{self.backbone}-wsolevaluation: maps of {map_size} x {map_size} are not possible; --map-size can be "
                "14, 28"
            )
        network = _BUILDERS[self.backbone](classes, map_size or 14, from_scratch)
        for name, parameter in network.named_parameters():  # the added layers have biases of zero, as in their code
            if name.startswith(("conv6", "fc", "SPG")) and parameter.dim() == 1:
                nn.init.zeros_(parameter)
        return network

    def published_weights(self) -> tuple[PublishedWeights, ...]:
        return MODELS.get(self.backbone).published_weights()

    def fetch(self, name: str) -> Path:
        return MODELS.get(self.backbone).fetch(name)


class _VGG16(_Network):
    backbone, head = "vgg16", "fc.weight"


class _InceptionV3(_Network):
    backbone, head = "inception_v3", "SPG_A4.weight"


MODELS.register("vgg16-wsolevaluation")(_VGG16())
MODELS.register("inception_v3-wsolevaluation")(_InceptionV3())
