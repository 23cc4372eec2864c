"""Any classifier of the package timm, as ``timm/NAME``."""

import difflib
import importlib
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from wsol.errors import InputError, first_line
from wsol.models.base import Architecture, Preprocessing, PublishedWeights


class Timm(Architecture):
    """Builder of a network of ``timm.create_model``; self-supervised ones have no classifier.

    Args:
        name: Name in ``timm.list_models``, with or without the tag of its weights: ``vit_small_patch16_224.dino``.

    Raises:
        InputError: timm is not installed, or has no such model.
    """

    def __init__(self, name: str) -> None:
        try:
            self._timm: Any = importlib.import_module("timm")
        except ImportError as error:
            raise InputError(f"timm/{name} needs the package timm; pip install 'wsol[timm]'") from error
        base, _, tag = name.partition(".")
        names = self._timm.list_pretrained(f"{base}.*") if tag else self._timm.list_models()
        if not self._timm.is_model(base) or (tag and name not in names):
            similar = " or ".join(difflib.get_close_matches(name, names or self._timm.list_models(), n=3))
            raise InputError(f"timm has no model {name!r}" + (f"; did you mean {similar}?" if similar else ""))
        self.name = name

    def build(
        self, state: Mapping[str, Tensor], published: PublishedWeights | None, map_size: int | None = None
    ) -> nn.Module:
        self._reject_map_size(map_size)
        network = self._create()
        default = network.state_dict()
        classes = {
            len(state[key])
            for key in default
            if key in state and _differs_in_classes(state[key], default[key], network)
        }
        return self._create(num_classes=classes.pop()) if len(classes) == 1 else network

    def build_for_training(self, classes: int, map_size: int | None = None, from_scratch: bool = True) -> nn.Module:
        self._reject_map_size(map_size)
        return self._create(num_classes=classes)

    def preprocessing(self) -> Preprocessing:
        config = self._timm.models.get_pretrained_cfg(self.name)
        if not config:
            return Preprocessing()
        size = config.input_size[-1] if config.fixed_input_size else None
        return Preprocessing(tuple(config.mean), tuple(config.std), size)

    def published_weights(self) -> tuple[PublishedWeights, ...]:
        config = self._timm.models.get_pretrained_cfg(self.name)
        if not config or not config.hf_hub_id:
            return ()
        size = (config.test_input_size or config.input_size)[-1]
        preprocessing = replace(self.preprocessing(), size=size)
        return (PublishedWeights("pretrained", "", preprocessing, self._list_categories(config)),)

    def fetch(self, name: str) -> Path:
        config = self._timm.models.get_pretrained_cfg(self.name)
        try:
            hub: Any = importlib.import_module("huggingface_hub")
            return Path(hub.hf_hub_download(config.hf_hub_id, "model.safetensors"))
        except Exception as error:  # no network, no such file, no access: the hub has its own error types
            raise InputError(
                f"cannot download {config.hf_hub_id} ({first_line(error)}); download it by hand and give --weights FILE"
            ) from error

    def _list_categories(self, config: Any) -> tuple[str, ...]:
        """Return the names of the outputs, which timm knows for the subsets of ImageNet."""
        subset = self._timm.data.infer_imagenet_subset(config)
        return tuple(self._timm.data.ImageNetInfo(subset).label_descriptions()) if subset else ()

    def _create(self, **arguments: Any) -> nn.Module:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            network: nn.Module = self._timm.create_model(self.name, pretrained=False, **arguments)
        return network

    def _reject_map_size(self, map_size: int | None) -> None:
        if map_size is not None:
            raise InputError(f"timm/{self.name} has a fixed map size; leave out --map-size")


def _differs_in_classes(stored: Tensor, default: Tensor, network: nn.Module) -> bool:
    """Return whether a stored tensor belongs to a classifier with another number of classes."""
    count = getattr(network, "num_classes", 0)
    return (
        bool(count) and default.shape[:1] == (count,) and stored.shape[1:] == default.shape[1:] and len(stored) != count
    )
