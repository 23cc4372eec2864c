"""XGrad-CAM."""

from dataclasses import dataclass

from torch import Tensor

from wsol.methods.base import METHODS, GradientMethod
from wsol.methods.cam import weighted_sum


@METHODS.register("xgradcam")
@dataclass(frozen=True)
class XGradCAM(GradientMethod):
    """Feature maps weighted by their gradient, averaged with the values of the map as weights.

    Fu et al., "Axiom-based Grad-CAM: Towards Accurate Visualization and Explanation of CNNs", BMVC 2020, eq. 8:
    ``relu(sum_k w_k A_k)`` with ``w_k = sum_ij g_kij A_kij / sum_ij A_kij``, 0 for a map whose sum is 0. Costs what
    Grad-CAM costs.
    """

    def combine(self, features: Tensor, gradients: Tensor) -> Tensor:
        """Return the maps by the formula of the class."""
        return self.finish(weighted_sum(_compute_weights(features, gradients), features[:, 0]))

    def products(self, features: Tensor, gradients: Tensor) -> Tensor:
        """Return ``w_k A_k``."""
        return _compute_weights(features, gradients)[..., None, None] * features

    def finish(self, sums: Tensor) -> Tensor:
        """Return the positive part."""
        return sums.relu()


def _compute_weights(features: Tensor, gradients: Tensor) -> Tensor:
    total = features.sum((3, 4))
    return (gradients * features).sum((3, 4)).div_(total).masked_fill_(total == 0, 0)
