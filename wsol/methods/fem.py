"""FEM: the feature explanation method."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from wsol.methods.base import METHODS, Forward, Method


@METHODS.register("fem")
@dataclass(frozen=True)
class FEM(Method):
    """Places where feature maps are unusually high; the same map for every class.

    Fuad et al., "Features Understanding in 3D CNNs for Actions Recognition in Video", IPTA 2020: with mean ``m_k`` and
    standard deviation ``s_k`` of feature map k over its places, the map is ``sum_k m_k B_k``, where ``B_k`` is 1 where
    ``A_k > m_k + z s_k`` and 0 elsewhere. A feature map without contrast adds nothing, and of fewer than six places
    none is two standard deviations above their mean. Costs two passes over the features.

    Attributes:
        z: Number of standard deviations above the mean, the paper's K.
        binary: Whether the binary maps are added, as in the paper and its authors' code. False is the variant of the
            package grad-cam, which adds the feature maps themselves, each weighted by the share of its places that are
            high: ``sum_k mean(B_k) A_k``.
    """

    needs = "features"
    class_specific = False
    z: float = 2.0
    binary: bool = True

    def __post_init__(self) -> None:
        """Check that there is a threshold."""
        if not math.isfinite(self.z):
            raise ValueError(f"z {self.z} should be a finite number")

    def maps(self, forward: Forward, classes: Tensor) -> Tensor:
        """Return maps of the size of the features."""
        return self._weigh(forward.features).sum(1, keepdim=True).expand(-1, classes.shape[1], -1, -1)

    def weigh(self, forward: Forward, classes: Tensor) -> Iterator[Tensor]:
        """Yield ``m_k B_k``, or the feature maps times the share of their high places."""
        weighted = self._weigh(forward.features)
        for _ in range(classes.shape[1]):
            yield weighted[:, None]

    @torch.no_grad()
    def _weigh(self, features: Tensor) -> Tensor:
        mean = features.mean((2, 3), keepdim=True)
        std = features.std((2, 3), correction=0, keepdim=True)
        high = (features > mean + self.z * std).to(features.dtype)
        return mean * high if self.binary else high.mean((2, 3), keepdim=True) * features
