"""The classifier of SPG, and the branches that guide its features in training."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from wsol.errors import InputError
from wsol.models.heads._steps import shorten_gradient
from wsol.models.heads.acol import initialize
from wsol.models.heads.base import HEADS, Head, find_features


@dataclass(frozen=True)
class SPGSettings:
    """The settings of SPG, which its training and the name of its network share.

    Attributes:
        high_b2: A pixel is foreground for branch B2 where the normalized map of the label is above this.
        low_b2: It is background where that map is below this, and ignored in between.
        high_b1: Foreground for branch B1, by the sigmoid of B2.
        low_b1: Background for branch B1.
        high_c: Foreground for branch C, by the mean of the sigmoids of B1 and B2.
        low_c: Background for branch C.
        b1: Layer, as in ``named_modules`` of the backbone, whose input branch B1 reads; ``end`` for the features that
            the head is put on; ``auto`` for that of the released code, which is known for VGG, ResNet and Inception v3.
        b2: That of branch B2.
        channels: Channels of the two convolutions 3 x 3 before the last layer of the classifier; 0 for none.
        width: Channels of the convolutions 3 x 3 of the branches.
    """

    high_b2: float = 0.7
    low_b2: float = 0.01
    high_b1: float = 0.5
    low_b1: float = 0.05
    high_c: float = 0.7
    low_c: float = 0.1
    b1: str = "auto"
    b2: str = "auto"
    channels: int = 1024
    width: int = 512

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ValueError: A threshold is outside, or there is no channel or layer.
        """
        for name in ("b2", "b1", "c"):
            low, high = getattr(self, f"low_{name}"), getattr(self, f"high_{name}")
            if not 0 <= low <= high <= 1:
                raise ValueError(
                    f"low_{name} is {low} and high_{name} is {high}, which must be from 0 to 1, the first not above "
                    "the second"
                )
        if self.channels < 0:
            raise ValueError(f"channels is {self.channels}, which must be 0 or more")
        if self.width < 1:
            raise ValueError(f"width is {self.width}, which must be 1 or more")
        if not self.b1 or not self.b2:
            raise ValueError("b1 and b2 must be names of layers, end or auto")


@HEADS.register("spg")
@dataclass(frozen=True)
class SPGHead(SPGSettings, Head):
    """A classifier, and in training three branches that predict the foreground."""

    def attach(self, network: nn.Module, model: str, classes: int, for_training: bool) -> nn.Module:
        """Return the features with the classifier; for training, with the branches too.

        Raises:
            InputError: The layers that the branches read are missing or unknown.
        """
        features, channels = find_features(network, model)
        headed = SPGNetwork(features, channels, classes, self.channels)
        if for_training:
            layers = _choose_layers(features, model, self.b1, self.b2)
            widths = _measure_inputs(features, layers, model)
            headed.branches = SPGBranches(layers, widths, self.channels or channels, self.width)
        return headed

    def count_classes(self, state: Mapping[str, Tensor]) -> int | None:
        """Return the number of outputs of the classifier."""
        weight = state.get("fc.weight")
        return len(weight) if weight is not None and weight.dim() else None

    def export_state(self, network: nn.Module) -> dict[str, Tensor]:
        """Return the weights without those of the branches."""
        return {key: value for key, value in network.state_dict().items() if not key.startswith("branches.")}


class SPGNetwork(nn.Module):
    """Features, two convolutions 3 x 3, global average pooling, one linear layer; and branches for training.

    Args:
        features: Maps images ``(n, 3, H, W)`` to features ``(n, C, h, w)``.
        width: C.
        classes: Number of classes.
        channels: Channels of the convolutions; 0 for none.
    """

    branches: "SPGBranches | None"

    def __init__(self, features: nn.Module, width: int, classes: int, channels: int) -> None:
        super().__init__()
        self.features = features
        self.convolutions = nn.Sequential()
        if channels:
            self.convolutions = nn.Sequential(
                nn.Conv2d(width, channels, 3, padding=1),
                nn.ReLU(inplace=True),
                nn.Conv2d(channels, channels, 3, padding=1),
                nn.ReLU(inplace=True),
            )
            initialize(self.convolutions)
        self.fc = nn.Linear(channels or width, classes)
        self.branches = None

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor | tuple[Tensor, ...]:
        """Return logits ``(n, classes)``; with labels also what guides and is guided, each ``(n, 1, h, w)``.

        These are the class activation map of the label, without a gradient, and the logits of the foreground of the
        branches B1, B2 and C.
        """
        if labels is None:
            return self._score(self.convolutions(self.features(images)))
        assert self.branches is not None  # labels are for training
        with record_inputs(self.features, self.branches.layers) as inputs:
            features = self.features(images)
        hidden = self.convolutions(features)
        with torch.no_grad():
            weights = self.fc.weight[labels][:, None]
            attention = torch.bmm(weights, hidden.flatten(2)).reshape(-1, 1, *hidden.shape[2:])
        first, second = (features if each is None else each for each in inputs)
        return self._score(hidden), attention, *self.branches(first, second, hidden)

    def _score(self, hidden: Tensor) -> Tensor:
        logits: Tensor = self.fc(hidden.mean((2, 3)))
        return logits


