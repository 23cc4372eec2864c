"""A classifier split into trunk and head at its target layer, and the layouts of a layer's output."""

import math
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from threading import get_ident
from typing import Any

import torch
from torch import Tensor, fx, nn


class Layout(ABC):
    """Order of channels, height and width in the output of a layer."""

    @abstractmethod
    def to_maps(self, output: Tensor) -> tuple[Tensor, Tensor]:
        """Split a layer's output into feature maps ``(n, C, h, w)`` and prefix tokens, possibly none."""

    @abstractmethod
    def to_output(self, maps: Tensor, prefix: Tensor) -> Tensor:
        """Join feature maps and prefix tokens into the layer's output, the inverse of ``to_maps``."""


@dataclass(frozen=True)
class ChannelsFirst(Layout):
    """``(n, C, h, w)``, the layout of convolutions."""

    def to_maps(self, output: Tensor) -> tuple[Tensor, Tensor]:
        """Return the output itself."""
        return output, output[:0]

    def to_output(self, maps: Tensor, prefix: Tensor) -> Tensor:
        """Return the maps themselves."""
        return maps


@dataclass(frozen=True)
class ChannelsLast(Layout):
    """``(n, h, w, C)``, the layout of Swin transformers."""

    def to_maps(self, output: Tensor) -> tuple[Tensor, Tensor]:
        """Return a view with the channels first."""
        return output.permute(0, 3, 1, 2), output[:0]

    def to_output(self, maps: Tensor, prefix: Tensor) -> Tensor:
        """Return a view with the channels last."""
        return maps.permute(0, 2, 3, 1)


@dataclass(frozen=True)
class Tokens(Layout):
    """``(n, tokens, C)``, the layout of vision transformers: class token and registers, then patches row by row.

    Attributes:
        prefix_tokens: Number of tokens before the first patch.
    """

    prefix_tokens: int

    def to_maps(self, output: Tensor) -> tuple[Tensor, Tensor]:
        """Return the patches as maps, and the tokens before them."""
        patches = output[:, self.prefix_tokens :]
        side = math.isqrt(patches.shape[1])
        return patches.transpose(1, 2).reshape(len(patches), -1, side, side), output[:, : self.prefix_tokens]

    def to_output(self, maps: Tensor, prefix: Tensor) -> Tensor:
        """Return all tokens in their order."""
        patches = maps.flatten(2).transpose(1, 2)
        return torch.cat([prefix, patches], 1) if self.prefix_tokens else patches


_MAX_PREFIX_TOKENS = 8  # a class token, a distillation token and a few registers


def find_layout(shape: tuple[int, ...]) -> Layout | None:
    """Find the layout of a layer from its output for one square image; None if that has no feature maps.

    Args:
        shape: Shape of the output.
    """
    if len(shape) == 4:
        _, a, b, c = shape
        if b == c > 1:
            return ChannelsFirst()
        return ChannelsLast() if a == b > 1 else None
    if len(shape) == 3 and shape[1] > 3:
        prefix_tokens = shape[1] - math.isqrt(shape[1]) ** 2
        return Tokens(prefix_tokens) if prefix_tokens <= _MAX_PREFIX_TOKENS else None
    return None


class Classifier(nn.Module):
    """A network in two parts: images to feature maps at the target layer, and feature maps to class scores.

    Args:
        trunk: Maps images ``(n, 3, H, W)`` to a tuple: the layer's output, and whatever else the head needs.
        head: Maps those to class scores, ``(n, classes)``.
        layer: Name of the target layer, as in ``named_modules``.
        layout: Layout of the layer's output.
        unsupported_reason: Why the class scores are not linear in globally averaged maps, one sentence; None if they
            are.
    """

    def __init__(
        self, trunk: nn.Module, head: nn.Module, layer: str, layout: Layout, unsupported_reason: str | None = None
    ) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = head
        self.layer = layer
        self.layout = layout
        self.unsupported_reason = unsupported_reason
        self._passes: defaultdict[int, int] = defaultdict(int)  # by thread, so that adding needs no lock

    @property
    def passes(self) -> int:
        """Number of images that have passed through the trunk so far."""
        return sum(self._passes.values())

    def count_pass(self, images: int) -> None:
        """Add a number of images to ``passes``."""
        self._passes[get_ident()] += images

    def forward_features(self, images: Tensor) -> tuple[Tensor, tuple[Any, ...]]:
        """Return the feature maps of images, ``(n, C, h, w)``, and the extras: whatever else the head needs."""
        self.count_pass(len(images))
        output, *extras = self.trunk(images)
        maps, prefix = self.layout.to_maps(output)
        return maps, (prefix, *extras)

    def forward_head(self, maps: Tensor, extras: tuple[Any, ...]) -> Tensor:
        """Return the class scores ``(n, classes)`` of feature maps and extras."""
        prefix, *others = extras
        logits: Tensor = self.head(self.layout.to_output(maps, prefix), *others)
        return logits

    def run_interpreted(self, interpreter: Callable[[nn.Module], fx.Interpreter], images: Tensor) -> Tensor:
        """Return the class scores of images, with trunk and head each run by an interpreter."""
        self.count_pass(len(images))
        logits: Tensor = interpreter(self.head).run(*interpreter(self.trunk).run(images))
        return logits

    def forward(self, images: Tensor) -> Tensor:
        """Return the class scores of images, ``(n, classes)``."""
        return self.forward_head(*self.forward_features(images))
