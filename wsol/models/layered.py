"""A classifier read at several target layers, in one pass."""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from torch import Tensor, nn

from wsol.errors import InputError
from wsol.models.classifier import Classifier

LayerPass = tuple[Tensor, tuple[Any, ...]]
"""Feature maps ``(n, C, h, w)`` of one layer, and the extras of its ``forward_head``."""


def split_names(layer: str | None, name: str) -> list[str]:
    """Return the layers of ``layer3,layer4``; an empty list for None.

    Args:
        layer: Names of layers, separated by commas; None if there are none.
        name: Name of the network in messages.

    Raises:
        InputError: A name is empty, or given twice.
    """
    names = [] if layer is None else [each.strip() for each in layer.split(",")]
    if layer is not None and "" in names:
        raise InputError(f"{name}: {layer!r:.80} names a layer without a name; separate layers by one comma")
    if twice := next((each for each in names if names.count(each) > 1), None):
        raise InputError(f"{name}: the layer {twice} is named twice in {layer!r:.80}; name it once")
    return names


def check_distinct(names: Sequence[str], outputs: Iterable[object], name: str) -> None:
    """Check that layers of different names have different outputs, as ``layer4`` and its last block have not.

    Raises:
        InputError: Two have the same.
    """
    found: dict[int, str] = {}
    for layer, output in zip(names, outputs, strict=True):
        if (other := found.setdefault(id(output), layer)) != layer:
            raise InputError(f"{name}: {other} and {layer} have the same output; name one of them")


class LayeredClassifier(Classifier):
    """A network that is read at several layers: trunk and head are those of the last one.

    Args:
        layers: The network split at each layer, in the order of execution; they share its tensors.
        trunk: The trunk of the last layer, or the whole network.

    Attributes:
        layers: The network split at each layer.
    """

    def __init__(self, layers: Sequence[Classifier], trunk: nn.Module) -> None:
        last = layers[-1]
        super().__init__(trunk, last.head, ",".join(each.layer for each in layers), last.layout, last.size)
        self.layers = tuple(layers)
        self._modules_of_layers = nn.ModuleList(layers)  # so that they move along
        self.unsupported_reason = last.unsupported_reason
        self.overwrites_images = last.overwrites_images
        self.reads_places = last.reads_places
        for each in layers:
            each._passes = self._passes

    @abstractmethod
    def forward_layers(self, images: Tensor) -> list[LayerPass]:
        """Return feature maps and extras of every layer, from one pass."""

    @abstractmethod
    def forward_graph(self, passes: Sequence[LayerPass]) -> tuple[list[Tensor], Tensor]:
        """Run what follows the first layer again, in one graph of gradients.

        Args:
            passes: What ``forward_layers`` returned.

        Returns:
            The maps of every layer, those of the first as a leaf, and the class scores ``(n, classes)``.
        """

    def forward_features(self, images: Tensor) -> LayerPass:
        """Return the feature maps of the last layer, ``(n, C, h, w)``, and the extras."""
        return self.forward_layers(images)[-1]

    def forward_head(self, maps: Tensor, extras: tuple[Any, ...]) -> Tensor:
        """Return the class scores ``(n, classes)`` of feature maps of the last layer."""
        return self.layers[-1].forward_head(maps, extras)

    def run_replaced(self, replace: Callable[[nn.Module], Callable[..., Any]], images: Tensor) -> Tensor:
        """Return the class scores of images, with trunk and head of the last layer replaced."""
        return self.layers[-1].run_replaced(replace, images)


def list_layers(network: Classifier) -> tuple[Classifier, ...]:
    """Return a network split at each of its target layers."""
    return network.layers if isinstance(network, LayeredClassifier) else (network,)


class TracedLayers(LayeredClassifier):
    """A traced network, split into consecutive parts at its layers.

    Args:
        layers: The network split at each layer, in the order of execution.
        parts: The parts in order; the last is the head of the last layer.
    """

    def __init__(self, layers: Sequence[Classifier], parts: Sequence[nn.Module]) -> None:
        super().__init__(layers, _Chain(parts[:-1]))
        self._between, self._end = tuple(parts[1:-1]), parts[-1]

    def forward_layers(self, images: Tensor) -> list[LayerPass]:
        """Return feature maps and extras of every layer, from one pass."""
        self.count_pass(len(images))
        outputs = self.trunk(images.clone() if self.overwrites_images else images)
        passes = []
        for layer, (output, *extras) in zip(self.layers, outputs, strict=True):
            layout = layer.find_layout(images)
            maps, others = layout.to_maps(output)
            passes.append((maps, (layout, others, *extras)))
        return passes

    def forward_graph(self, passes: Sequence[LayerPass]) -> tuple[list[Tensor], Tensor]:
        """Run what follows the first layer again, in one graph of gradients."""
        (first, (layout, others, *extras)), *later = passes
        leaf = first.detach().requires_grad_()
        maps, output = [leaf], layout.to_output(leaf, others)
        for (_, (layout, *_)), part in zip(later, self._between, strict=True):
            output, *extras = part(output, *extras)
            reached, others = layout.to_maps(output)
            maps.append(reached)
            output = layout.to_output(reached, others)
        return maps, self._end(output, *extras)


class _Chain(nn.Module):
    """Parts of a network that run one after the other; returns what each of them returns."""

    def __init__(self, parts: Sequence[nn.Module]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, images: Tensor) -> tuple[tuple[Any, ...], ...]:
        """Return the outputs of all parts."""
        outputs: list[tuple[Any, ...]] = [(images,)]
        for part in self.parts:
            outputs.append(part(*outputs[-1]))
        return tuple(outputs[1:])
