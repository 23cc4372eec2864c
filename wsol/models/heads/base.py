"""The interface of the head of a training method, and the features that it is put on."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from wsol.models._feature_extractor import FeatureExtractor
from wsol.registry import Registry, format_settings


@dataclass(frozen=True)
class Head(ABC):
    """Layers of a training method that take the place of a network's pooling and linear layer.

    The fields are its settings, all with defaults. A head is registered in ``HEADS`` by a file in
    ``wsol/models/heads``, or by another package through an entry point of the group ``wsol.heads``.

    Attributes:
        name: Registered name.
    """

    name: ClassVar[str] = ""

    @abstractmethod
    def attach(self, network: nn.Module, model: str, classes: int, for_training: bool) -> nn.Module:
        """Return the features of a network with this head, random and with one class score per class.

        Args:
            network: A network that pools; the new one shares the tensors of its features.
            model: Its name in messages.
            classes: Number of classes.
            for_training: Whether to add the layers that act in training alone.

        Raises:
            InputError: The network lacks the layers that the head needs.
        """

    @abstractmethod
    def count_classes(self, state: Mapping[str, Tensor]) -> int | None:
        """Return the number of classes of stored weights; None if they are not those of a network with this head."""

    def export_state(self, network: nn.Module) -> dict[str, Tensor]:
        """Return the weights of a trained network without those that act in training alone."""
        return network.state_dict()

    @property
    def signature(self) -> str:
        """Name with all settings: ``acol:threshold=0.7``."""
        return format_settings(self.name, self)


HEADS: Registry[Head] = Registry("head", "wsol.models.heads", group="wsol.heads")


def find_features(network: nn.Module, model: str) -> tuple[nn.Module, int]:
    """Return the layers of a network that a head is put on, and the number of their channels.

    Layers that global average pooling was given in front of it, such as the additional convolution of VGG16-GAP, are
    not among them: the heads of ACoL and SPG take their place.

    Args:
        network: A network that pools globally; the layers share its tensors.
        model: Its name in messages.

    Returns:
        A module from images ``(n, 3, H, W)`` to maps ``(n, C, h, w)``, and C.

    Raises:
        InputError: The network cannot be traced, or does not pool.
    """
    features = getattr(network, "feature_layers", None)
    if not isinstance(features, nn.Module):
        features = FeatureExtractor(network, model)
    training = features.training
    with torch.no_grad():
        channels = features.eval()(torch.zeros(1, 3, _SIDE, _SIDE)).shape[1]
    features.train(training)
    return features, int(channels)


_SIDE = 224
