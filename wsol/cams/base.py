"""The one forward pass that all methods share."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from wsol.models import GapClassifier
from wsol.registry import Registry


@dataclass(frozen=True)
class Forward:
    """What one forward pass leaves behind.

    Attributes:
        network: The network that ran.
        features: What it pools, ``(n, C, h, w)``.
        logits: Class scores, ``(n, classes)``.
    """

    network: GapClassifier
    features: Tensor
    logits: Tensor


class Method(Protocol):
    """Turns a forward pass into score maps."""

    def __call__(self, forward: Forward, classes: Tensor) -> Tensor:
        """Returns raw score maps.

        Args:
            forward: The forward pass of a batch.
            classes: int64 ``(n, k)``, the classes of interest of each image.

        Returns:
            float ``(n, k, h, w)`` at the resolution of the features.
        """


METHODS: Registry[Method] = Registry("method", "wsol.cams")


def forward(network: GapClassifier, images: Tensor) -> Forward:
    """Runs the network once.

    Args:
        network: In evaluation mode.
        images: Preprocessed, ``(n, 3, H, W)``.
    """
    with torch.inference_mode():
        features = network.features(images)
        return Forward(network, features, network.logits(features))
