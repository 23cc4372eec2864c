"""A classifier that is cut in two at the layer whose maps are looked at."""

from collections import defaultdict
from collections.abc import Callable
from threading import get_ident
from typing import Any

from torch import Tensor, fx, nn

from wsol.models.layout import Layout


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
        self.below = below
        self.above = above
        self.layer = layer
        self.layout = layout
        self.obstacle = obstacle
        self._passes: defaultdict[int, int] = defaultdict(int)  # by thread, as each adds without asking the others

    @property
    def passes(self) -> int:
        """Images that went through it so far, at least up to the target layer."""
        return sum(self._passes.values())

    def counted(self, images: int) -> None:
        """Adds to ``passes``."""
        self._passes[get_ident()] += images

    def lower(self, images: Tensor) -> tuple[Tensor, tuple[Any, ...]]:
        """Returns the maps of images, ``(n, C, h, w)``, and what goes past them."""
        self.counted(len(images))
        output, *past = self.below(images)
        maps, apart = self.layout.maps(output)
        return maps, (apart, *past)

    def upper(self, maps: Tensor, past: tuple[Any, ...]) -> Tensor:
        """Returns the class scores ``(n, classes)`` of maps and what goes past them."""
        apart, *others = past
        logits: Tensor = self.above(self.layout.output(maps, apart), *others)
        return logits

    def interpreted(self, interpreter: Callable[[nn.Module], fx.Interpreter], images: Tensor) -> Tensor:
        """Returns the class scores of images, every graph run by an interpreter of it."""
        self.counted(len(images))
        logits: Tensor = interpreter(self.above).run(*interpreter(self.below).run(images))
        return logits

    def forward(self, images: Tensor) -> Tensor:
        """Returns the class scores of images, ``(n, classes)``."""
        return self.upper(*self.lower(images))
