"""ShapleyCAM."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from wsol.methods._target import class_score
from wsol.methods.base import METHODS, Forward, GradientMethod
from wsol.methods.cam import weighted_sum
from wsol.models import GapClassifier


@METHODS.register("shapleycam")
@dataclass(frozen=True)
class ShapleyCAM(GradientMethod):
    """Feature maps weighted by their mean gradient less half of the mean product of Hessian and features.

    Cai, "CAMs as Shapley Value-based Explainers", The Visual Computer, 2025: ``relu(sum_k w_k A_k)`` with
    ``w_k = mean_ij (g - H A / 2)_kij``, where g and H are gradient and Hessian of the class score: the Shapley value of
    a feature map in a Taylor expansion to the second order. The paper also proposes another score than the logit, ReST.
    Where all layers after the target layer are linear or piecewise linear (ReLU, max pooling), as at any layer of
    ResNet or VGG, H is 0 and this is Grad-CAM. Costs a forward pass of the layers after the target layer and, for each
    class, a backward pass through them and one through that; nothing beyond Grad-CAM where global pooling and one
    linear layer follow. The package grad-cam differentiates the whole network.
    """

    def differentiate(self, forward: Forward, classes: Tensor) -> Tensor:
        """Return ``g - H A / 2``."""
        if isinstance(forward.network, GapClassifier) and forward.target is class_score:
            return forward.gradients(classes)  # of pooled maps the Hessian is 0
        with torch.inference_mode(False), torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
            leaf = forward.features.detach().requires_grad_()
            scores = forward.target(forward.network.forward_head(leaf, forward.extras), classes)
            return torch.stack([_weigh(forward, column, leaf) for column in scores.unbind(1)], 1)

    def combine(self, features: Tensor, gradients: Tensor) -> Tensor:
        """Return the maps by the formula of the class."""
        return self.finish(weighted_sum(gradients.mean((3, 4)), features[:, 0]))

    def products(self, features: Tensor, gradients: Tensor) -> Tensor:
        """Return ``w_k A_k``."""
        return gradients.mean((3, 4), keepdim=True) * features

    def finish(self, sums: Tensor) -> Tensor:
        """Return the positive part."""
        return sums.relu()


def _weigh(forward: Forward, scores: Tensor, leaf: Tensor) -> Tensor:
    """Return ``g - H A / 2`` of one score per image, ``(n, C, h, w)``."""
    (gradients,) = torch.autograd.grad(scores.sum(), leaf, create_graph=True, allow_unused=True)
    gradients = forward.check_gradients(gradients)
    if not gradients.requires_grad:  # linear
        return gradients
    (products,) = torch.autograd.grad(gradients, leaf, leaf.detach(), retain_graph=True, allow_unused=True)
    return gradients.detach() if products is None else gradients.detach() - products / 2
