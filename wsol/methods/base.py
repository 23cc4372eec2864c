"""The interface of a method."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any, ClassVar, Literal
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from wsol.errors import InputError
from wsol.methods._forward import Forward, forward
from wsol.models import Classifier
from wsol.models.layered import LayeredClassifier
from wsol.registry import Registry, format_settings
from wsol.runtime.precision import arithmetic

__all__ = ["METHODS", "Forward", "GradientMethod", "Method", "forward", "unsupported_reason"]


class Method(ABC):
    """Base class of methods, which turn a forward pass into score maps.

    Subclasses are frozen dataclasses; their fields are the settings of the method.

    Attributes:
        name: Registered name.
        needs: Cost beyond the forward pass: none (features), gradients of the head, gradients of the whole network down
            to the image, further forward passes, or a pass that records all attention.
        class_specific: Whether the map depends on the class; if not, the network need not classify.
        takes_target: Whether the map of a class explains ``Forward.target``; false for a method that reads the weights
            of the class instead.
        reads_layer: Whether the map is computed from the feature maps of the target layer, so that those of several
            layers can be fused; unless a class says otherwise, methods of features and gradients do so.
        fuses_layers: Whether ``maps`` takes a pass that is read at several layers.
    """

    name: ClassVar[str]
    class_specific: ClassVar[bool] = True
    takes_target: ClassVar[bool] = True
    reads_layer: ClassVar[bool] = False
    fuses_layers: ClassVar[bool] = False
    needs: ClassVar[Literal["features", "gradients", "image gradients", "forward passes", "attention"]]

    def __init_subclass__(cls, **arguments: Any) -> None:
        """Let ``maps`` of every method, also of other packages, run in float32 and refuse what cannot be computed."""
        super().__init_subclass__(**arguments)
        if "needs" in vars(cls) and "reads_layer" not in vars(cls):
            cls.reads_layer = cls.needs in ("features", "gradients")
        if "maps" in vars(cls):
            in_float32 = arithmetic("float32")(_with_class_check(cls.maps))
            cls.maps = in_float32  # type: ignore[assignment]  # only adds a check

    @abstractmethod
    def maps(self, forward: Forward, classes: Tensor) -> Tensor:
        """Return raw score maps; the maps of an image do not depend on the rest of the batch.

        Args:
            forward: The forward pass of a batch.
            classes: Classes of interest of each image, int64 ``(n, k)``.

        Returns:
            float ``(n, k, h, w)`` on the device of the forward pass, without gradients.

        Raises:
            InputError: A class is none of the network's, or the method cannot be applied to the network.
        """

    def unsupported_reason(self, network: Classifier) -> str | None:
        """Return why the method cannot be applied to a network, in one sentence; None if it can."""
        return None

    def weigh(self, forward: Forward, classes: Tensor) -> Iterator[Tensor]:
        """Yield the weighted feature maps whose sum over the channels ``finish`` makes the map.

        A method whose map is no such sum does not define it.

        Args:
            forward: The forward pass of a batch.
            classes: Classes of interest of each image, int64 ``(n, k)``; not checked.

        Yields:
            float ``(n, 1, C, h, w)``, without gradients, for each of the k classes.
        """
        raise NotImplementedError

    def finish(self, sums: Tensor) -> Tensor:
        """Return maps from sums of ``weigh`` over the channels, of the same shape: the sums, or their positive part."""
        return sums

    @property
    def is_weighted_sum(self) -> bool:
        """True if the method defines ``weigh``."""
        return type(self).weigh is not Method.weigh

    @property
    def signature(self) -> str:
        """Name and all settings, as ``find_method`` takes them for a registered method."""
        return format_settings(self.name, self)


def _with_class_check(maps: Callable[[Any, Forward, Tensor], Tensor]) -> Callable[[Any, Forward, Tensor], Tensor]:
    @wraps(maps)
    def checked_maps(self: Any, forward: Forward, classes: Tensor) -> Tensor:
        if forward.classes_checked:  # and so is whether the method applies
            return maps(self, forward, classes)
        last = forward.logits.shape[1] - 1
        at_once = not classes.is_cuda or self.needs not in ("features", "gradients")
        if at_once:
            _check_classes(classes, last)
        if (reason := _find_reason(self, forward.network)) is not None:
            raise InputError(f"{getattr(self, 'name', type(self).__name__)} cannot be applied: {reason}")
        if at_once:
            return maps(self, forward, classes)
        # A GPU is asked for the classes while it works on the maps, so that it need not wait for their launch.
        copy = classes.to("cpu", non_blocking=True)
        copied = torch.cuda.Event()  # type: ignore[no-untyped-call]  # torch's
        copied.record(torch.cuda.current_stream(classes.device))
        result = maps(self, forward, classes.clamp(0, last))
        copied.synchronize()
        _check_classes(copy, last)
        return result

    return checked_maps


def _find_reason(method: Method, network: Classifier) -> str | None:
    """Return why a method cannot be applied to a network; the answer is kept, as it may take passes of the network."""
    known = _REASONS.setdefault(network, {})
    key = type(method), repr(method)
    if key not in known:
        known[key] = _layers_reason(method, network) or method.unsupported_reason(network)
    return known[key]


_REASONS: "WeakKeyDictionary[nn.Module, dict[tuple[type[Method], str], str | None]]" = WeakKeyDictionary()


def _check_classes(classes: Tensor, last: int) -> None:
    outside = classes[(classes < 0) | (classes > last)].tolist()
    if outside:
        raise InputError(f"the network has no class {outside[0]}; give a number from 0 to {last}")


class GradientMethod(Method):
    """Base class of methods that combine features and gradients, in the same way for every class."""

    needs = "gradients"

    @abstractmethod
    def combine(self, features: Tensor, gradients: Tensor) -> Tensor:
        """Return the maps ``(n, 1, h, w)`` of one class from features and gradients, both ``(n, 1, C, h, w)``."""

    def products(self, features: Tensor, gradients: Tensor) -> Tensor:
        """Return the weighted features that ``combine`` adds up and finishes; all are ``(n, 1, C, h, w)``.

        A method whose map is no such sum does not define it.
        """
        raise NotImplementedError

    @property
    def is_weighted_sum(self) -> bool:
        """True if the method defines ``products``."""
        return type(self).products is not GradientMethod.products

    def differentiate(self, forward: Forward, classes: Tensor) -> Tensor:
        """Return what ``combine`` takes as gradients, ``(n, k, C, h, w)``: those of the target."""
        return forward.gradients(classes)

    def maps(self, forward: Forward, classes: Tensor) -> Tensor:
        """Return the maps, computed for as many classes at once as the memory budget allows."""
        features = forward.features
        on_cpu = features.device.type == "cpu"
        parts: list[Tensor] = []
        for columns in self._split(forward, classes, 4 if on_cpu else 5):
            gradients = self.differentiate(forward, columns)
            # Intermediate results of one class fit into the cache of a CPU; on a GPU each launch takes time of its own.
            parts += self._combine_classes(features, gradients, 1 if on_cpu else columns.shape[1])
        forward.release_graph()
        return parts[0] if len(parts) == 1 else torch.cat(parts, 1)

    def weigh(self, forward: Forward, classes: Tensor) -> Iterator[Tensor]:
        """Yield the products of each class, with the gradients of as many at once as the memory budget allows."""
        for columns in self._split(forward, classes, 5):
            for each in torch.split(self.differentiate(forward, columns), 1, 1):
                with torch.no_grad():
                    products = self.products(forward.features[:, None], each)
                yield products
        forward.release_graph()

    def _split(self, forward: Forward, classes: Tensor, copies: int) -> tuple[Tensor, ...]:
        """Return the classes in parts that fit into the memory budget, with a number of copies of the features each."""
        size = copies * forward.features.numel() * forward.features.element_size()
        return torch.split(classes, max(1, int(forward.memory / size)), 1)

    @torch.no_grad()
    def _combine_classes(self, features: Tensor, gradients: Tensor, together: int) -> list[Tensor]:
        """Return maps of all classes, with a number of classes in each call as if they were further images."""
        parts = []
        for each in torch.split(gradients.transpose(0, 1), together):
            repeated = features.expand(len(each), *features.shape).flatten(0, 1)
            maps = self.combine(repeated[:, None], each.flatten(0, 1)[:, None])
            parts.append(maps.reshape(*each.shape[:2], *maps.shape[2:]).transpose(0, 1))
        return parts


def unsupported_reason(method: Method, network: Classifier, classes: int) -> str | None:
    """Return why a method cannot be applied to a network with a number of classes, in one sentence; None if it can."""
    if not classes and method.class_specific:
        applicable = (name for name in METHODS.names() if not METHODS.get(name).class_specific)
        return f"the network does not classify; use {' or '.join(applicable)}"
    if (reason := _layers_reason(method, network)) is not None:
        return reason
    with arithmetic("float32"):  # it may run the network
        return method.unsupported_reason(network)


def _layers_reason(method: Method, network: Classifier) -> str | None:
    """Return why a method cannot be applied to several layers; None if it can, or if there is one."""
    if method.fuses_layers or not isinstance(network, LayeredClassifier):
        return None
    if not method.reads_layer:
        return f"it reads no target layer, and several are named ({network.layer}); leave out --layer"
    return f"several target layers are named ({network.layer}); give it the setting fusion=mean"


METHODS: Registry[Method] = Registry("method", "wsol.methods")
