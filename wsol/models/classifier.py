"""A classifier that is cut in two at the layer whose maps are looked at."""

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
    """Where channels, height and width are in a layer's own output."""

    @abstractmethod
    def maps(self, output: Tensor) -> tuple[Tensor, Tensor]:
        """Return maps ``(n, C, h, w)``, and what is not part of any map, possibly empty."""

    @abstractmethod
    def output(self, maps: Tensor, apart: Tensor) -> Tensor:
        """Return the layer's own output again."""


@dataclass(frozen=True)
class ChannelsFirst(Layout):
    """``(n, C, h, w)``, as convolutions have it."""

    def maps(self, output: Tensor) -> tuple[Tensor, Tensor]:
        """Return the output itself."""
        return output, output[:0]

    def output(self, maps: Tensor, apart: Tensor) -> Tensor:
        """Return the maps themselves."""
        return maps


@dataclass(frozen=True)
class ChannelsLast(Layout):
    """``(n, h, w, C)``, as Swin transformers have it."""

    def maps(self, output: Tensor) -> tuple[Tensor, Tensor]:
        """Return a view with the channels in front."""
        return output.permute(0, 3, 1, 2), output[:0]

    def output(self, maps: Tensor, apart: Tensor) -> Tensor:
        """Return a view with the channels behind."""
        return maps.permute(0, 2, 3, 1)


@dataclass(frozen=True)
class Tokens(Layout):
    """``(n, tokens, C)``, as vision transformers have it: class token and registers, then the patches row by row.

    Attributes:
        apart: Number of tokens before the first patch.
    """

    prefix_tokens: int

    def maps(self, output: Tensor) -> tuple[Tensor, Tensor]:
        """Return the patches as maps, and the tokens before them."""
        patches = output[:, self.prefix_tokens :]
        side = math.isqrt(patches.shape[1])
        return patches.transpose(1, 2).reshape(len(patches), -1, side, side), output[:, : self.prefix_tokens]

    def output(self, maps: Tensor, apart: Tensor) -> Tensor:
        """Return the tokens in their order."""
        patches = maps.flatten(2).transpose(1, 2)
        return torch.cat([apart, patches], 1) if self.prefix_tokens else patches


def find_layout(shape: tuple[int, ...]) -> Layout | None:
    """Find the layout of a layer from the shape that a square image gives it; None if it is no map.

    Args:
        shape: Of the output of one image.
    """
    if len(shape) == 4:
        _, a, b, c = shape
        if b == c > 1:
            return ChannelsFirst()
        return ChannelsLast() if a == b > 1 else None
    if len(shape) == 3 and shape[1] > 3:
        side = math.isqrt(shape[1])
        return Tokens(shape[1] - side * side) if shape[1] - side * side < _MOST_APART else None
    return None


_MOST_APART = 9  # tokens that are no patches: a class, a distillation and up to some registers


class Classifier(nn.Module):
    """Images to maps at the target layer, and maps to class scores.

    Args:
        below: Images ``(n, 3, H, W)`` to a tuple: the layer's output, and whatever else goes past the layer.
        above: Those to class scores, ``(n, classes)``.
        layer: Name of the target layer, as ``named_modules`` has it.
        layout: How the layer's output becomes maps.
        obstacle: Why the maps are not averaged and weighted linearly, one sentence; None if they are.
    """

    def __init__(
        self, below: nn.Module, above: nn.Module, layer: str, layout: Layout, obstacle: str | None = None
    ) -> None:
        super().__init__()
        self.trunk = below
        self.head = above
        self.layer = layer
        self.layout = layout
        self.unsupported_reason = obstacle
        self._passes: defaultdict[int, int] = defaultdict(int)  # by thread, as each adds without asking the others

    @property
    def passes(self) -> int:
        """Images that went through it so far, at least up to the target layer."""
        return sum(self._passes.values())

    def count_pass(self, images: int) -> None:
        """Add to ``passes``."""
        self._passes[get_ident()] += images

    def forward_features(self, images: Tensor) -> tuple[Tensor, tuple[Any, ...]]:
        """Return the maps of images, ``(n, C, h, w)``, and what goes past them."""
        self.count_pass(len(images))
        output, *past = self.trunk(images)
        maps, apart = self.layout.maps(output)
        return maps, (apart, *past)

    def forward_head(self, maps: Tensor, past: tuple[Any, ...]) -> Tensor:
        """Return the class scores ``(n, classes)`` of maps and what goes past them."""
        apart, *others = past
        logits: Tensor = self.head(self.layout.output(maps, apart), *others)
        return logits

    def run_interpreted(self, interpreter: Callable[[nn.Module], fx.Interpreter], images: Tensor) -> Tensor:
        """Return the class scores of images, every graph run by an interpreter of it."""
        self.count_pass(len(images))
        logits: Tensor = interpreter(self.head).run(*interpreter(self.trunk).run(images))
        return logits

    def forward(self, images: Tensor) -> Tensor:
        """Return the class scores of images, ``(n, classes)``."""
        return self.forward_head(*self.forward_features(images))
