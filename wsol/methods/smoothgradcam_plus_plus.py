"""Smooth Grad-CAM++."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from wsol.methods.base import METHODS, Forward, Method
from wsol.methods.cam import weigh_channels, weighted_sum


@METHODS.register("smoothgradcam++")
@dataclass(frozen=True)
class SmoothGradCAMPlusPlus(Method):
    """Grad-CAM++ with gradients averaged over noisy copies of the image.

    Omeiza et al., "Smooth Grad-CAM++: An Enhanced Inference Level Visualization Technique for Deep Convolutional Neural
    Network Models", 2019: the weights of Grad-CAM++ with the gradient, its square and its cube averaged over the
    copies, and the features of the clean image. The paper's eq. 6 has the mean gradient in the numerator, where only
    the mean square reduces to Grad-CAM++ without noise; the package torchcam corrects that too, but uses the gradient
    and the features of the last copy instead of the mean and the clean image. Costs ``samples`` forward passes and as
    many times the gradients of Grad-CAM.

    Attributes:
        samples: Number of copies.
        std: Standard deviation of the Gaussian noise, in units of the normalized image.
        seed: Seed of the noise, which is the same for all images.
    """

    needs = "forward passes"
    reads_layer = True
    samples: int = 4
    std: float = 0.3
    seed: int = 0

    def __post_init__(self) -> None:
        """Check that the settings give a map."""
        if self.samples < 1 or not self.std >= 0:
            raise ValueError("samples must be 1 or more, std 0 or more")

    def maps(self, forward: Forward, classes: Tensor) -> Tensor:
        """Return maps of the size of the features."""
        features = forward.features
        return torch.cat([self.finish(weighted_sum(each, features)) for each in self._weights(forward, classes)], 1)

    def weigh(self, forward: Forward, classes: Tensor) -> Iterator[Tensor]:
        """Yield ``w_k A_k``."""
        for weights in self._weights(forward, classes):
            yield from weigh_channels(weights, forward.features)

    def finish(self, sums: Tensor) -> Tensor:
        """Return the positive part."""
        return sums.relu()

    def _weights(self, forward: Forward, classes: Tensor) -> Iterator[Tensor]:
        """Yield the weights ``(n, 1, C)`` of each class."""
        images, features = forward.images, forward.features
        generator = torch.Generator().manual_seed(self.seed)
        noises = [torch.randn(images.shape[1:], generator=generator, dtype=images.dtype) for _ in range(self.samples)]
        copies = [forward.rerun(images + noise.to(images.device) * self.std) for noise in noises]
        for column in torch.split(classes, 1, 1):
            powers = [features.new_zeros(1, 1)] * 3
            for copy in copies:
                gradients = copy.gradients(column)
                powers = [total + gradients.pow(i + 1) / self.samples for i, total in enumerate(powers)]
            first, second, third = powers
            denominator = 2 * second + third * features.sum((2, 3), keepdim=True)[:, None]
            shares = (second * first.relu()).div_(denominator).masked_fill_(denominator == 0, 0)
            yield shares.sum((3, 4))
