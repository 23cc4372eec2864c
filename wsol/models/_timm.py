"""Any classifier of the package timm, as ``timm/NAME``."""

import difflib
import importlib
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from wsol.errors import InputError, first_line
from wsol.models.base import Architecture, Preprocessing, PublishedWeights


class Timm(Architecture):
    """A builder of ``timm.create_model``; self-supervised ones come without a classifier.

    Args:
        name: As ``timm.list_models`` has it, with or without the tag of its weights: ``vit_small_patch16_224.dino``.

    Raises:
        InputError: timm is not installed, or does not know it.
    """

    def __init__(self, name: str) -> None:
        try:
            self._timm: Any = importlib.import_module("timm")
        except ImportError as error:
            raise InputError(f"timm/{name} needs the package timm; pip install timm") from error
        base, _, tag = name.partition(".")
        known = self._timm.list_pretrained(f"{base}.*") if tag else self._timm.list_models()
        if not self._timm.is_model(base) or (tag and name not in known):
            near = ", ".join(difflib.get_close_matches(name, known or self._timm.list_models(), n=3))
            raise InputError(f"timm knows no {name!r}" + (f"; near are {near}" if near else ""))
        self.name = name

    def build(
        self, state: Mapping[str, Tensor], published: PublishedWeights | None, side: int | None = None
    ) -> nn.Module:
        self._refuse(side)
        network = self._network()
        head = network.state_dict()
        classes = {len(state[key]) for key in head if key in state and _other_count(state[key], head[key], network)}
        return self._network(num_classes=classes.pop()) if len(classes) == 1 else network

    def build_for_training(self, classes: int, side: int | None = None, from_scratch: bool = True) -> nn.Module:
        self._refuse(side)
        return self._network(num_classes=classes)

    def preprocessing(self) -> Preprocessing:
        facts = self._timm.models.get_pretrained_cfg(self.name)
        return Preprocessing(tuple(facts.mean), tuple(facts.std)) if facts else Preprocessing()

    def published(self) -> tuple[PublishedWeights, ...]:
        facts = self._timm.models.get_pretrained_cfg(self.name)
        return (PublishedWeights("pretrained", "", self.preprocessing()),) if facts and facts.hf_hub_id else ()

    def fetch(self, name: str) -> Path:
        facts = self._timm.models.get_pretrained_cfg(self.name)
        try:
            hub: Any = importlib.import_module("huggingface_hub")
            return Path(hub.hf_hub_download(facts.hf_hub_id, "model.safetensors"))
        except Exception as error:  # no network, no such file, no access: the hub's own kinds of error
            raise InputError(
                f"cannot download {facts.hf_hub_id} ({first_line(error)}); fetch it by hand and give --weights FILE"
            ) from error

    def _network(self, **arguments: Any) -> nn.Module:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            network: nn.Module = self._timm.create_model(self.name, pretrained=False, **arguments)
        return network

    def _refuse(self, side: int | None) -> None:
        if side is not None:
            raise InputError(f"timm/{self.name} has the maps it has; leave out --map-size")


def _other_count(theirs: Tensor, own: Tensor, network: nn.Module) -> bool:
    """Return whether a tensor belongs to a classifier of another number of classes."""
    count = getattr(network, "num_classes", 0)
    return bool(count) and own.shape[:1] == (count,) and theirs.shape[1:] == own.shape[1:] and len(theirs) != count
