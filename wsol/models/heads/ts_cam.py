"""The head of TS-CAM: a convolution on the patch tokens of a vision transformer."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torchvision.models import VisionTransformer

from wsol.errors import InputError
from wsol.models.heads.base import HEADS, Head


@HEADS.register("ts-cam")
@dataclass(frozen=True)
class TSCAMHead(Head):
    """Class maps by a convolution 3 x 3 on the patch tokens after the last layer, and their means as class scores.

    Gao et al., "TS-CAM: Token Semantic Coupled Attention Map for Weakly Supervised Object Localization", ICCV 2021,
    eq. 6 and 7. The class token takes part in the attention, and no score is read from it.
    """

    def attach(self, network: nn.Module, model: str, classes: int, for_training: bool) -> nn.Module:
        """Return the tokens of a vision transformer of torchvision or timm with this head."""
        features = PatchTokens(network, model)
        return TSCAMNetwork(features, classes)

    def count_classes(self, state: Mapping[str, Tensor]) -> int | None:
        """Return the number of class maps."""
        weight = state.get("classifier.weight")
        return None if weight is None or weight.dim() != 4 else len(weight)


class PatchTokens(nn.Module):
    """The patch tokens of a vision transformer after its last layer and normalization, as feature maps.

    Args:
        network: A transformer of torchvision or timm with class token; the module shares its tensors.
        model: Its name in messages.

    Attributes:
        channels: Number of channels of a token.

    Raises:
        InputError: The network is none.
    """

    def __init__(self, network: nn.Module, model: str) -> None:
        super().__init__()
        body = cast(Any, network)
        if isinstance(network, VisionTransformer):
            self.channels, self._prefix = network.hidden_dim, 1
            self._grid = (network.image_size // network.patch_size,) * 2
            body.heads = nn.Identity()
        elif getattr(network, "num_prefix_tokens", 0) and hasattr(network, "reset_classifier"):
            self.channels, self._prefix = int(body.num_features), int(body.num_prefix_tokens)
            self._grid = tuple(body.patch_embed.grid_size)
            body.reset_classifier(0)
        else:
            raise InputError(
                f"{model} is no vision transformer with a class token, as ts-cam needs; give one of torchvision or "
                "timm, such as timm/deit_small_patch16_224"
            )
        self.body = network

    def forward(self, images: Tensor) -> Tensor:
        """Return maps ``(n, C, h, w)`` of images ``(n, 3, H, W)``."""
        body = cast(Any, self.body)
        if isinstance(body, VisionTransformer):
            embedded = body._process_input(images)
            first = body.class_token.expand(embedded.shape[0], -1, -1)
            tokens: Tensor = body.encoder(torch.cat([first, embedded], 1))
        else:
            tokens = body.forward_features(images)
        patches = tokens[:, self._prefix :].transpose(1, 2)
        return patches.reshape(patches.shape[0], self.channels, *self._grid)


class TSCAMNetwork(nn.Module):
    """A vision transformer that classifies maps of its patches.

    Args:
        features: Patch tokens as maps.
        classes: Number of classes.
    """

    def __init__(self, features: PatchTokens, classes: int) -> None:
        super().__init__()
        self.features = features
        self.classifier = nn.Conv2d(features.channels, classes, 3, padding=1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        nn.init.trunc_normal_(self.classifier.weight, std=0.02)
        nn.init.zeros_(self.classifier.bias)  # type: ignore[arg-type]  # it has one

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(n, classes)`` of images ``(n, 3, H, W)``."""
        logits: Tensor = self.pool(self.classifier(self.features(images))).flatten(1)
        return logits
