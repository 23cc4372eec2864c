"""Networks with their weights, as loaded, and packages that load both together."""

from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from wsol.errors import InputError
from wsol.models.base import Architecture, Preprocessing
from wsol.models.prompts import Prompts


@dataclass(frozen=True)
class LoadedNetwork:
    """A network with its weights, and the attributes of its ``Model``."""

    network: nn.Module
    preprocessing: Preprocessing
    weights: str
    sha256: str
    class_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    code_sha256: str = ""
    prompts: Prompts | None = None
    train_method: str = ""


class Source(Architecture):
    """Architecture of a package that also says how its weights are read."""

    name: str

    @abstractmethod
    def load(self, weights: str | Path | None, prompts: Prompts | None, device: torch.device) -> LoadedNetwork:
        """Return the network with its weights, in evaluation mode, on the CPU.

        Args:
            weights: A file or folder, or the name of published weights; None for those of the name, if it has any.
            prompts: Classes of a zero-shot classifier, and the texts about them.
            device: Where texts are encoded.

        Raises:
            InputError: The weights are unknown, unreadable, or do not fit, or there are no prompts.
        """

    def build_for_training(self, classes: int, map_size: int | None = None, from_scratch: bool = True) -> nn.Module:
        """Refuse; networks of transformers and open_clip are evaluated as they are."""
        raise InputError(f"{self.name} cannot be trained by wsol.train; train a network of torchvision or timm")


def require_prompts(prompts: Prompts | None, name: str) -> Prompts:
    """Return the prompts of a zero-shot classifier.

    Raises:
        InputError: There are none.
    """
    if prompts is None:
        raise InputError(
            f"{name} is a zero-shot classifier, which needs the names of classes; give --dataset or --class-names FILE "
            "(in Python, prompts=wsol.models.Prompts(('cat', 'dog')) of load_model)"
        )
    return prompts
