"""Attention-based dropout: inner layers lose their most discriminative places, or are weighted by their attention."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from wsol.errors import InputError
from wsol.models.layer_outputs import expose_output, find_layer
from wsol.training.methods.base import TRAIN_METHODS, TrainMethod


@TRAIN_METHODS.register("adl")
@dataclass(frozen=True)
class AttentionDropout(TrainMethod):
    """Drop the most discriminative places of inner feature maps, or weight places by their attention.

    Choe and Shim, "Attention-based Dropout Layer for Weakly Supervised Object Localization", CVPR 2019, section 3. The
    attention of a place is the mean of its channels. After each of the layers, in every step, all maps are multiplied
    by one of two, chosen at random for the whole step and each layer on its own: with probability ``rate`` by the drop
    mask, which is 1 where the attention is below ``threshold`` times its maximum over the image, else 0; otherwise by
    the importance map, the sigmoid of the attention. Kept values are not scaled up. In evaluation the layers do
    nothing; they have no parameters.

    As in the released code of the paper and of Choe et al., the gradient passes through the importance map, into the
    attention, and not through the drop mask, which is constant almost everywhere. The attention is computed in float32
    at least.

    With ``layers=auto`` these are the layers of Choe et al.'s released code: for VGG, after pool3, before pool4 and
    after the last convolution before the added one; for ResNet, after the first block of ``layer3``, the first and the
    last of ``layer4``; for Inception v3, after ``Mixed_5d``, ``Mixed_6e`` and the last of the added convolutions 3 x 3.
    Among several processes each draws for its own share of the step.

    Attributes:
        threshold: Share of the maximal attention from which on a place is dropped, 0 to 1.
        rate: Probability of the drop mask, 0 to 1.
        layers: Dotted names of the layers, separated by ``+``, ``layer3.0+layer4.0``; ``auto`` for those of the paper.
    """

    threshold: float = 0.9
    rate: float = 0.75
    layers: str = "auto"

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            ValueError: One is out of range.
        """
        for name in ("threshold", "rate"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ValueError(f"{name} is {value}, which must be from 0 to 1")

    def prepare(self, network: nn.Module, model: str, side: int) -> None:
        """Insert the layers; see ``TrainMethod.prepare``.

        Raises:
            InputError: The network has no such layers, or ``auto`` does not know it.
        """
        if self.layers == "auto":
            paths = _find_layers(network)
        else:
            paths = [find_layer(network, name, model) for name in self.layers.split("+")]
        if not paths:
            raise InputError(
                f"adl knows the layers of VGG, ResNet and Inception v3 alone, and {model} is none of them; name layers "
                "with feature maps, adl:layers=NAME+NAME"
            )
        for path in dict.fromkeys(paths):
            output = expose_output(network, path, model)
            output.register_forward_hook(partial(_change_output, self.threshold, self.rate, path))


def weight_places(maps: Tensor, threshold: float, drops: bool) -> Tensor:
    """Return maps times the drop mask or the importance map.

    Args:
        maps: ``(n, C, h, w)``.
        threshold: Share of the maximal attention from which on a place is dropped.
        drops: Whether to use the drop mask.
    """
    source = maps.detach() if drops else maps
    attention = source.mean(1, keepdim=True, dtype=torch.promote_types(maps.dtype, torch.float32))
    weights = attention < threshold * attention.amax((1, 2, 3), keepdim=True) if drops else attention.sigmoid()
    return maps * weights.to(maps.dtype)


def _change_output(threshold: float, rate: float, path: str, layer: nn.Module, _: Any, output: Any) -> Any:
    """Apply the layer as a forward hook."""
    if not layer.training:
        return None
    if not isinstance(output, Tensor) or output.dim() != 4 or output.shape[2] != output.shape[3]:
        found = " x ".join(map(str, output.shape)) if isinstance(output, Tensor) else f"a {type(output).__name__}"
        raise InputError(
            f"adl: the output of the layer {path} is {found}, and not square feature maps, n x C x h x w; name another "
            "layer"
        )
    drops = float(torch.rand((), device="cpu")) < rate
    return weight_places(output, threshold, drops)


def _find_layers(network: nn.Module) -> list[str]:
    """Return the layers of the paper; none if the network is of another family."""
    paths = [path for path, _ in network.named_modules()]
    blocks = {depth: _matches(rf"(.*\.)?layer{depth}\.\d+", paths) for depth in (3, 4)}
    if blocks[3] and blocks[4]:
        return [blocks[3][0], blocks[4][0], blocks[4][-1]]
    mixed = [path for name in ("Mixed_5d", "Mixed_6e") for path in _matches(rf"(.*\.)?{name}", paths)]
    if mixed:
        return [*mixed, *(path for path in paths if path in _INCEPTION_ADDED)]
    layers = _matches(r"(.*\.)?features\.\d+", paths)
    kinds = [type(network.get_submodule(path)) for path in layers]
    pools = [i for i, kind in enumerate(kinds) if kind in _POOLS]
    if set(kinds) <= _VGG and kinds.count(nn.Conv2d) >= _VGG_CONVOLUTIONS and len(pools) >= _VGG_POOLS:
        end = pools[4] if len(pools) > _VGG_POOLS else len(layers)
        return [layers[pools[2]], layers[pools[3] - 1], layers[end - 1]]
    return []


def _matches(pattern: str, paths: Sequence[str]) -> list[str]:
    return [path for path in paths if re.fullmatch(pattern, path)]


_INCEPTION_ADDED = ("added", "SPG_A3_2b")  # of inception_v3-gap and inception_v3-wsolevaluation
_POOLS = (nn.MaxPool2d, nn.Identity)  # a larger map size replaces a pooling by an identity
_VGG = {nn.Conv2d, nn.BatchNorm2d, nn.ReLU, *_POOLS}
_VGG_POOLS = 4  # at least; the fifth is removed where global pooling takes its place
_VGG_CONVOLUTIONS = 8  # of the smallest VGG; AlexNet has 5
