"""The list of models, made without weights."""

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
from wsol.models.target_layer import SIDE


def list_models(patterns: Sequence[str]) -> Iterator[str]:
    """Yield a line per model: name, head, size of the maps of a 224 x 224 image, and the supported methods.

    Args:
        patterns: Names, or patterns of names such as ``resnet*``. Names of other packages and of user files are not
            expanded. If empty, the registered names alone are listed, at once, without ``-gap``, ``-gmp`` and ``-tap``
            variants of registered names.

    Raises:
        InputError: A pattern matches no name.
    """
    if not patterns:
        names = MODELS.names()
        yield from (name for name in names if name[-4:] not in ("-gap", "-gmp", "-tap") or name[:-4] not in names)
        yield "also: NAME-gap, NAME-gmp, NAME-tap of any backbone above, timm/NAME, open_clip/NAME, hf/ORG/NAME,"
        yield "and FILE.py:FUNCTION for your own model; give names for their maps and methods, such as 'resnet*'"
        return
    names = _expand_patterns(patterns)
    yield f"{'model':<28} {'head':<16} {'maps at 224':<18} methods"
    for name in names:
        yield f"{name:<28} {describe_model(name)}"


def describe_model(name: str) -> str:
    """Return head, map size and methods of a model as one line; only shapes are computed."""
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            architecture = find_architecture(name)
            with _WithoutWeights():
                network = architecture.build({}, None).eval()
            side = architecture.input_size(network) or architecture.preprocessing().size or SIDE
            classifier = find_classifier(network, name, side=side)
            maps, _ = classifier.forward_features(torch.empty(1, 3, side, side, device=classifier.device))
    except InputError as error:
        return str(error).removeprefix(f"{name}: ").removeprefix(f"{name} ")
    head = "other"
    if isinstance(classifier, GapClassifier):
        head = {"average": "GAP", "max": "GMP", "thresholded": "TAP"}[classifier.pooling]
        head += " + linear" if classifier.linear is not None else ", class maps"
    classes = 0 if vars(network).get("num_classes") == 0 else 1000
    head = head if classes else "none"
    unsupported = [
        method for method in METHODS.names() if unsupported_reason(METHODS.get(method), classifier, classes) is not None
    ]
    methods = "all but " + ", ".join(unsupported) if unsupported else "all"
    size = " x ".join(map(str, maps.shape[1:])) + (f" at {side}" if side != SIDE else "")
    return f"{head:<16} {size:<18} {methods}"


def _expand_patterns(patterns: Sequence[str]) -> list[str]:
    expanded = []
    for pattern in patterns:
        matches = [pattern] if "/" in pattern or ".py:" in pattern else fnmatch.filter(MODELS.names(), pattern)
        if not matches:
            MODELS.get(pattern)  # raises with similar names
        expanded += matches
    return expanded


class _WithoutWeights(TorchFunctionMode):
    """Creates weights on the meta device and skips their initialization; other tensors are unchanged."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in (torch.empty, torch.zeros, torch.ones, torch.rand, torch.randn):
            return func(*args, **{**(kwargs or {}), "device": "meta"})
        if func in _SAMPLERS:
            return kwargs["tensor"] if kwargs and "tensor" in kwargs else args[0]
        return func(*args, **(kwargs or {}))


_SAMPLERS = {getattr(nn.init, name) for name in dir(nn.init) if name.endswith("_") and not name.startswith("_")}
