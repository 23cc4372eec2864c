"""Every torchvision classifier; inspection finds out whether it ends in global average pooling."""

import math
import sys
import urllib.error
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torchvision.models
from torch import Tensor, nn

from wsol.errors import InputError
from wsol.models._feature_extractor import FeatureExtractor, enlarge_maps, measure_maps
from wsol.models.base import MODELS, Architecture, Preprocessing, PublishedWeights


class _Torchvision(Architecture):
    """Builder of a classifier of ``torchvision.models``, see torchvision's documentation for the papers.

    Args:
        name: Name in ``torchvision.models.list_models``.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def preprocessing(self) -> Preprocessing:
        return replace(_read_preprocessing(torchvision.models.get_model_weights(self.name).DEFAULT), size=None)

    def input_size(self, network: nn.Module) -> int | None:
        return network.image_size if isinstance(network, torchvision.models.VisionTransformer) else None

    def build(
        self, state: Mapping[str, Tensor], published: PublishedWeights | None, map_size: int | None = None
    ) -> nn.Module:
        size = self._read_size(state)
        network = self._create(**size)
        classes = {
            len(state[key])
            for key, default in network.state_dict().items()
            if key in state
            and default.shape[:1] == (_CLASSES,)
            and state[key].dim()
            and state[key].shape[1:] == default.shape[1:]
        } - {_CLASSES}
        if len(classes) == 1:
            network = self._create(num_classes=classes.pop(), **size)
        if map_size is not None:
            self._enlarge_maps(network, map_size)
        if published and "transform_input" in vars(network):
            vars(network)["transform_input"] = True  # torchvision sets this for its own weights of the Inception family
        return network

    def build_for_training(self, classes: int, map_size: int | None = None, from_scratch: bool = True) -> nn.Module:
        auxiliary = {"aux_logits": False, "init_weights": from_scratch} if self.name in _AUXILIARY else {}
        network = self._create(num_classes=classes, **auxiliary)
        if map_size is not None:
            self._enlarge_maps(network, map_size)
        return network

    def published_weights(self) -> tuple[PublishedWeights, ...]:
        return tuple(
            PublishedWeights(
                weights.name,
                _sha256_prefix(weights.url),
                _read_preprocessing(weights),
                tuple(weights.meta.get("categories") or ()),
            )
            for weights in torchvision.models.get_model_weights(self.name)
        )

    def fetch(self, name: str) -> Path:
        url = str(torchvision.models.get_model_weights(self.name)[name].url)
        path = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                torch.hub.download_url_to_file(url, str(path), _sha256_prefix(url), progress=sys.stderr.isatty())
            except (urllib.error.URLError, TimeoutError, RuntimeError) as error:
                raise InputError(
                    f"cannot download {url} ({error}); download it by hand and give --weights FILE"
                ) from error
        return path

    def _read_size(self, state: Mapping[str, Tensor]) -> dict[str, int]:
        """Return the image size that a vision transformer's positions are for, as torchvision's argument."""
        patch, positions = state.get("conv_proj.weight"), state.get("encoder.pos_embedding")
        if not self.name.startswith("vit_") or patch is None or positions is None or positions.dim() != 3:
            return {}
        side = math.isqrt(max(0, positions.shape[1] - 1))
        return {"image_size": side * patch.shape[-1]} if side and side**2 == positions.shape[1] - 1 else {}

    def _enlarge_maps(self, network: nn.Module, map_size: int) -> None:
        features = FeatureExtractor(network, self.name)
        enlarge_maps(features, map_size, self.name)
        if measure_maps(FeatureExtractor(network, self.name))[1] != map_size:  # removing a pool changes only features
            raise InputError(f"{self.name} cannot have maps of {map_size} x {map_size}; use {self.name}-gap")

    def _create(self, **arguments: Any) -> nn.Module:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # about the random initialization, which is overwritten
            network: nn.Module = torchvision.models.get_model(self.name, weights=None, **arguments)
        return network


_AUXILIARY = ("googlenet", "inception_v3")  # have auxiliary classifiers for training

_CLASSES = 1000  # default of every torchvision classifier


def _sha256_prefix(url: str) -> str:
    """Return the first digits of a published file's SHA-256, which its name contains: resnet50-0676ba61.pth."""
    return url.rsplit("-", 1)[-1].removesuffix(".pth")


def _read_preprocessing(weights: Any) -> Preprocessing:
    preset = weights.transforms()
    return Preprocessing(tuple(preset.mean), tuple(preset.std), preset.crop_size[0])


for _name in torchvision.models.list_models(module=torchvision.models):
    MODELS.register(_name)(_Torchvision(_name))
