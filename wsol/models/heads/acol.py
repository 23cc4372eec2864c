"""The two classifiers of ACoL."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from wsol.models.heads._steps import shorten_gradient
from wsol.models.heads.base import HEADS, Head, find_features


@dataclass(frozen=True)
class ACoLSettings:
    """The settings of ACoL, which training and maps share.

    Attributes:
        threshold: Classifier B does not see the places where the normalized map of classifier A is this or more, in
            [0, 1]; 0.7 in the code of Choe et al.
        channels: Channels of the two convolutions 3 x 3 of each classifier; 1024 in the paper.
    """

    threshold: float = 0.7
    channels: int = 1024

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ValueError: The threshold is not in [0, 1], or there is no channel.
        """
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold is {self.threshold}, which must be from 0 to 1")
        if self.channels < 1:
            raise ValueError(f"channels is {self.channels}, which must be 1 or more")


@HEADS.register("acol")
@dataclass(frozen=True)
class ACoLHead(ACoLSettings, Head):
    """Two classifiers on the same features; the second does not see where the first looks."""

    def attach(self, network: nn.Module, model: str, classes: int, for_training: bool) -> nn.Module:
        """Return the features with both classifiers, which training and maps need alike."""
        features, width = find_features(network, model)
        return ACoLNetwork(features, ACoLClassifiers(width, classes, self.channels, self.threshold))

    def count_classes(self, state: Mapping[str, Tensor]) -> int | None:
        """Return the number of outputs of classifier A."""
        weight = state.get("classifiers.a.maps.weight")
        return len(weight) if weight is not None and weight.dim() else None


class ACoLNetwork(nn.Module):
    """Features and the two classifiers of ACoL.

    Args:
        features: Maps images ``(n, 3, H, W)`` to features ``(n, C, h, w)``.
        classifiers: The two classifiers.
    """

    def __init__(self, features: nn.Module, classifiers: "ACoLClassifiers") -> None:
        super().__init__()
        self.features = features
        self.classifiers = classifiers

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor | tuple[Tensor, Tensor]:
        """Return the logits ``(n, classes)`` of classifier A; with labels ``(n,)``, those of A and B.

        What is erased is chosen by A's map of the label, through which no gradient flows.
        """
        features = self.features(images)
        a, b = self.classifiers.a, self.classifiers.b
        hidden = a(features)
        logits = a.score(hidden)
        if labels is None:
            return logits
        with torch.no_grad():
            normalized = normalize(a.map_classes(hidden, labels[:, None]))
        return logits, b.score(b(self.classifiers.erase(features, normalized)))


class ACoLClassifiers(nn.Module):
    """The two classifiers of ACoL, each with parameters of its own.

    Args:
        width: Channels of the features.
        classes: Number of classes.
        channels: Channels of the two convolutions of each classifier.
        threshold: Classifier B does not see the places where A's normalized map is this or more.
    """

    def __init__(self, width: int, classes: int, channels: int, threshold: float) -> None:
        super().__init__()
        self.threshold = threshold
        self.a = MapClassifier(width, classes, channels)
        self.b = MapClassifier(width, classes, channels)

    def erase(self, features: Tensor, normalized: Tensor) -> Tensor:
        """Return features ``(n, C, h, w)`` with zeros where A's normalized map ``(n, 1, h, w)`` is high."""
        return features.masked_fill(normalized >= self.threshold, 0)


class MapClassifier(nn.Module):
    """3 x 3, ReLU, 3 x 3, ReLU, 1 x 1 to one map per class, global average pooling.

    The convolution 1 x 1 and the pooling commute, so that only maps that are asked for are computed.

    Args:
        width: Channels of the features.
        classes: Number of classes.
        channels: Channels of the two convolutions 3 x 3.
    """

    def __init__(self, width: int, classes: int, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(width, channels, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.ReLU(inplace=True),
        )
        self.maps = nn.Conv2d(channels, classes, 1)
        initialize(self.layers)
        # Training starts from a guess: random numbers times features of any size would be confident nonsense.
        nn.init.zeros_(self.maps.weight)
        nn.init.zeros_(self._bias)

    @property
    def _bias(self) -> Tensor:
        bias = self.maps.bias
        assert bias is not None
        return bias

    def forward(self, features: Tensor) -> Tensor:
        """Return the input ``(n, channels, h, w)`` of the convolution 1 x 1."""
        hidden: Tensor = self.layers(features)
        return hidden

    def score(self, hidden: Tensor) -> Tensor:
        """Return the means ``(n, classes)`` of all maps."""
        pooled, weight = hidden.mean((2, 3)), self.maps.weight.flatten(1)
        if self.training:
            weight = shorten_gradient(weight, pooled)
        return functional.linear(pooled, weight, self.maps.bias)

    def map_classes(self, hidden: Tensor, classes: Tensor) -> Tensor:
        """Return the maps ``(n, k, h, w)`` of classes ``(n, k)``."""
        weights = self.maps.weight.flatten(1)[classes]
        maps = torch.bmm(weights, hidden.flatten(2)).reshape(*classes.shape, *hidden.shape[2:])
        return maps + self._bias[classes][:, :, None, None]


def initialize(layers: nn.Module) -> None:
    """Draw the weights of convolutions that ReLU follows, in place, after He et al., ICCV 2015, with biases of zero."""
    for module in layers.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def normalize(maps: Tensor) -> Tensor:
    """Return maps ``(n, k, h, w)`` with the range [0, 1] each, ``(x - min) / (max - min)``; zeros for a constant one.

    They are computed in float32 at least.
    """
    maps = maps.to(torch.promote_types(maps.dtype, torch.float32))
    low, high = maps.amin((2, 3), keepdim=True), maps.amax((2, 3), keepdim=True)
    return (maps - low) / (high - low).clamp(min=torch.finfo(maps.dtype).tiny)
