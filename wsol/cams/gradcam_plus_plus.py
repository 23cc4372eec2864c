"""Grad-CAM++."""

from dataclasses import dataclass

from torch import Tensor

from wsol.cams.base import GradientMethod, register
from wsol.cams.cam import weighted


@register("gradcam++")
@dataclass(frozen=True)
class GradCAMPlusPlus(GradientMethod):
    """Weighs feature maps by their positive gradients, each place by its share in the score.

    Chattopadhay et al., "Grad-CAM++: Improved Visual Explanations for Deep Convolutional Networks", WACV 2018, eq. 5,
    10 and 19: ``relu(sum_k w_k A_k)`` with ``w_k = sum_ij a_kij relu(g_kij)`` and
    ``a_kij = g^2 / (2 g^2 + g^3 sum_ab A_kab)``, where g is the gradient of the class score; the exponential that the
    paper puts around the score is one factor for the whole map and left out. Costs what Grad-CAM costs.

    Where ``g = 0`` its share is 0. There is no epsilon: the package grad-cam adds 1e-6 to a denominator of the size of
    squared gradients, which may be smaller; the package torchcam computes the denominator and does not use it.
    """

    def combine(self, features: Tensor, gradients: Tensor) -> Tensor:
        """See the class."""
        return weighted(shares(features, gradients.square(), gradients.pow(3), gradients), features[:, 0]).relu()


def shares(features: Tensor, second: Tensor, third: Tensor, first: Tensor) -> Tensor:
    """Returns the weights ``(n, k, C)`` of features ``(n, 1, C, h, w)`` and the gradient's first three powers."""
    denominator = 2 * second + third * features.sum((3, 4), keepdim=True)
    share = second.div(denominator).masked_fill_(denominator == 0, 0)
    return share.mul_(first.relu()).sum((3, 4))
