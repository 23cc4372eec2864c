"""The forward pass that all methods share."""

from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from wsol.errors import InputError
from wsol.methods._layer_graph import LayerGraph, differentiate, has_known_gradients
from wsol.methods._target import Target, class_score
from wsol.models import Classifier, GapClassifier
from wsol.models.layered import LayeredClassifier, LayerPass
from wsol.runtime.precision import Precision, arithmetic

MEMORY = 2 << 30  # default budget of a method in bytes, in addition to network and batch


@dataclass(frozen=True)
class Forward:
    """Inputs and results of one forward pass, on the device that it ran on.

    Attributes:
        network: The network that ran.
        images: Preprocessed images, ``(n, 3, H, W)``.
        features: Feature maps of the target layer, ``(n, C, h, w)``.
        logits: Class scores, ``(n, classes)``.
        extras: Further inputs of ``network.forward_head``.
        memory: Memory budget of a method in bytes.
        precision: Precision of the trunk.
        classes_checked: Whether the caller asks only for classes of the network, as a ranking of the scores returns
            them; otherwise each call of ``maps`` checks that, for which a GPU has to be waited for.
        target: The number that a map explains, from the class scores ``(n, classes)`` and the classes of interest.
        layers: Feature maps and extras of every target layer where there are several; ``network``, ``features`` and
            ``extras`` are then those of the last. See ``at_layers``.
        shared: The graph of gradients that the passes at several layers share, and the index of this layer.
    """

    network: Classifier
    images: Tensor
    features: Tensor
    logits: Tensor
    extras: tuple[Any, ...]
    memory: int
    precision: Precision
    classes_checked: bool = False
    target: Target = class_score
    layers: tuple[LayerPass, ...] = ()
    shared: tuple[LayerGraph, int] | None = None

    def at_layers(self, classes: Tensor) -> "list[Forward]":
        """Return the pass at each of its target layers, from first to last; the pass itself if it has one layer.

        Args:
            classes: int64 ``(n, k)``. The gradients of these classes are computed for all layers at once.
        """
        if not isinstance(self.network, LayeredClassifier):
            return [self]
        graph = LayerGraph(self.network, self.layers, self.target, classes)
        return [
            replace(self, network=layer, features=maps, extras=extras, layers=(), shared=(graph, i))
            for i, (layer, (maps, extras)) in enumerate(zip(self.network.layers, self.layers, strict=True))
        ]

    @cached_property
    def _graph(self) -> tuple[Tensor, Tensor]:
        """The features, a leaf unless layers share the graph, and the logits, with the graph between them."""
        if self.shared is not None:
            graph, index = self.shared
            return graph.outputs[0][index], graph.outputs[1]
        with torch.inference_mode(False), torch.enable_grad():
            leaf = self.features.detach().requires_grad_()
            return leaf, self.network.forward_head(leaf, self.extras)

    def release_graph(self) -> None:
        """Free the graph of gradients."""
        vars(self).pop("_graph", None)

    def gradients(self, classes: Tensor) -> Tensor:
        """Return the gradients of the target with respect to the features, ``(n, k, C, h, w)``.

        Behind global average pooling and one linear layer they are known: the weights of the class over the number of
        places. For any other head they take one batched vector-Jacobian product; nothing is computed for the trunk.

        Args:
            classes: int64 ``(n, k)``.

        Raises:
            InputError: The class scores do not depend on the features.
        """
        network = self.network
        if has_known_gradients(network, self.target):
            assert isinstance(network, GapClassifier)  # has_known_gradients
            return self._compute_pooled_gradients(network, classes)
        if self.shared is not None and self.shared[0].covers(self.target, classes):
            gradients = self.shared[0].gradients(self.shared[1])
        else:
            leaf, logits = self._graph
            (gradients,) = differentiate(self.target, logits, classes, [leaf])
        return self.check_gradients(gradients)

    def check_gradients(self, gradients: Tensor | None) -> Tensor:
        """Return gradients with respect to the features.

        Raises:
            InputError: There are none, as no score depends on the features.
        """
        # In the last layers of a transformer only the class token reaches the scores.
        if gradients is None or not self.network.reads_places:
            raise InputError(f"no score depends on the maps of {self.network.layer}; name another --layer")
        return gradients

    def _compute_pooled_gradients(self, network: GapClassifier, classes: Tensor) -> Tensor:
        """Return the gradients where each score is a weighted sum of the mean features."""
        _, channels, height, width = self.features.shape
        with torch.inference_mode(False), torch.no_grad():
            columns = classes.T
            if network.linear is None:  # the features are one map per class
                weights = torch.zeros(*columns.shape, channels, dtype=self.features.dtype, device=columns.device)
                weights.scatter_(2, columns[:, :, None], 1)
            else:
                weights = network.linear.weight[columns]
            places = (weights / (height * width))[:, :, :, None, None]
            return places.expand(-1, -1, -1, height, width).contiguous().transpose(0, 1)

    def rerun(self, images: Tensor) -> "Forward":
        """Run the forward pass on other images, with the same settings."""
        again = forward(self.network, images, self.memory, self.precision)
        return replace(again, classes_checked=self.classes_checked, target=self.target)

    def scores(self, images: Tensor) -> Tensor:
        """Return the class scores of other images, ``(m, classes)``."""
        with torch.no_grad():
            return self.network.forward_head(*_run_trunk(self.network, images, self.precision)[-1])


def forward(network: Classifier, images: Tensor, memory: int = MEMORY, precision: Precision = "float32") -> Forward:
    """Run the network once.

    Args:
        network: A network in evaluation mode.
        images: Preprocessed images, ``(n, 3, H, W)``.
        memory: Memory budget of a method beyond this pass, in bytes.
        precision: ``tf32`` and ``bfloat16`` run the trunk in it, the latter by autocast; the head runs in float32.
    """
    # Inference tensors cannot be used for gradients later.
    with arithmetic("float32"), torch.inference_mode(False), torch.no_grad():
        passes = _run_trunk(network, images, precision)
        features, extras = passes[-1]
        logits = network.forward_head(features, extras)
    layers = tuple(passes) if isinstance(network, LayeredClassifier) else ()
    return Forward(network, images, features, logits, extras, memory, precision, layers=layers)


def _run_trunk(network: Classifier, images: Tensor, precision: Precision) -> list[LayerPass]:
    """Return feature maps and extras, of every layer where the network is read at several."""

    def run() -> list[LayerPass]:
        if isinstance(network, LayeredClassifier):
            return network.forward_layers(images)
        return [network.forward_features(images)]

    if precision != "bfloat16":
        with arithmetic(precision):
            return run()
    autocast: AbstractContextManager[None] = torch.autocast(images.device.type, torch.bfloat16)
    with arithmetic(precision), autocast:
        passes = run()
    return [(maps.float(), tuple(_to_float32(each) for each in extras)) for maps, extras in passes]


def _to_float32(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.is_floating_point() else value
