"""HiResCAM."""

from dataclasses import dataclass

from torch import Tensor

from wsol.methods.base import METHODS, GradientMethod


@METHODS.register("hirescam")
@dataclass(frozen=True)
class HiResCAM(GradientMethod):
    """Products of feature maps and their gradients, place by place.

    Draelos and Carin, "Use HiResCAM instead of Grad-CAM for faithful explanations of convolutional neural networks",
    2020, eq. 4: ``sum_k g_kij A_kij``, no ReLU. With global average pooling and one linear layer this is
    ``CAM / (h w)``. Costs what Grad-CAM costs.
    """

    def combine(self, features: Tensor, gradients: Tensor) -> Tensor:
        """Return the maps by the formula of the class."""
        return self.products(features, gradients).sum(2)

    def products(self, features: Tensor, gradients: Tensor) -> Tensor:
        """Return ``g_kij A_kij``."""
        return gradients * features
