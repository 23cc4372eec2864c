"""Occlusion."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from wsol.methods._masking import score_masked
from wsol.methods.base import METHODS, Forward, Method


@METHODS.register("occlusion")
@dataclass(frozen=True)
class Occlusion(Method):
    """Drop of the class score when a window over each place is hidden.

    Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014, section 4.2: a gray square is
    moved over the image; the value of a pixel is the mean, over the windows that cover it, of the logit of the image
    minus the logit of the image with that window set to the mean color. Windows start at multiples of the stride; the
    last one is cut off at the border. Costs a forward pass of the whole network for each window, 169 at 224 x 224,
    shared by all classes.

    Attributes:
        window: Side of the square in pixels.
        stride: Distance between windows in pixels; at most ``window``.
    """

    needs = "forward passes"
    window: int = 32
    stride: int = 16

    def __post_init__(self) -> None:
        """Check that the windows cover every pixel."""
        if not 1 <= self.stride <= self.window:
            raise ValueError(f"stride {self.stride} should be from 1 to the window, {self.window}")

    def maps(self, forward: Forward, classes: Tensor) -> Tensor:
        """Return maps of the size of the image."""
        maps = []
        with torch.no_grad():
            for image, (chosen, clean) in enumerate(zip(classes, forward.target(forward.logits, classes), strict=True)):
                drops = forward.images.new_zeros(len(chosen), *forward.images.shape[2:])
                count = drops[0].clone()
                for masks, scores in score_masked(forward, image, self._make_masks(forward.images)):
                    hidden = 1 - masks[:, 0]
                    drop = clean - forward.target(scores, chosen.expand(len(scores), -1))
                    drops += torch.einsum("mk,mhw->khw", drop, hidden)
                    count += hidden.sum(0)
                maps.append(drops / count)
        return torch.stack(maps)

    def _make_masks(self, images: Tensor) -> Iterator[Tensor]:
        height, width = images.shape[2:]
        for top in self._offsets(height):
            for left in self._offsets(width):
                mask = images.new_ones(height, width)
                mask[top : top + self.window, left : left + self.window] = 0
                yield mask

    def _offsets(self, side: int) -> range:
        return range(0, max(1, side - self.window + self.stride), self.stride)
