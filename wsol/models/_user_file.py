"""A user's own network: ``FILE.py:FUNCTION``."""

import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from wsol.errors import InputError
from wsol.models.base import Architecture, Preprocessing, PublishedWeights


class UserArchitecture(Architecture):
    """What a function in a Python file returns; the file is run.

    The function takes no arguments and returns a ``torch.nn.Module`` that gives logits ``(n, classes)``. Where that has
    an attribute ``preprocessing``, a ``wsol.models.Preprocessing``, images are normalised so; else as ImageNet's are.

    Args:
        name: ``FILE.py:FUNCTION``.

    Raises:
        InputError: There is no such file or function, or it gives no network.
    """

    comes_with_weights = True

    def __init__(self, name: str) -> None:
        path, _, function = name.rpartition(":")
        if not Path(path).is_file():
            raise InputError(f"there is no file {path}; --model takes FILE.py:FUNCTION")
        self._name, self._make = name, self._loaded(Path(path), function)
        self._built: nn.Module | None = None

    def build(
        self, state: Mapping[str, Tensor], published: PublishedWeights | None, side: int | None = None
    ) -> nn.Module:
        if side is not None:
            raise InputError(f"{self._name} has the maps it has; leave out --map-size")
        try:
            network = self._make()
        except Exception as error:  # a user's own code may raise anything
            raise InputError(f"{self._name} raises {type(error).__name__}: {error}") from error
        if not isinstance(network, nn.Module):
            raise InputError(f"{self._name} returns {type(network).__name__}, not a torch.nn.Module")
        self._built = network
        return network

    def build_for_training(self, classes: int, side: int | None = None, from_scratch: bool = True) -> nn.Module:
        return self.build({}, None, side)

    def preprocessing(self) -> Preprocessing:
        found = getattr(self._built or self.build({}, None), "preprocessing", None)
        if found is not None and not isinstance(found, Preprocessing):
            raise InputError(
                f"{self._name}: preprocessing is {type(found).__name__}; make it a wsol.models.Preprocessing"
            )
        return found or Preprocessing()

    def _loaded(self, path: Path, function: str) -> Any:
        spec = importlib.util.spec_from_file_location(path.stem, path)
        if spec is None or spec.loader is None:
            raise InputError(f"{path} is no Python file")
        module = importlib.util.module_from_spec(spec)
        sys.path.insert(0, str(path.parent))  # its own imports are of files beside it
        try:
            spec.loader.exec_module(module)
        except Exception as error:  # a user's own code may raise anything
            raise InputError(f"{path} raises {type(error).__name__}: {error}") from error
        finally:
            sys.path.remove(str(path.parent))
        if not callable(found := getattr(module, function, None)):
            raise InputError(f"{path} has no function {function!r}")
        return found
