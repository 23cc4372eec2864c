"""NWC: class activation maps without negative class weights."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from wsol.methods.base import METHODS, Forward, Method
from wsol.methods.cam import find_class_weights, products_of_classes, weight_classes
from wsol.models import Classifier


@METHODS.register("nwc")
@dataclass(frozen=True)
class NWC(Method):
    """Last feature maps weighted by the positive weights of a class.

    Bae, Noh and Kim, "Rethinking Class Activation Mapping for Weakly Supervised Object Localization", ECCV 2020,
    negative weight clamping: CAM with each negative weight of the class replaced by 0,
    ``M_c(x, y) = sum_k max(W[c, k], 0) F_k(x, y)``. Channels with negative weights are often high on the object too,
    where CAM subtracts them. The weights are clamped for the map alone; the network classifies with all of them. It is
    one of three parts of the paper: the second is thresholded average pooling (a network ``NAME-tap``), the third a
    normalization by a percentile (the protocols' ``pas``). Where the network pools one map per class there are no
    weights to clamp, and this is CAM. Costs what CAM costs.
    """

    needs = "features"
    takes_target = False

    def maps(self, forward: Forward, classes: Tensor) -> Tensor:
        """Return maps of the size of the features, 0 or more where the features are."""
        with torch.no_grad():
            return weight_classes(forward.features, classes, _clamp_weights(forward.network))

    def weigh(self, forward: Forward, classes: Tensor) -> Iterator[Tensor]:
        """Yield ``max(W[c, k], 0) F_k``."""
        yield from products_of_classes(forward.features, classes, _clamp_weights(forward.network))

    def unsupported_reason(self, network: Classifier) -> str | None:
        """Require class scores that are linear in the globally pooled maps, as CAM does."""
        return network.unsupported_reason


def _clamp_weights(network: Classifier) -> Tensor | None:
    weights = find_class_weights(network)
    return None if weights is None else weights.clamp(min=0)
