"""BagCAMs."""

from dataclasses import dataclass

from torch import Tensor

from wsol.methods.base import METHODS, Forward, GradientMethod

_SMALLEST = 1e-12  # of a score; its square and that of a feature still fit into float32


@METHODS.register("bagcams")
@dataclass(frozen=True)
class BagCAMs(GradientMethod):
    """Positive products of feature maps and gradients of the logarithm of the class score, weighted channel by channel.

    Zhu et al., "Bagging Regional Classification Activation Maps for Weakly Supervised Object Localization", ECCV 2022,
    by the authors' code: ``sum_k relu(w_k p_kij)`` with ``p = A d log(y_c) / dA`` and ``w_k = mean_ij (1 + p_kij)``. So
    a channel that lowers the score as a whole by more than the score itself is turned around. The paper reports layer3
    and layer4 of ResNet. Costs what Grad-CAM costs.

    The logarithm is of the class score itself, not of a probability, and has none where the score is 0 or less. Here
    ``p = A dy_c / dA / |y_c|``, the same for positive scores; what raises a negative score stays positive. The authors'
    code turns the map of a negative score around, since torch differentiates its logarithm to ``1 / y_c``. The map of a
    score of 0 is the limit, with ``|y_c|`` at least 1e-12. The authors' code also sets negative gradients to 0 at every
    ReLU module behind the layer, of which the formula says nothing; that makes no difference at the last layer.
    """

    def differentiate(self, forward: Forward, classes: Tensor) -> Tensor:
        """Return the gradients of the logarithm of the target."""
        scores = forward.target(forward.logits, classes).abs().clamp(min=_SMALLEST)
        return forward.gradients(classes) / scores[:, :, None, None, None]

    def combine(self, features: Tensor, gradients: Tensor) -> Tensor:
        """Return the maps by the formula of the class."""
        return self.products(features, gradients).sum(2)

    def products(self, features: Tensor, gradients: Tensor) -> Tensor:
        """Return ``relu(w_k p_kij)``."""
        products = gradients * features
        weighted = products * (products + 1).mean((3, 4), keepdim=True)
        return weighted.relu_()
