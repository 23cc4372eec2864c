"""Gradients of the class scores with respect to feature maps, of one layer or of several at once."""

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from wsol.methods._target import Target, class_score
from wsol.models import Classifier, GapClassifier
from wsol.models.layered import LayeredClassifier, LayerPass


def differentiate(target: Target, logits: Tensor, classes: Tensor, maps: Sequence[Tensor]) -> list[Tensor | None]:
    """Return the gradients of the target with respect to feature maps, from one vector-Jacobian product.

    Args:
        target: The number that is explained.
        logits: Class scores ``(n, classes)`` in a graph of gradients, which is kept.
        classes: int64 ``(n, k)``.
        maps: Feature maps ``(n, C, h, w)`` in this graph.

    Returns:
        For each of ``maps``, ``(n, k, C, h, w)``, or None if no score depends on them.
    """
    with torch.inference_mode(False), torch.enable_grad():
        chosen = target(logits, classes).T
        if len(chosen) == 1:
            found = torch.autograd.grad(chosen.sum(), maps, retain_graph=True, allow_unused=True)
            return [None if each is None else each[None].transpose(0, 1) for each in found]
        identity = torch.eye(len(chosen), dtype=chosen.dtype, device=chosen.device)
        seeds = identity[:, :, None].expand(-1, *chosen.shape)
        found = torch.autograd.grad(chosen, maps, seeds, retain_graph=True, is_grads_batched=True, allow_unused=True)
        return [None if each is None else each.transpose(0, 1) for each in found]


def has_known_gradients(network: Classifier, target: Target) -> bool:
    """Return whether gradients are the weights of the class over the number of places, so that no graph is needed."""
    return isinstance(network, GapClassifier) and network.pooling == "average" and target is class_score


class LayerGraph:
    """One graph of gradients for all layers of a pass.

    Args:
        network: The network, split at several layers.
        passes: Maps and extras of every layer.
        target: The number that is explained.
        classes: int64 ``(n, k)``, the classes whose gradients are computed for all layers at once.
    """

    def __init__(
        self, network: LayeredClassifier, passes: Sequence[LayerPass], target: Target, classes: Tensor
    ) -> None:
        self._network, self._passes, self._target, self._classes = network, passes, target, classes

    @cached_property
    def outputs(self) -> tuple[list[Tensor], Tensor]:
        """The maps of every layer and the class scores, with the graph between them."""
        with torch.inference_mode(False), torch.enable_grad():
            return self._network.forward_graph(self._passes)

    def covers(self, target: Target, classes: Tensor) -> bool:
        """Return whether a target and classes are this graph's: the same memory, as a GPU is not asked."""
        own = self._classes
        if target is not self._target:
            return False
        return classes.shape == own.shape and classes.stride() == own.stride() and classes.data_ptr() == own.data_ptr()

    def gradients(self, index: int) -> Tensor | None:
        """Return the gradients with respect to the maps of layer ``index``, ``(n, k, C, h, w)``."""
        return self._gradients[index]

    @cached_property
    def _gradients(self) -> dict[int, Tensor | None]:
        maps, logits = self.outputs
        needed = [i for i, each in enumerate(self._network.layers) if not has_known_gradients(each, self._target)]
        found = differentiate(self._target, logits, self._classes, [maps[i] for i in needed])
        return dict(zip(needed, found, strict=True))
