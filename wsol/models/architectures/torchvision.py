"""Every torchvision classifier; whether it has a global-average-pooling head is found by inspection."""

import sys
import urllib.error
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torchvision.models
from torch import Tensor, nn

from wsol.errors import InputError
from wsol.models._feature_extractor import Features, enlarge_maps, map_size
from wsol.models.base import MODELS, Architecture, Preprocessing, PublishedWeights


class _Torchvision(Architecture):
    """A builder of ``torchvision.models``, see torchvision's documentation for the papers.

    Args:
        name: As ``torchvision.models.list_models`` has it.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def preprocessing(self) -> Preprocessing:
        return _preprocessing(torchvision.models.get_model_weights(self.name).DEFAULT)

    def build(
        self, state: Mapping[str, Tensor], published: PublishedWeights | None, side: int | None = None
    ) -> nn.Module:
        network = self._network()
        classes = {
            len(state[key])
            for key, own in network.state_dict().items()
            if key in state
            and own.shape[:1] == (_CLASSES,)
            and state[key].dim()
            and state[key].shape[1:] == own.shape[1:]
        } - {_CLASSES}
        if len(classes) == 1:
            network = self._network(num_classes=classes.pop())
        if side is not None:
            self._enlarge(network, side)
        if published and "transform_input" in vars(network):
            vars(network)["transform_input"] = True  # torchvision sets it for its own weights of the Inception family
        return network

    def build_for_training(self, classes: int, side: int | None = None, from_scratch: bool = True) -> nn.Module:
        auxiliary = {"aux_logits": False, "init_weights": from_scratch} if self.name in _AUXILIARY else {}
        network = self._network(num_classes=classes, **auxiliary)
        if side is not None:
            self._enlarge(network, side)
        return network

    def published(self) -> tuple[PublishedWeights, ...]:
        return tuple(
            PublishedWeights(weights.name, _digest(weights.url), _preprocessing(weights))
            for weights in torchvision.models.get_model_weights(self.name)
        )

    def fetch(self, name: str) -> Path:
        url = str(torchvision.models.get_model_weights(self.name)[name].url)
        path = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                torch.hub.download_url_to_file(url, str(path), _digest(url), progress=sys.stderr.isatty())
            except (urllib.error.URLError, TimeoutError, RuntimeError) as error:
                raise InputError(
                    f"cannot download {url} ({error}); fetch it by hand and give --weights FILE"
                ) from error
        return path

    def _enlarge(self, network: nn.Module, side: int) -> None:
        features = Features(network, self.name)
        enlarge_maps(features, side, self.name)
        if map_size(Features(network, self.name))[1] != side:  # a pooling layer cannot be taken out of the classifier
            raise InputError(f"{self.name} cannot have maps of {side} x {side}; take {self.name}-gap")

    def _network(self, **arguments: Any) -> nn.Module:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # on how the weights that are overwritten get sampled
            network: nn.Module = torchvision.models.get_model(self.name, weights=None, **arguments)
        return network


_AUXILIARY = ("googlenet", "inception_v3")  # whose training heads hang off the middle

_CLASSES = 1000  # what every torchvision classifier is built with


def _digest(url: str) -> str:
    """Return how a published file's SHA-256 begins; its name says so, resnet50-0676ba61.pth."""
    return url.rsplit("-", 1)[-1].removesuffix(".pth")


def _preprocessing(weights: Any) -> Preprocessing:
    preset = weights.transforms()
    return Preprocessing(tuple(preset.mean), tuple(preset.std))


for _name in torchvision.models.list_models(module=torchvision.models):
    MODELS.register(_name)(_Torchvision(_name))
