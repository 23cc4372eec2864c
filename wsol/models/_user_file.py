"""A user's own network: ``FILE.py:FUNCTION``."""

import inspect
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from wsol.errors import InputError
from wsol.io.python_file import run_file
from wsol.models.base import Architecture, Preprocessing, PublishedWeights


class UserArchitecture(Architecture):
    """Builder of the network that a function in a Python file returns; the file is run.

    The function takes no arguments and returns a ``torch.nn.Module`` that outputs logits ``(n, classes)``. If it has a
    parameter ``classes`` with a default, it is called with the number of classes of the data set in a training, and
    with that of the weights file. If the network has an attribute ``preprocessing``, a ``wsol.models.Preprocessing``,
    images are normalized with it; else as ImageNet's.

    Args:
        name: ``FILE.py:FUNCTION``.

    Raises:
        InputError: There is no such file or function, or the function returns no network.
    """

    comes_with_weights = True

    def __init__(self, name: str) -> None:
        path, _, function = name.rpartition(":")
        module, self.code_sha256 = run_file(Path(path), "--model takes FILE.py:FUNCTION")
        if not callable(found := getattr(module, function, None)):
            raise InputError(f"{path} has no function {function!r}")
        self._name, self._function = name, found
        self._network: nn.Module | None = None

    def build(
        self, state: Mapping[str, Tensor], published: PublishedWeights | None, map_size: int | None = None
    ) -> nn.Module:
        network = self._call(map_size)
        if not self._takes_classes():
            return network
        default = network.state_dict()
        counts = {
            len(state[key])
            for key, tensor in default.items()
            if key in state and state[key].dim() and tensor.dim() and len(state[key]) != len(tensor)
        }
        return self._call(map_size, classes=counts.pop()) if len(counts) == 1 else network

    def build_for_training(self, classes: int, map_size: int | None = None, from_scratch: bool = True) -> nn.Module:
        return self._call(map_size, **({"classes": classes} if self._takes_classes() else {}))

    def preprocessing(self) -> Preprocessing:
        preprocessing = getattr(self._network or self.build({}, None), "preprocessing", None)
        if preprocessing is not None and not isinstance(preprocessing, Preprocessing):
            raise InputError(
                f"{self._name}: preprocessing is {type(preprocessing).__name__}; make it a wsol.models.Preprocessing"
            )
        return preprocessing or Preprocessing()

    def _takes_classes(self) -> bool:
        try:
            return "classes" in inspect.signature(self._function).parameters
        except (TypeError, ValueError):  # a callable without a signature
            return False

    def _call(self, map_size: int | None, **arguments: int) -> nn.Module:
        if map_size is not None:
            raise InputError(f"{self._name} has a fixed map size; leave out --map-size")
        try:
            network = self._function(**arguments)
        except Exception as error:  # a user's own code may raise anything
            raise InputError(f"{self._name} raises {type(error).__name__}: {error}") from error
        if not isinstance(network, nn.Module):
            raise InputError(f"{self._name} returns {type(network).__name__}, not a torch.nn.Module")
        self._network = network
        return network
