"""What a method is, and the one forward pass that all methods share."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, ClassVar, Literal, TypeVar

import torch
from torch import Tensor

from wsol.errors import InputError
from wsol.models import Classifier
from wsol.models.classifier import Tokens
from wsol.registry import Registry

Precision = Literal["float32", "bfloat16"]
MEMORY = 2 << 30  # bytes that a method may use beside network and batch, unless told otherwise


@dataclass(frozen=True)
class Forward:
    """What one forward pass leaves behind, on the device it ran on.

    Attributes:
        network: The network that ran.
        images: What went in, preprocessed, ``(n, 3, H, W)``.
        features: The maps of the target layer, ``(n, C, h, w)``.
        logits: Class scores, ``(n, classes)``.
        past: What goes past the target layer, for ``network.upper``.
        memory: Bytes that a method may use.
        precision: Of the layers below the target layer.
    """

    network: Classifier
    images: Tensor
    features: Tensor
    logits: Tensor
    extras: tuple[Any, ...]
    memory: int
    precision: Precision

    @cached_property
    def _graph(self) -> tuple[Tensor, Tensor]:
        """The features again and the logits, with what is recorded for gradients between them."""
        with torch.inference_mode(False), torch.enable_grad():
            leaf = self.features.detach().requires_grad_()
            return leaf, self.network.forward_head(leaf, self.extras)

    def release_graph(self) -> None:
        """Let go of what was recorded for gradients."""
        vars(self).pop("_graph", None)

    def gradients(self, classes: Tensor) -> Tensor:
        """Return the gradients of class scores with respect to the features, ``(n, k, C, h, w)``.

        One batched vector-Jacobian product through the layers above the target layer, and none below.

        Args:
            classes: int64 ``(n, k)``.

        Raises:
            InputError: The class scores do not depend on the features.
        """
        leaf, logits = self._graph
        with torch.inference_mode(False), torch.enable_grad():
            chosen = logits.gather(1, classes).T
            if len(chosen) == 1:
                (found,) = torch.autograd.grad(chosen.sum(), leaf, retain_graph=True, allow_unused=True)
                found = None if found is None else found[None]
            else:
                one = torch.eye(len(chosen), dtype=chosen.dtype, device=chosen.device)
                seeds = one[:, :, None].expand(-1, *chosen.shape)
                (found,) = torch.autograd.grad(
                    chosen, leaf, seeds, retain_graph=True, is_grads_batched=True, allow_unused=True
                )
        # Of the last layers of a transformer, only the class token reaches the scores.
        if found is None or (isinstance(self.network.layout, Tokens) and not found.any()):
            raise InputError(f"no score depends on the maps of {self.network.layer}; name another --layer")
        return found.transpose(0, 1)

    def rerun(self, images: Tensor) -> "Forward":
        """Return the same forward pass of other images."""
        return forward(self.network, images, self.memory, self.precision)

    def scores(self, images: Tensor) -> Tensor:
        """Return the class scores of other images, ``(m, classes)``."""
        with torch.no_grad():
            maps, past = _lower(self.network, images, self.precision)
            return self.network.forward_head(maps, past)


class Method(ABC):
    """Turns a forward pass into score maps; subclasses are frozen dataclasses whose fields are its settings.

    Attributes:
        name: Registered name.
        needs: What it costs beyond the forward pass: nothing but the features, gradients of the layers above the target
            layer, gradients of the whole network, further forward passes, or a pass that keeps all attention.
        of_class: Whether the map depends on the class; if not, a network that does not classify will do.
    """

    name: ClassVar[str]
    of_class: ClassVar[bool] = True
    needs: ClassVar[Literal["features", "gradients", "whole gradients", "forwards", "attention"]]

    @abstractmethod
    def maps(self, forward: Forward, classes: Tensor) -> Tensor:
        """Return raw score maps; those of an image do not depend on the others of the batch.

        Args:
            forward: The forward pass of a batch.
            classes: int64 ``(n, k)``, the classes of interest of each image.

        Returns:
            float ``(n, k, h, w)`` on the device of the forward pass, without gradients.
        """

    def unsupported_reason(self, network: Classifier) -> str | None:
        """Return in one sentence why the method cannot be applied to a network; None if it can."""
        return None

    @property
    def signature(self) -> str:
        """Name and all settings; ``find_method`` reads it."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}  # type: ignore[arg-type]
        settings = ",".join(f"{k}={str(v).lower() if isinstance(v, bool) else v}" for k, v in values.items())
        return f"{self.name}:{settings}" if settings else self.name


class GradientMethod(Method):
    """A method that combines features with gradients, one class like the other."""

    needs = "gradients"

    @abstractmethod
    def combine(self, features: Tensor, gradients: Tensor) -> Tensor:
        """Return the maps ``(n, 1, h, w)`` of one class from features and gradients, both ``(n, 1, C, h, w)``."""

    def maps(self, forward: Forward, classes: Tensor) -> Tensor:
        """Return the maps, as many classes at once as the memory allows."""
        features = forward.features
        at_once = max(1, int(forward.memory / (4 * features.numel() * features.element_size())))
        parts = []
        for some in torch.split(classes, at_once, 1):
            gradients = forward.gradients(some)
            with torch.no_grad():  # class by class: what lies between fits the cache, all classes at once does not
                parts += [self.combine(features[:, None], each[:, None]) for each in gradients.unbind(1)]
        forward.release_graph()
        return torch.cat(parts, 1)


def unsupported_reason(method: Method, network: Classifier, classes: int) -> str | None:
    """Return in one sentence why a method cannot be applied to a network of some classes; None if it can."""
    if not classes and method.of_class:
        return "the network does not classify; take self-attention, attention-rollout or eigencam"
    return method.unsupported_reason(network)


METHODS: Registry[Method] = Registry("method", "wsol.methods")
M = TypeVar("M", bound=type[Method])


def register(name: str) -> Callable[[M], M]:
    """Return a decorator that enters a method, with its default settings, under ``name``."""

    def enter(kind: M) -> M:
        kind.name = name
        METHODS.register(name)(kind())
        return kind

    return enter


def find_method(text: str) -> Method:
    """Find a method by its name, with settings that differ from its defaults: ``rise:masks=1000``.

    Args:
        text: ``NAME`` or ``NAME:KEY=VALUE,KEY=VALUE``, as its signature has it.

    Raises:
        InputError: The name or a setting is unknown, or a value is not of the setting's kind.
    """
    return METHODS.find(text)


def forward(network: Classifier, images: Tensor, memory: int = MEMORY, precision: Precision = "float32") -> Forward:
    """Run the network once.

    Args:
        network: In evaluation mode.
        images: Preprocessed, ``(n, 3, H, W)``.
        memory: Bytes that a method may use beyond this pass.
        precision: ``bfloat16`` runs the layers below the target layer in autocast; the rest stays as it is.
    """
    with torch.inference_mode(False), torch.no_grad():  # inference tensors could not be kept for gradients
        features, past = _lower(network, images, precision)
        logits = network.forward_head(features, past)
    return Forward(network, images, features, logits, past, memory, precision)


def _lower(network: Classifier, images: Tensor, precision: Precision) -> tuple[Tensor, tuple[Any, ...]]:
    if precision == "float32":
        return network.forward_features(images)
    autocast: AbstractContextManager[None] = torch.autocast(images.device.type, torch.bfloat16)
    with autocast:
        features, past = network.forward_features(images)
    return features.float(), tuple(p.float() if isinstance(p, Tensor) and p.is_floating_point() else p for p in past)
