"""Grad-CAM."""

from dataclasses import dataclass

from torch import Tensor

from wsol.methods.base import GradientMethod, register
from wsol.methods.cam import weighted_sum


@register("gradcam")
@dataclass(frozen=True)
class GradCAM(GradientMethod):
    """Weighs feature maps by the mean gradient of the class score.

    Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization", ICCV 2017,
    eq. 1 and 2: ``relu(sum_k a_k A_k)`` with ``a_k = mean_ij dy_c / dA_kij``. On global average pooling and one linear
    layer that is ``relu(CAM / (h w))``. Costs the gradients of the layers above the target layer.

    Attributes:
        relu: Whether negative values become 0, as in the paper.
    """

    relu: bool = True

    def combine(self, features: Tensor, gradients: Tensor) -> Tensor:
        """See the class."""
        found = weighted_sum(gradients.mean((3, 4)), features[:, 0])
        return found.relu() if self.relu else found
