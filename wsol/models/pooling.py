"""Global pooling of feature maps: average, maximum, and thresholded average (TAP)."""

from typing import Literal

from torch import Tensor, nn

Pooling = Literal["average", "max", "thresholded"]
THETA = 0.1  # in the paper's experiments


class ThresholdedAvgPool2d(nn.Module):
    """Thresholded average pooling (TAP): the mean of the high values of each feature map.

    Bae, Noh and Kim, "Rethinking Class Activation Mapping for Weakly Supervised Object Localization", ECCV 2020: the
    mean over the places whose value is above ``theta`` times the maximum of the map, so that a feature that is active
    in a small area does not need a larger weight than one that is active in a large area. It is between average pooling
    (all places) and max pooling (one place). The maximum itself always counts: a map without positive values is pooled
    to its maximum, where the authors' code gives 0; after a ReLU both are 0. The gradient is that of a mean over the
    places that count; the threshold has none.

    Args:
        theta: Share of the maximum, 0 or more and below 1.
    """

    def __init__(self, theta: float = THETA) -> None:
        super().__init__()
        check_theta(theta)
        self.theta = theta

    def forward(self, maps: Tensor) -> Tensor:
        """Return pooled maps ``(n, C, 1, 1)`` of maps ``(n, C, h, w)``."""
        return pool_maps(maps, "thresholded", self.theta)[:, :, None, None]

    def extra_repr(self) -> str:
        """Return the settings in the network's printed form."""
        return f"theta={self.theta:g}"


def check_theta(theta: float) -> None:
    """Check a threshold of TAP.

    Raises:
        ValueError: It is not from 0 to below 1.
    """
    if not 0 <= theta < 1:
        raise ValueError(f"theta is {theta}, which must be 0 or more and below 1")


def make_pooling(pooling: Pooling, theta: float = THETA) -> nn.Module:
    """Return a layer that pools maps ``(n, C, h, w)`` to ``(n, C, 1, 1)``."""
    if pooling == "thresholded":
        return ThresholdedAvgPool2d(theta)
    return nn.AdaptiveAvgPool2d(1) if pooling == "average" else nn.AdaptiveMaxPool2d(1)


def pool_maps(maps: Tensor, pooling: Pooling, theta: float = THETA) -> Tensor:
    """Return pooled maps ``(n, C)`` of maps ``(n, C, h, w)``."""
    if pooling == "average":
        return maps.mean((2, 3))
    if pooling == "max":
        return maps.amax((2, 3))
    highest = maps.detach().amax((2, 3), keepdim=True)
    counts = (maps > theta * highest) | (maps == highest)
    return maps.masked_fill(~counts, 0).sum((2, 3)) / counts.sum((2, 3))
