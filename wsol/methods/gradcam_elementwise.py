"""Grad-CAM elementwise."""

from dataclasses import dataclass

from torch import Tensor

from wsol.methods.base import GradientMethod, register


@register("gradcam-elementwise")
@dataclass(frozen=True)
class GradCAMElementwise(GradientMethod):
    """Multiplies feature maps with their gradients and keeps what is positive, before the sum.

    ``sum_k relu(g_kij A_kij)``. It has no paper: the package grad-cam introduced it. Without the ReLU it is HiResCAM.
    Costs what Grad-CAM costs.

    Attributes:
        relu: Whether negative products become 0.
    """

    relu: bool = True

    def combine(self, features: Tensor, gradients: Tensor) -> Tensor:
        """See the class."""
        products = gradients * features
        return (products.relu_() if self.relu else products).sum(2)
