"""What can be said of models and methods before any weights are there."""

import contextlib
import fnmatch
import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from wsol.errors import InputError
from wsol.methods import METHODS, unsupported_reason
from wsol.models import MODELS, GapClassifier, find_architecture, find_classifier


def model_lines(patterns: Sequence[str]) -> Iterator[str]:
    """Yield a line a model: name, head, size of the maps of a 224 x 224 image, and the methods that apply.

    Args:
        patterns: Names, or patterns of names such as ``resnet*``; if empty, all registered names but those that another
            one gives with ``-gap`` or ``-gmp``. Names of timm and of a user's own file are taken as they are.

    Raises:
        InputError: A pattern fits no name.
    """
    yield f"{'model':<28} {'head':<16} {'maps at 224':<18} methods"
    for name in _named(patterns):
        yield f"{name:<28} {describe(name)}"
    if not patterns:
        yield "and any backbone of these as NAME-gap or NAME-gmp; timm/NAME; your own as FILE.py:FUNCTION"


def method_lines() -> Iterator[str]:
    """Yield a line a method: name with its settings, what it needs beyond the forward pass, what it does."""
    for name in METHODS.names():
        method = METHODS.get(name)
        summary = (type(method).__doc__ or "").strip().splitlines()[0]
        yield f"{name:<22} {method.needs:<16} {summary}"
        if method.signature != name:
            yield f"{'':<22} {'':<16} {method.signature}"


def describe(name: str) -> str:
    """Return head, map size and methods of a model in a line; nothing is computed but shapes."""
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()), _Weightless():
            warnings.simplefilter("ignore")
            network = find_architecture(name).build({}, None).eval()
            classifier = find_classifier(network, name)
            maps, _ = classifier.forward_features(torch.empty(1, 3, 224, 224))
    except InputError as error:
        return str(error).removeprefix(f"{name}: ").removeprefix(f"{name} ")
    head = "other"
    if isinstance(classifier, GapClassifier):
        head = "GAP" if classifier.pooling == "average" else "GMP"
        head += " + linear" if classifier.linear is not None else ", map a class"
    classes = 0 if vars(network).get("num_classes") == 0 else 1000
    head = head if classes else "none"
    refusing = [
        method for method in METHODS.names() if unsupported_reason(METHODS.get(method), classifier, classes) is not None
    ]
    methods = "all but " + ", ".join(refusing) if refusing else "all"
    return f"{head:<16} {' x '.join(map(str, maps.shape[1:])):<18} {methods}"


def _named(patterns: Sequence[str]) -> list[str]:
    names = MODELS.names()
    if not patterns:
        return [name for name in names if name[-4:] not in ("-gap", "-gmp") or name[:-4] not in names]
    found = []
    for pattern in patterns:
        own = [pattern] if pattern.startswith("timm/") or ".py:" in pattern else fnmatch.filter(names, pattern)
        if not own:
            MODELS.get(pattern)  # whose message names what is near
        found += own
    return found


class _Weightless(TorchFunctionMode):
    """Gives weights no memory; what architectures count with stays as it is."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in (torch.empty, torch.zeros, torch.ones, torch.rand, torch.randn):
            return func(*args, **{**(kwargs or {}), "device": "meta"})
        if func in _SAMPLERS:
            return kwargs["tensor"] if kwargs and "tensor" in kwargs else args[0]
        return func(*args, **(kwargs or {}))


_SAMPLERS = {getattr(nn.init, name) for name in dir(nn.init) if name.endswith("_") and not name.startswith("_")}
