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
    """Builder of the network that a function in a Python file returns; the file is run.

    The function takes no arguments and returns a ``torch.nn.Module`` that outputs logits ``(n, classes)``. If that has
    an attribute ``preprocessing``, a ``wsol.models.Preprocessing``, images are normalized with it; else as ImageNet's.

    Args:
        name: ``FILE.py:FUNCTION``.

    Raises:
        InputError: There is no such file or function, or the function returns no network.
    """

    comes_with_weights = True

    def __init__(self, name: str) -> None:
        path, _, function = name.rpartition(":")
        if not Path(path).is_file():
            raise InputError(f"there is no file {path}; --model takes FILE.py:FUNCTION")
        self._name, self._function = name, _load_function(Path(path), function)
        self._network: nn.Module | None = None

    def build(
        self, state: Mapping[str, Tensor], published: PublishedWeights | None, map_size: int | None = None
    ) -> nn.Module:
        if map_size is not None:
            raise InputError(f"{self._name} has a fixed map size; leave out --map-size")
        try:
            network = self._function()
        except Exception as error:  # a user's own code may raise anything
            raise InputError(f"{self._name} raises {type(error).__name__}: {error}") from error
        if not isinstance(network, nn.Module):
            raise InputError(f"{self._name} returns {type(network).__name__}, not a torch.nn.Module")
        self._network = network
        return network

    def build_for_training(self, classes: int, map_size: int | None = None, from_scratch: bool = True) -> nn.Module:
        return self.build({}, None, map_size)

    def preprocessing(self) -> Preprocessing:
        preprocessing = getattr(self._network or self.build({}, None), "preprocessing", None)
        if preprocessing is not None and not isinstance(preprocessing, Preprocessing):
            raise InputError(
                f"{self._name}: preprocessing is {type(preprocessing).__name__}; make it a wsol.models.Preprocessing"
            )
        return preprocessing or Preprocessing()


def _load_function(path: Path, name: str) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent))  # so that it can import the files next to it
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # a user's own code may raise anything
        raise InputError(f"{path} raises {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(str(path.parent))
    if not callable(function := getattr(module, name, None)):
        raise InputError(f"{path} has no function {name!r}")
    return function
