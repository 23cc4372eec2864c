"""Occlusion."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from wsol.methods._masking import score_masked
from wsol.methods.base import Forward, Method, register


@register("occlusion")
@dataclass(frozen=True)
class Occlusion(Method):
    """Says by how much the class score falls when a window over each place is hidden.

    Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014, section 4.2: a grey square is
    moved over the image; at each pixel stands the mean, over the windows that cover it, of the logit of the image less
    the logit of the image with that window at the mean colour. Windows start at multiples of the stride; the last one
    is cut at the border. Costs a forward pass of the whole network for each window, 169 at 224 x 224, shared by all
    classes.

    Attributes:
        window: Side of the square, in pixels.
        stride: From window to window, in pixels; at most ``window``.
    """

    needs = "forwards"
    window: int = 32
    stride: int = 16

    def __post_init__(self) -> None:
        """Refuse windows that would leave pixels out."""
        if not 1 <= self.stride <= self.window:
            raise ValueError(f"stride {self.stride} should be from 1 to the window, {self.window}")

    def maps(self, forward: Forward, classes: Tensor) -> Tensor:
        """Return maps of the size of the image."""
        found = []
        with torch.no_grad():
            for image, chosen in enumerate(classes):
                falls = forward.images.new_zeros(len(chosen), *forward.images.shape[2:])
                count = falls[0].clone()
                for masks, scores in score_masked(forward, image, self._masks(forward.images)):
                    hidden = 1 - masks[:, 0]
                    falls += torch.einsum("mk,mhw->khw", forward.logits[image, chosen] - scores[:, chosen], hidden)
                    count += hidden.sum(0)
                found.append(falls / count)
        return torch.stack(found)

    def _masks(self, images: Tensor) -> Iterator[Tensor]:
        height, width = images.shape[2:]
        for top in self._starts(height):
            for left in self._starts(width):
                mask = images.new_ones(height, width)
                mask[top : top + self.window, left : left + self.window] = 0
                yield mask

    def _starts(self, side: int) -> range:
        return range(0, max(1, side - self.window + self.stride), self.stride)
