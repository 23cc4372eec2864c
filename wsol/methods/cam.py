"""CAM: the class activation map."""

from dataclasses import dataclass

import torch
from torch import Tensor

from wsol.methods.base import Forward, Method, register
from wsol.models import Classifier, GapClassifier


@register("cam")
@dataclass(frozen=True)
class CAM(Method):
    """Weighs the last feature maps by the weights of a class.

    Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016, eq. 2:
    ``M_c(x, y) = sum_k W[c, k] F_k(x, y)``, no bias, no ReLU. So the mean of the map, plus the bias where the linear
    layer has one, is the logit of the class. Where the network pools one map a class, that is the map, with whatever
    bias or activation comes before the pooling. Costs one product of ``k x C`` and ``C x hw`` beyond the forward pass.
    """

    needs = "features"

    def maps(self, forward: Forward, classes: Tensor) -> Tensor:
        """Return maps of any sign and range, of the size of the features."""
        features, network = forward.features, forward.network
        assert isinstance(network, GapClassifier)  # all others have an obstacle
        with torch.no_grad():
            if network.linear is None:
                return features.gather(1, classes[:, :, None, None].expand(-1, -1, *features.shape[2:]))
            return weighted_sum(network.linear.weight[classes], features)

    def unsupported_reason(self, network: Classifier) -> str | None:
        """Wants global pooling and at most one linear layer behind the target layer."""
        return network.unsupported_reason


def weighted_sum(weights: Tensor, features: Tensor) -> Tensor:
    """Return the sums ``(n, k, h, w)`` of features ``(n, C, h, w)``, weighted by ``(n, k, C)``."""
    return torch.einsum("nkc,nchw->nkhw", weights, features)
