"""Grad-CAM."""

from dataclasses import dataclass

from torch import Tensor

from wsol.methods.base import METHODS, GradientMethod
from wsol.methods.cam import weighted_sum


@METHODS.register("gradcam")
@dataclass(frozen=True)
class GradCAM(GradientMethod):
    """Feature maps weighted by the mean gradient of the class score.

    Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization", ICCV 2017,
    eq. 1 and 2: ``relu(sum_k a_k A_k)`` with ``a_k = mean_ij dy_c / dA_kij``. With global average pooling and one
    linear layer this is ``relu(CAM / (h w))``. Costs a backward pass of the layers after the target layer.

    Attributes:
        relu: Whether negative values are set to 0, as in the paper.
    """

    relu: bool = True

    def combine(self, features: Tensor, gradients: Tensor) -> Tensor:
        """Return the maps by the formula of the class."""
        return self.finish(weighted_sum(gradients.mean((3, 4)), features[:, 0]))

    def products(self, features: Tensor, gradients: Tensor) -> Tensor:
        """Return ``a_k A_k``."""
        return gradients.mean((3, 4), keepdim=True) * features

    def finish(self, sums: Tensor) -> Tensor:
        """Return the sums, or their positive part."""
        return sums.relu() if self.relu else sums
