"""CAM: the class activation map."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from wsol.methods.base import METHODS, Forward, Method
from wsol.models import Classifier, GapClassifier


@METHODS.register("cam")
@dataclass(frozen=True)
class CAM(Method):
    """Last feature maps weighted by the weights of a class.

    Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016, eq. 2:
    ``M_c(x, y) = sum_k W[c, k] F_k(x, y)``, no bias, no ReLU. The mean of the map, plus the bias where the linear
    layer has one, is the logit of the class; its maximum-pooled features under global max pooling. Where the network
    pools one map per class, this is that map, including any bias or activation before the pooling. Where class tokens
    are averaged together with the patches, the mean of the map is the part of the logit that the patches contribute.
    Costs one product of ``k x C`` and ``C x hw`` beyond the forward pass.
    """

    needs = "features"
    takes_target = False

    def maps(self, forward: Forward, classes: Tensor) -> Tensor:
        """Return maps of the size of the features, with any sign and range."""
        with torch.no_grad():
            return weight_classes(forward.features, classes, find_class_weights(forward.network))

    def weigh(self, forward: Forward, classes: Tensor) -> Iterator[Tensor]:
        """Yield ``W[c, k] F_k``."""
        yield from products_of_classes(forward.features, classes, find_class_weights(forward.network))

    def unsupported_reason(self, network: Classifier) -> str | None:
        """Require class scores that are linear in the globally pooled maps, however the network spells it."""
        return network.unsupported_reason


def find_class_weights(network: Classifier) -> Tensor | None:
    """Return the weights ``(classes, C)`` of pooled features in the class scores; None for one map per class."""
    if isinstance(network, GapClassifier):
        return None if network.linear is None else network.linear.weight
    return network.class_weights


def weight_classes(features: Tensor, classes: Tensor, weights: Tensor | None) -> Tensor:
    """Return the features weighted for classes ``(n, k)``, summed; without weights, the map of each class."""
    if weights is None:
        return features.gather(1, classes[:, :, None, None].expand(-1, -1, *features.shape[2:]))
    return weighted_sum(weights[classes], features)


def products_of_classes(features: Tensor, classes: Tensor, weights: Tensor | None) -> Iterator[Tensor]:
    """Yield the features weighted for each of the classes ``(n, k)``; without weights, the class's map among zeros."""
    with torch.no_grad():
        chosen = functional.one_hot(classes, features.shape[1]) if weights is None else weights[classes]
    yield from weigh_channels(chosen.to(features.dtype), features)


def weigh_channels(weights: Tensor, features: Tensor) -> Iterator[Tensor]:
    """Yield the features ``(n, C, h, w)`` weighted by ``(n, k, C)``, ``(n, 1, C, h, w)`` for each of the k."""
    for each in torch.split(weights, 1, 1):
        with torch.no_grad():
            products = each[..., None, None] * features[:, None]
        yield products


def weighted_sum(weights: Tensor, features: Tensor) -> Tensor:
    """Return the sums ``(n, k, h, w)`` of features ``(n, C, h, w)``, weighted by ``(n, k, C)``."""
    return torch.bmm(weights, features.flatten(2)).reshape(*weights.shape[:2], *features.shape[2:])