class SPGBranches(nn.Module):
    """The branches B1, B2 and C, from feature maps to one map of logits each; B1 and B2 share all but the first layer.

    Args:
        layers: Names of the layers whose inputs B1 and B2 read, or ``end``.
        widths: Channels of the maps that B1 and B2 read.
        channels: Channels of the maps that C reads.
        width: Channels of the convolutions 3 x 3.
    """

    def __init__(self, layers: Sequence[str], widths: Sequence[int], channels: int, width: int) -> None:
        super().__init__()
        self.layers = tuple(layers)
        self.b1, self.b2, self.c = (_convolution(each, width) for each in (*widths, channels))
        self.shared = _convolution(width, width)
        self.b_last, self.c_last = (nn.Conv2d(width, 1, 1) for _ in range(2))
        initialize(self)
        for each in (self.b_last, self.c_last):
            nn.init.zeros_(each.weight)  # they start from probabilities of a half

    def forward(self, first: Tensor, second: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits of the foreground of B1, B2 and C, each ``(n, 1, h, w)``."""
        b1, b2 = (_predict(self.b_last, self.shared(each)) for each in (self.b1(first), self.b2(second)))
        return b1, b2, _predict(self.c_last, self.c(hidden))


def _predict(last: nn.Conv2d, hidden: Tensor) -> Tensor:
    return functional.conv2d(hidden, shorten_gradient(last.weight, hidden), last.bias)


def _convolution(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(inplace=True))


@contextlib.contextmanager
def record_inputs(features: nn.Module, layers: Sequence[str]) -> Iterator[list[Tensor | None]]:
    """Yield a list that holds the input of each layer after a pass; None for ``end``.

    The input of a layer is that of its first part without parts that runs: a traced network calls no others.
    """
    inputs: list[Tensor | None] = [None for _ in layers]
    with contextlib.ExitStack() as hooks:
        for index, layer in enumerate(layers):

            def record(_: nn.Module, values: tuple[Tensor, ...], index: int = index) -> None:
                if inputs[index] is None:
                    inputs[index] = values[0]

            for part in [] if layer == "end" else _find_layer(features, layer).modules():
                if not any(part.children()):
                    hooks.callback(part.register_forward_pre_hook(record).remove)
        yield inputs


def _find_layer(features: nn.Module, layer: str) -> nn.Module:
    """Return a layer by its name in the backbone, of which the features may be the part ``features``."""
    for path, _ in features.named_modules():
        if layer in (path, f"features.{path}", path.removeprefix("body.")):
            return features.get_submodule(path)
    raise LookupError(layer)


def _choose_layers(features: nn.Module, model: str, b1: str, b2: str) -> tuple[str, str]:
    """Return the layers whose inputs B1 and B2 read, those of the released code for ``auto``.

    Raises:
        InputError: They are not known.
    """
    if "auto" not in (b1, b2):
        return b1, b2
    known = _known_layers(features)
    if known is None:
        raise InputError(
            f"{model}: the layers that the branches of SPG read are not known; give two of its layers, or end for the "
            "last features, as --train-method spg:b1=LAYER,b2=LAYER"
        )
    return known[0] if b1 == "auto" else b1, known[1] if b2 == "auto" else b2


def _known_layers(features: nn.Module) -> tuple[str, str] | None:
    modules = {path.removeprefix("body."): module for path, module in features.named_modules()}
    for layers in (("layer3.1", "layer4"), ("Mixed_6a", "Mixed_6e")):  # ResNet, Inception v3
        if modules.keys() >= {*layers}:
            return layers
    parts = [(path, module) for path, module in modules.items() if path and not any(module.children())]
    pools = [i for i, (_, module) in enumerate(parts) if isinstance(module, (nn.MaxPool2d, nn.Identity))]
    if len(pools) >= _VGG_POOLS and all(isinstance(module, _VGG_PARTS) for _, module in parts):
        return parts[pools[_VGG_POOLS - 1] + 1][0], "end"
    return None


_VGG_POOLS = 4  # before the last stage; some may be left out for larger maps
_VGG_PARTS = (nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.MaxPool2d, nn.Identity)


def _measure_inputs(features: nn.Module, layers: Sequence[str], model: str) -> list[int]:
    """Return the number of channels of the input of each layer.

    Raises:
        InputError: There is no such layer among the features, or its input is no feature map.
    """
    training = features.training
    try:
        with torch.no_grad(), record_inputs(features, layers) as inputs:
            end = features.eval()(torch.zeros(1, 3, _SIDE, _SIDE))
    except LookupError as error:
        raise InputError(
            f"{model} has no layer {error.args[0]} among its features, which a branch of SPG is to read; name others "
            "as --train-method spg:b1=LAYER,b2=LAYER"
        ) from error
    finally:
        features.train(training)
    widths = []
    for layer, each in zip(layers, inputs, strict=True):
        maps = end if layer == "end" else each
        if maps is None or maps.dim() != 4:
            raise InputError(f"{model}: the input of {layer} is no feature map that a branch of SPG could read")
        widths.append(maps.shape[1])
    return widths


_SIDE = 224
