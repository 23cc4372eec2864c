"""Grad-CAM++."""

from dataclasses import dataclass

from torch import Tensor

from wsol.methods.base import METHODS, GradientMethod
from wsol.methods.cam import weighted_sum


@METHODS.register("gradcam++")
@dataclass(frozen=True)
class GradCAMPlusPlus(GradientMethod):
    """Feature maps weighted by their positive gradients, each place by its share in the score.

    Chattopadhay et al., "Grad-CAM++: Improved Visual Explanations for Deep Convolutional Networks", WACV 2018, eq. 5,
    10 and 19: ``relu(sum_k w_k A_k)`` with ``w_k = sum_ij a_kij relu(g_kij)`` and
    ``a_kij = g^2 / (2 g^2 + g^3 sum_ab A_kab)``, where g is the gradient of the class score; the exponential that the
    paper applies to the score is one factor for the whole map and is left out. Costs what Grad-CAM costs.

    So ``w_k = sum_ij relu(g_kij) / (2 + g_kij sum_ab A_kab)``, with 0 for a division by 0. There is no epsilon: the
    package grad-cam adds 1e-6 to a denominator of the size of squared gradients, which may be smaller; the package
    torchcam computes the denominator but does not use it.
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
    denominator = (gradients * features.sum((3, 4), keepdim=True)).add_(2)
    return gradients.relu().div_(denominator).masked_fill_(denominator == 0, 0).sum((3, 4))
