"""The model that the later stages work with, and the interface of an architecture."""

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path, PurePath
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wsol.errors import InputError, first_line
from wsol.models.classifier import Classifier
from wsol.models.prompts import Prompts
from wsol.registry import Registry
from wsol.runtime.precision import arithmetic

MAX_SIDE = 4096  # of the input of a network
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Preprocessing:
    """Normalization that the weights expect of an RGB image in [0, 1], and the size that they were trained with.

    Attributes:
        mean: Subtracted from each channel.
        std: Divides each channel.
        size: Side in pixels of the square input that the weights were trained with; None if it is unknown. A protocol
            that names no size uses it.
    """

    mean: tuple[float, float, float] = _IMAGENET_MEAN
    std: tuple[float, float, float] = _IMAGENET_STD
    size: int | None = None

    def __post_init__(self) -> None:
        """Check that mean and standard deviation are those of values in [0, 1].

        Raises:
            ValueError: They are not.
        """
        numbers = (*self.mean, *self.std)
        if len(self.mean) != 3 or len(self.std) != 3 or not all(map(math.isfinite, numbers)) or min(self.std) <= 0:
            raise ValueError("preprocessing needs three means and three standard deviations above 0, all finite")
        if max(map(abs, numbers)) > 1:
            raise ValueError(
                f"preprocessing has means {self.mean} and standard deviations {self.std}, which are not those of "
                "pixels in [0, 1]; divide them by 255"
            )
        if self.size is not None and not 1 <= self.size <= MAX_SIDE:
            raise ValueError(f"preprocessing has the size {self.size}, which must be from 1 to {MAX_SIDE}")

    @property
    def suffix(self) -> str:
        """Suffix of a model in the signature: empty for ImageNet's mean and standard deviation, else a hash of them."""
        numbers = np.array([self.mean, self.std], "<f8")
        if (numbers == [_IMAGENET_MEAN, _IMAGENET_STD]).all():
            return ""
        return f"+norm:{hashlib.sha256(numbers.tobytes()).hexdigest()[:8]}"

    def normalize(self, pixels: NDArray[np.uint8], device: torch.device) -> Tensor:
        """Return images ``(n, side, side, 3)`` as float32 ``(n, 3, side, side)``, channels last in memory.

        On a GPU this returns before the pixels are copied there; they are copied to pinned memory first, so that they
        may be overwritten.
        """
        n, height, width, channels = pixels.shape
        images = upload(torch.from_numpy(pixels), device).float().div_(255)
        rows = images.view(n, height, width * channels)  # long rows are faster than rows of three channels
        mean, std = (_repeat(tuple(values), width, device) for values in (self.mean, self.std))
        rows.sub_(mean).div_(std)
        # As a view of the rows: one image with strides of its own, as ``image[None]`` has, may be rounded differently.
        return rows.view(n, height, width, channels).permute(0, 3, 1, 2)


