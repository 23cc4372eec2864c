"""Standardized features for the training of a linear layer, folded into its weights afterwards."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

SQUARED_NORM = 256.0
"""Mean squared norm of the inputs of a linear layer for which the default learning rate is stable."""

_MIN_RELATIVE_STD = 1e-5


@dataclass(frozen=True)
class Standardization:
    """An affine map of pooled features, ``(features - mean) / scale``, under which gradient descent is stable.

    A linear layer learns with a rate below about 4 / L, where the curvature L of the cross-entropy is at most half the
    mean squared norm of the features. Pooled features have squared norms from 1 to 100,000, depending on the network.
    Here every channel gets the same variance, and the mean squared norm is 256 for any number of channels.

    Attributes:
        mean: Mean of each channel, ``(C,)``; zeros if the linear layer has no bias, which could not make up for it.
        scale: Positive divisor of each channel, ``(C,)``.
    """

    mean: Tensor
    scale: Tensor

    @classmethod
    def fit(cls, features: Tensor, centered: bool) -> "Standardization":
        """Return the standardization of training features.

        Args:
            features: Features ``(n, C)``.
            centered: Whether to subtract the mean.
        """
        power = features.square().mean(0).sqrt()
        deviation, mean = torch.std_mean(features, 0, correction=0)
        if not centered:
            deviation, mean = power, torch.zeros_like(mean)
        constant = deviation <= _MIN_RELATIVE_STD * power
        if constant.all():
            return cls(mean, torch.ones_like(mean))
        # What a channel without variation does in other images must not weigh more than any other channel.
        deviation = torch.where(constant, deviation.max(), deviation)
        return cls(mean, deviation * (features.shape[1] / SQUARED_NORM) ** 0.5)

    def apply(self, features: Tensor) -> Tensor:
        """Return standardized features ``(n, C)``."""
        return (features - self.mean) / self.scale

    @torch.no_grad()
    def fold(self, linear: nn.Linear) -> None:
        """Change a linear layer of standardized features, in place, into the same function of the features."""
        weight = linear.weight.double() / self.scale.double()
        if linear.bias is not None:
            linear.bias.copy_(linear.bias.double() - weight @ self.mean.double())
        linear.weight.copy_(weight)

    @torch.no_grad()
    def unfold(self, linear: nn.Linear) -> None:
        """Change a linear layer of features, in place, into the same function of standardized features."""
        weight = linear.weight.double()
        if linear.bias is not None:
            linear.bias.copy_(linear.bias.double() + weight @ self.mean.double())
        linear.weight.copy_(weight * self.scale.double())
