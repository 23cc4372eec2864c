"""The model that the later stages work with, and the interface of an architecture."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wsol.models.classifier import Classifier
from wsol.registry import Registry


@dataclass(frozen=True)
class Preprocessing:
    """Normalization that the weights expect of an RGB image in [0, 1]; the image size belongs to the protocol.

    Attributes:
        mean: Subtracted from each channel.
        std: Divides each channel.
    """

    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)

    def normalize(self, pixels: NDArray[np.uint8], device: torch.device) -> Tensor:
        """Return images ``(n, side, side, 3)`` as float32 ``(n, 3, side, side)``, channels last in memory."""
        images = torch.from_numpy(pixels).to(device).permute(0, 3, 1, 2).float().div_(255)
        mean, std = (torch.tensor(values, device=device)[:, None, None] for values in (self.mean, self.std))
        return images.sub_(mean).div_(std)


@dataclass(frozen=True)
class PublishedWeights:
    """Weights that the authors of an architecture offer for download.

    Attributes:
        name: Name of the weights, such as ``IMAGENET1K_V1``.
        sha256_prefix: First hex digits of the file's SHA-256; empty where the authors do not publish it.
        preprocessing: Preprocessing that the weights expect.
    """

    name: str
    sha256_prefix: str
    preprocessing: Preprocessing

    def matches(self, sha256: str, weights: object) -> bool:
        """Return whether a file holds these weights: by its SHA-256 if it is published, else by the requested name."""
        return sha256.startswith(self.sha256_prefix) if self.sha256_prefix else weights == self.name


class Architecture(ABC):
    """Builder of one network, trained or not; registered in ``MODELS`` under its name.

    Attributes:
        comes_with_weights: Whether the network that it builds is already trained.
    """

    comes_with_weights: ClassVar[bool] = False

    @abstractmethod
    def build(
        self, state: Mapping[str, Tensor], published: PublishedWeights | None, map_size: int | None = None
    ) -> nn.Module:
        """Return the network with the number of classes of ``state``; the weights are not loaded yet.

        Args:
            state: Weights by parameter name.
            published: The published weights that ``state`` is; None for any other file.
            map_size: Side of the feature maps for a 224 x 224 image; None for the architecture's own.
        """

    @abstractmethod
    def build_for_training(self, classes: int, map_size: int | None = None, from_scratch: bool = True) -> nn.Module:
        """Return the network for training.

        Args:
            classes: Number of classes.
            map_size: Side of the feature maps for a 224 x 224 image; None for the architecture's own.
            from_scratch: Whether training starts from random weights; the network may then differ from that of
                ``build``, see ``export_state``.
        """

    def export_state(self, network: nn.Module) -> dict[str, Tensor]:
        """Return the weights of a trained network of ``build_for_training`` as the network of ``build`` takes them."""
        return network.state_dict()

    def bundled_weights(self) -> Path | None:
        """Return the weights file that is bundled with this package; None if there is none."""
        return None

    def preprocessing(self) -> Preprocessing:
        """Return the preprocessing that weights of unknown origin are assumed to expect."""
        return Preprocessing()

    def published_weights(self) -> tuple[PublishedWeights, ...]:
        """Return the weights that ``fetch`` can download."""
        return ()

    def fetch(self, name: str) -> Path:
        """Return the file of published weights, downloaded unless it is cached."""
        raise LookupError(name)


@dataclass(frozen=True)
class Model:
    """A network ready to be evaluated.

    Attributes:
        name: Registered name.
        network: The network in evaluation mode, on its device.
        preprocessing: Preprocessing that its weights expect.
        weights: Name of the weights: a file name, or a published name.
        sha256: SHA-256 of the weights file, hex.
        classes: Number of classes; 0 if the network does not classify.
        class_names: Class names in label order; empty where the weights file has none.
        notes: Remarks that deserve a second look, one sentence each.
        layer: Name of the target layer if it was given; None if it was found by inspection.
        map_size: Side of the feature maps for a 224 x 224 image if it was given.
    """

    name: str
    network: Classifier
    preprocessing: Preprocessing
    weights: str
    sha256: str
    classes: int
    class_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    layer: str | None = None
    map_size: int | None = None

    @property
    def signature(self) -> str:
        """Name, map size and target layer where they were given, and the first digits of the weights' SHA-256."""
        name = PurePath(self.name).name if ".py:" in self.name else self.name
        map_size = f"+{self.map_size}" if self.map_size else ""
        layer = f"@{self.layer}" if self.layer else ""
        return f"{name.replace('|', '_')}{map_size}{layer}:{self.sha256[:8]}"


MODELS: Registry[Architecture] = Registry("model", "wsol.models.architectures", group="wsol.models")