def upload(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a copy of a CPU tensor on a device, on a GPU without waiting for the work before it."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


@cache
def _repeat(values: tuple[float, ...], width: int, device: torch.device) -> Tensor:
    """Return one number per channel for a row of pixels; it is kept, as another copy would wait for the device."""
    with torch.inference_mode(False):
        return torch.tensor(values, device=device).repeat(width)


@dataclass(frozen=True)
class PublishedWeights:
    """Weights that the authors of an architecture offer for download.

    Attributes:
        name: Name of the weights, such as ``IMAGENET1K_V1``.
        sha256_prefix: First hex digits of the file's SHA-256; empty where the authors do not publish it.
        preprocessing: Preprocessing that the weights expect.
        categories: Names of the outputs, in order; empty where the authors do not publish them.
    """

    name: str
    sha256_prefix: str
    preprocessing: Preprocessing
    categories: tuple[str, ...] = ()

    def matches(self, sha256: str, weights: object) -> bool:
        """Return whether a file holds these weights: by its SHA-256 if it is published, else by the requested name."""
        return sha256.startswith(self.sha256_prefix) if self.sha256_prefix else weights == self.name


class Architecture(ABC):
    """Builder of one network, trained or not; registered in ``MODELS`` under its name.

    Attributes:
        comes_with_weights: Whether the network that it builds is already trained.
        code_sha256: SHA-256 (hex) of the Python file that builds the network, where it is a user's own; else empty.
    """

    comes_with_weights: ClassVar[bool] = False
    code_sha256: str = ""

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

    def input_size(self, network: nn.Module) -> int | None:
        """Return the side of the images that a network of this architecture takes; None if it takes several."""
        return None

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
        categories: Names that the authors of published weights give the outputs, in order; they may spell the names of
            a data set's classes differently. Empty for other weights.
        code_sha256: SHA-256 (hex) of the file that says how the network is built: a user's own Python file, or the
            config.json of transformers; empty where the package alone does.
        side: Side of the square images that the network was measured with.
        output: Name or index of the output that holds the class scores, if it was given.
        library: Package that defines the class of the network, such as ``torchvision``; empty if it is unknown.
        prompts: Classes of a zero-shot classifier and the texts about them; None for other networks.
        recipe: Settings of the training that ``wsol.train`` stored with the weights; None for other weights.
    """

    name: str
    network: Classifier = field(repr=False)
    preprocessing: Preprocessing
    weights: str
    sha256: str
    classes: int
    class_names: tuple[str, ...] = field(default=(), repr=False)
    notes: tuple[str, ...] = ()
    layer: str | None = None
    map_size: int | None = None
    categories: tuple[str, ...] = field(default=(), repr=False)
    code_sha256: str = ""
    side: int = 224
    output: str | None = None
    library: str = ""
    prompts: Prompts | None = field(default=None, repr=False)
    recipe: Mapping[str, Any] | None = field(default=None, repr=False)

    def check_side(self, side: int | None) -> None:
        """Check that the network takes square images of a side.

        Raises:
            InputError: It does not.
        """
        if side is None or side == self.side:
            return
        try:
            with arithmetic("float32"), torch.inference_mode():
                self.network(torch.zeros(1, 3, side, side, device=self.network.device))
        except Exception as error:  # the network's own code may raise anything
            raise InputError(f"{self.name} does not accept images of {side} x {side} ({first_line(error)})") from error

    @property
    def train_method(self) -> str:
        """Training method with its settings, ``has:grid=4,rate=0.5``, unless the name of the network has it.

        Empty for plain training, and where it is not known.
        """
        recipe = self.recipe or {}
        return str(recipe.get("train_method", "")) if is_same_name(str(recipe.get("model")), self.name) else ""

    @property
    def signature(self) -> str:
        """Name, and what was chosen: training method, map size, target layer, weights, normalization, prompts.

        A normalization is shown unless it is ImageNet's.

        A user's own file, the weights and the normalization are shown by the first digits of their SHA-256.
        """
        name = PurePath(self.name).name if ".py:" in self.name else self.name
        code = f"@{self.code_sha256[:8]}" if self.code_sha256 else ""
        map_size = f"+{self.map_size}" if self.map_size else ""
        layer = f"@{self.layer}" if self.layer else ""
        layer += f">{self.output.replace('|', '_')}" if self.output else ""
        suffix = self.preprocessing.suffix + (self.prompts.suffix if self.prompts else "")
        train_method = f"+{self.train_method.replace('|', '_')}" if self.train_method else ""
        return f"{name.replace('|', '_')}{code}{train_method}{map_size}{layer}:{self.sha256[:8]}{suffix}"


def is_same_name(stored: str, name: str) -> bool:
    """Return whether two names are those of one architecture; a user's file may have moved since the training."""
    return stored == name or (".py:" in name and PurePath(stored).name == PurePath(name).name)


MODELS: Registry[Architecture] = Registry("model", "wsol.models.architectures", group="wsol.models")
