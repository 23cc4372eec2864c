"""What a model is to the other stations, and how an architecture makes itself known."""

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
    """What the weights expect of an RGB image in [0, 1]; its size belongs to the protocol.

    Attributes:
        mean: Subtracted, per channel.
        std: Divided by, per channel.
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
    """Weights that an architecture's authors offer for download.

    Attributes:
        name: Such as ``IMAGENET1K_V1``.
        digest: How the SHA-256 of the file begins; empty where the authors do not say.
        preprocessing: What they expect.
    """

    name: str
    digest: str
    preprocessing: Preprocessing

    def matches(self, sha256: str, weights: object) -> bool:
        """Return whether a file is this one: by its SHA-256 where that is known, else by what the user asked for."""
        return sha256.startswith(self.digest) if self.digest else weights == self.name


class Architecture(ABC):
    """Builds one network, trained or not; registered in ``MODELS`` under its name.

    Attributes:
        own_weights: Whether what it builds is trained already.
    """

    comes_with_weights: ClassVar[bool] = False

    @abstractmethod
    def build(
        self, state: Mapping[str, Tensor], published: PublishedWeights | None, side: int | None = None
    ) -> nn.Module:
        """Return the network with the number of classes that ``state`` has, its weights not yet loaded.

        Args:
            state: The weights.
            published: What is known of them.
            side: Of the maps of a 224 x 224 image; None for the architecture's own.
        """

    @abstractmethod
    def build_for_training(self, classes: int, side: int | None = None, from_scratch: bool = True) -> nn.Module:
        """Return the network to be trained.

        Args:
            classes: Number of classes.
            side: Of the maps of a 224 x 224 image; None for the architecture's own.
            from_scratch: Whether it starts from random weights; it may then differ from ``build``'s, see ``trained``.
        """

    def export_state(self, network: nn.Module) -> dict[str, Tensor]:
        """Return the weights for ``build``'s network out of what ``fresh`` gave and training made of it."""
        return network.state_dict()

    def bundled_weights(self) -> Path | None:
        """Return the weights file that comes with this package, if there is one."""
        return None

    def preprocessing(self) -> Preprocessing:
        """Return what weights of unknown origin are taken to expect."""
        return Preprocessing()

    def published(self) -> tuple[PublishedWeights, ...]:
        """Return the weights that ``fetch`` knows."""
        return ()

    def fetch(self, name: str) -> Path:
        """Download published weights, or finds them in the cache, and returns the file."""
        raise LookupError(name)


@dataclass(frozen=True)
class Model:
    """A network ready to be evaluated.

    Attributes:
        name: Registered name.
        network: In evaluation mode, on its device.
        preprocessing: What its weights expect.
        weights: Name of the weights: a file name, or a published name.
        sha256: Of the weights file, hex.
        classes: Number of classes; 0 if it does not classify.
        class_names: In label order; empty where the file names none.
        notes: What deserves a second look, one sentence each.
        layer: Name of the target layer, where it was not found but chosen.
        map_size: Side of the maps of a 224 x 224 image, where it was chosen.
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
        """Name, map size and target layer where they were chosen, and how the weights' SHA-256 begins."""
        name = PurePath(self.name).name if ".py:" in self.name else self.name
        side = f"+{self.map_size}" if self.map_size else ""
        layer = f"@{self.layer}" if self.layer else ""
        return f"{name.replace('|', '_')}{side}{layer}:{self.sha256[:8]}"


MODELS: Registry[Architecture] = Registry("model", "wsol.models.architectures")
