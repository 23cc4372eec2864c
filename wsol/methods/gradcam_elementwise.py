"""Grad-CAM elementwise."""

from dataclasses import dataclass

from torch import Tensor

from wsol.methods.base import METHODS, GradientMethod


@METHODS.register("gradcam-elementwise")
@dataclass(frozen=True)
class GradCAMElementwise(GradientMethod):
    """Positive products of feature maps and their gradients, added up.

    ``sum_k relu(g_kij A_kij)``. It has no paper: the package grad-cam introduced it. Without the ReLU it is HiResCAM.
    Costs what Grad-CAM costs.

    Attributes:
        relu: Whether negative products are set to 0.
    """

    relu: bool = True

    def combine(self, features: Tensor, gradients: Tensor) -> Tensor:
        """Return the maps by the formula of the class."""
        return self.products(features, gradients).sum(2)

    def products(self, features: Tensor, gradients: Tensor) -> Tensor:
        """Return the products, or their positive part."""
        products = gradients * features
        return products.relu_() if self.relu else products
